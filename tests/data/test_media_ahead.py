"""Work done ahead: in order, a bounded number of items, and nothing left behind."""

import threading
import time
from itertools import count

import pytest

from vfijax.media import prefetch, read_ahead


def test_reading_ahead_keeps_the_order_and_its_distance():
    started = []

    def read(item):
        started.append(item)
        return item * item

    results = read_ahead(read, range(50), depth=4)
    for item in range(50):
        assert next(results) == item * item
        assert len(started) <= item + 1 + 4


def test_items_come_in_order_and_none_is_passed_over():
    assert list(prefetch([0, None, 1, None, None, 2])) == [0, 1, 2]
    assert list(prefetch([])) == []


def test_few_items_are_made_before_they_are_asked_for():
    made = []
    ahead = prefetch((made.append(i) or i for i in count()), depth=3)
    for item in range(20):
        assert next(ahead) == item
        time.sleep(0.005)
        assert len(made) <= item + 1 + 4  # three wait, and one is ready to
    ahead.close()


def test_an_error_arrives_where_the_items_do_and_after_those_before_it():
    def items():
        yield 1
        raise OSError("gone")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)


@pytest.mark.parametrize("item", [0, None])
def test_closing_waits_for_the_thread_which_ends_at_the_next_item_or_none(item):
    threads, working = set(threading.enumerate()), threading.Event()

    def items():
        yield 1
        working.set()
        while True:
            time.sleep(0.005)
            yield item

    ahead = prefetch(items())
    assert next(ahead) == 1 and working.wait(10)
    ahead.close()
    assert set(threading.enumerate()) == threads
