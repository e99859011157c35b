"""Work done in threads, a bounded number of items ahead of where it is needed."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], *, threads: int = 2, depth: int = 4
) -> Generator[Result, None, None]:
    """`map(read, items)` in threads, in order, at most `depth` items ahead of what is asked for."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # after an error nobody waits for the rest
                future.cancel()


def prefetch(items: Iterable[Item | None], depth: int = 3) -> Generator[Item, None, None]:
    """Runs an iterator in a thread of its own, at most `depth` items ahead; its errors arrive here.

    Closing the generator stops the thread at the next item or None, and waits for it, so that what it
    reads from can be closed. None is passed over otherwise.
    """
    ready: Queue[Item | BaseException | None] = Queue(depth)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                if item is not None:
                    ready.put(item)
                if stopped.is_set():
                    break
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (got := ready.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got
    finally:
        stopped.set()
        while thread.is_alive():
            with suppress(Empty):
                ready.get(timeout=0.05)  # makes room for a thread that waits to put
