"""Windows in time: what they hold, and which of their outputs are used."""

from itertools import count, islice

import pytest

from vfijax.clip_windows import check_window, complete, published_windows, windows

SHAPES = [(3, 2), (4, 2), (4, 3), (5, 2), (6, 3), (8, 2)]  # window, overlap


def used(held, outputs):
    """Positions in the whole result of the outputs that a window of consecutive numbers gives."""
    return [2 * held[0] + i for i in outputs]


def margin(held, output):
    """How far an output of the whole result is from the nearer end of a window."""
    return min(output - 2 * held[0], 2 * held[-1] - output)


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.mark.parametrize("length", range(1, 14))
def test_every_output_comes_once_and_in_order(shape, length):
    made = [output for held, outputs in windows(range(length), *shape) for output in used(held, outputs)]
    assert made == list(range(2 * length - 1))


@pytest.mark.parametrize("length", range(2, 14))
def test_an_output_comes_from_the_window_in_which_it_is_farthest_from_an_end(shape, length):
    parts = list(windows(range(length), *shape))
    for held, outputs in parts:
        for output in used(held, outputs):
            assert margin(held, output) == max(margin(other, output) for other, _ in parts)
            assert margin(held, output) > 0 or output in (0, 2 * length - 2)


@pytest.mark.parametrize("length", range(1, 14))
def test_windows_are_complete_unless_the_sequence_is_shorter(shape, length):
    assert {len(held) for held, _ in windows(range(length), *shape)} == {min(length, shape[0])}


def test_consecutive_windows_share_the_overlap_and_the_last_one_shares_more():
    assert [held[0] for held, _ in windows(range(11), 4, 2)] == [0, 2, 4, 6, 7]


def test_nothing_gives_no_window():
    assert list(windows([], 4, 2)) == list(published_windows([], 4)) == []


def test_few_items_are_read_ahead(shape):
    window, overlap = shape
    items = count()
    for number, _ in enumerate(islice(windows(items, window, overlap), 50)):
        next_unread = number * (window - overlap) + 2 * window - overlap
    assert next(items) == next_unread


@pytest.mark.parametrize(("window", "length", "kept"), [
    (4, 4, 4), (4, 5, 4), (4, 6, 4), (4, 7, 7), (4, 8, 7), (4, 9, 7), (4, 10, 10), (4, 3, 0),
    (2, 2, 2), (2, 5, 5), (3, 6, 5),
])  # fmt: skip
def test_the_published_windows_share_one_frame_and_drop_the_remainder(window, length, kept):
    parts = list(published_windows(range(length), window))
    assert [held for held, _ in parts] == [list(range(s, s + window)) for s in range(0, kept - 1, window - 1)]
    assert [output for part in parts for output in used(*part)] == list(range(2 * kept - 1))
    assert list(complete(range(length), window)) == list(range(kept))


@pytest.mark.parametrize(
    ("window", "overlap", "message"),
    [
        (2, 2, "window is 2; give 3 frames or more"),
        (4, 1, "overlap is 1; give 2 frames"),
        (4, 4, "overlap is 4; give 2 frames .* to 3"),
    ],
)
def test_windows_that_leave_a_joint_are_refused(window, overlap, message):
    with pytest.raises(ValueError, match=message):
        check_window(window, overlap)
