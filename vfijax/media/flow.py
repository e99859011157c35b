"""Guesses of the motion between two frames, from dense optical flow. NumPy and OpenCV alone.

The flow is dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV
2016) as OpenCV has it, from each frame to the other. Each flow is one guess of the whole motion; what is
made of them is in `vfijax.models.flow`.
"""

import functools
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import numpy as np


class Search(NamedTuple):
    """Settings of one dense inverse search; patches are 8x8 pixels.

    Attributes:
      finest: the flow is computed on frames reduced by 2**finest, and enlarged.
      stride: pixels from one patch to the next.
      refinements: steps of variational refinement on each scale.
    """

    finest: int
    stride: int
    refinements: int


MEDIUM = Search(finest=1, stride=3, refinements=5)  # OpenCV's preset of that name
FINE = Search(finest=0, stride=5, refinements=2)

# name: the searches whose flows are the guesses. More of them find more and take longer (docs/flow.md).
QUALITIES: dict[str, tuple[Search, ...]] = {"medium": (MEDIUM,), "fine": (FINE,), "best": (FINE, MEDIUM)}

LEAST_SIDE = 32  # pixels; smaller frames are padded for the search, which fails below 12


def find_motion(
    first: np.ndarray,
    last: np.ndarray,
    searches: Sequence[Search],
    *,
    start: np.ndarray | None = None,
    parallel: bool = True,
) -> np.ndarray:
    """Guesses of the motion from one frame to the other, the same for the same frames on any machine.

    Args:
      first, last: uint8 [H, W, 3], RGB, of one size, any from 1x1 on.
      searches: from `QUALITIES`; each gives two guesses.
      start: [2, 2, H, W], motion like the first two guesses, with which the last search begins. It keeps
        what fits better at every patch, so that a start that is wrong does little harm; the searches before
        it are as they are without.
      parallel: runs all searches at once, in threads that all callers share.

    Returns:
      float32 [G, 2, H, W]: by which each pixel moves from the first frame to the last, rows and columns,
      in pixels. Guesses 0, 2, ... are of the pixels of the first frame, 1, 3, ... of those of the last one.
    """
    height, width = first.shape[:2]
    pads = [(0, max(LEAST_SIDE - side, 0)) for side in (height, width)]
    grey = [np.pad(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), pads, "edge") for frame in (first, last)]
    pairs = [(grey[0], grey[1]), (grey[1], grey[0])]
    begins: list[np.ndarray | None] = [None] * (2 * len(searches))
    if start is not None:
        padded = np.pad(start, [(0, 0), (0, 0), *pads], "edge")
        begins[-2:] = padded[0], -padded[1]
    jobs = [(search, *pairs[i], begins[2 * k + i]) for k, search in enumerate(searches) for i in range(2)]
    run = functools.partial(_pool().map, _flow) if parallel else functools.partial(map, _flow)
    with _one_thread():
        flows = list(run(*zip(*jobs, strict=True)))
    motion = np.empty((len(flows), 2, height, width), np.float32)
    for i, flow in enumerate(flows):
        sign = -1 if i % 2 else 1
        for axis in (0, 1):  # OpenCV has columns first
            np.multiply(flow[:height, :width, 1 - axis], sign, out=motion[i, axis])
    return motion


def _flow(search: Search, source: np.ndarray, target: np.ndarray, start: np.ndarray | None) -> np.ndarray:
    """[H, W, 2], columns first: where the pixels of `source` are in `target`, relative to where they were."""
    # Frames that are small have fewer scales than a search wants.
    small = min(source.shape) < 2 * LEAST_SIDE
    dis = _searcher(search._replace(finest=0) if small else search, start is not None)
    begin: Any = None if start is None else np.ascontiguousarray(start[::-1].transpose(1, 2, 0), np.float32)
    return dis.calc(source, target, begin)


_own = threading.local()  # its `searchers`


def _searcher(search: Search, started: bool) -> cv2.DISOpticalFlow:
    """This thread's own: one cannot serve two threads, and a new one spends a third of its time on memory.

    One that was given a start would take it for the next frames too, of whatever size, that have none.
    """
    known = _own.__dict__.setdefault("searchers", {})
    if (search, started) not in known:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(search.finest)
        dis.setPatchStride(search.stride)
        dis.setVariationalRefinementIterations(search.refinements)
        known[search, started] = dis
    return known[search, started]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="vfijax-flow")


_running, _threads_before, _lock = 0, 0, threading.Lock()


def _after_fork() -> None:
    """A forked process has the pool and the searches of its parent without the threads that run them."""
    global _running, _lock
    _pool.cache_clear()
    if _running:
        cv2.setNumThreads(_threads_before)
    _running, _lock = 0, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps OpenCV from dividing frames among threads of its own meanwhile: the strips change the flow.

    The number of its threads belongs to the whole process; the last of several callers puts it back.
    """
    global _running, _threads_before
    with _lock:
        if _running == 0:
            _threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if _running == 0:
                cv2.setNumThreads(_threads_before)
