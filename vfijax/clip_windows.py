"""Windows in time over a sequence of unknown length, of which a few items are held.

A window of n inputs gives 2 n - 1 outputs: output 2 i belongs to input i, output 2 i + 1 lies between
inputs i and i + 1. Near the ends of a window a network sees one side only. Windows therefore overlap, and
every output is taken from the window in which it is farther from an end.
"""

import operator
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeVar

WINDOW, OVERLAP = 4, 2  # items; the published network was trained on windows of four

Item = TypeVar("Item")
# From items to windows of them, each with a range: which of its outputs are used.
Plan = Callable[[Iterable[Item]], Iterator[tuple[list[Item], range]]]


def plan(window: int, overlap: int | None = None, published: bool = False) -> Plan[Any]:
    """How a sequence is divided: `windows`, or `published_windows` if asked for.

    Args:
      window: items of a window, 3 or more, published 2 or more.
      overlap: items that consecutive windows share, from 2 (if None) to one less than the window; published
        windows share one.

    Raises:
      ValueError: windows that cannot follow one another without a joint.
      TypeError: what is no whole number.
    """
    if not published:
        check_window(window, overlap := OVERLAP if overlap is None else overlap)
        return partial(windows, window=window, overlap=overlap)
    if overlap is not None:
        raise ValueError(f"overlap is {overlap}, but published windows share one frame; leave it out")
    if _whole("window", window) < 2:
        raise ValueError(f"window is {window}; give 2 frames or more")
    return partial(published_windows, window=window)


def check_window(window: int, overlap: int) -> None:
    """Raises ValueError for windows that cannot follow one another without a joint, TypeError for what is no
    whole number."""
    if _whole("window", window) < 3:
        raise ValueError(f"window is {window}; give 3 frames or more")
    if not 2 <= _whole("overlap", overlap) < window:
        raise ValueError(
            f"overlap is {overlap}; give 2 frames (1 would leave outputs at an end) to {window - 1}, one "
            "less than the window"
        )


def _whole(name: str, value: int) -> int:
    try:
        if isinstance(value, bool):  # which is 0 or 1 to Python
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; give a whole number of frames") from None


def windows(items: Iterable[Item], window: int, overlap: int) -> Iterator[tuple[list[Item], range]]:
    """Windows over all items, and which outputs of each are used: of N items all 2 N - 1 in their order.

    Consecutive windows share `overlap` items; the last one shares more if its end would not be full
    otherwise. The shared outputs are divided in their middle, the middle one going to the later window. A
    sequence of no more than `window` items is one window.
    """
    held: list[Item] = []
    begin, step = 0, window - overlap
    for item in items:
        held.append(item)
        if len(held) == window + step:  # the next window is complete
            yield held[:window], range(begin, window - 1 + step)
            begin, held = window - 1 - step, held[step:]
    if (step := len(held) - window) > 0:
        yield held[:window], range(begin, window - 1 + step)
        begin, held = window - 1 - step, held[step:]
    if held:
        yield held, range(begin, 2 * len(held) - 1)


def published_windows(items: Iterable[Item], window: int) -> Iterator[tuple[list[Item], range]]:
    """The windows of the published evaluation: each begins with the last item of the one before.

    The shared output is the earlier window's. Only complete windows are made, so that up to
    `window` - 2 items at the end have no part in the result, or all of fewer than `window`.
    """
    items = iter(items)
    held = list(islice(items, 1))
    begin = 0
    while len(held := [*held, *islice(items, window - 1)]) == window:
        yield held, range(begin, 2 * window - 1)
        held, begin = held[-1:], 1


def complete(items: Iterable[Item], window: int) -> Iterator[Item]:
    """The items that `published_windows` uses."""
    for held, outputs in published_windows(items, window):
        yield from held[min(outputs[0], 1) :]
