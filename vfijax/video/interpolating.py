"""New frames between the frames of a video: `interpolate_video`."""

import os
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np

from vfijax.media import Frame, read_ahead
from vfijax.pairs import find_motion, interpolate_n
from vfijax.params import ModelParams, check_params
from vfijax.video.pipeline import Output, Summary, device_memory, stream, timed
from vfijax.video.timing import Timing

ADVICE = "reduce the video or use another device"  # where frames do not fit


def interpolate_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    params: ModelParams,
    *,
    factor: int = 2,
    **output: Unpack[Output],
) -> Summary:
    """Puts factor - 1 new frames between each two frames of a video or of a folder of images.

    Frames are streamed: memory does not grow with the length. `vfijax.video.timing` says which
    frames come at which times. Frames pass through 8-bit RGB with the matrix and range of the source,
    source frames and new ones alike; colour tags, pixel aspect and rotation are carried over. The
    target appears under its name only when it is complete; an older file is replaced at that moment.

    Args:
      source: a video, or a folder of images in natural order.
      target: a video (see `vfijax.media.CODECS`), or a name without suffix: a new or empty folder
        for 000000.png, 000001.png, ...
      params: the model.
      factor: 2 or more. A model that knows the middle only reaches others than 2, 4, 8 approximately, see
        `interpolate_n`.
      **output: `slowmo`, `fps`, `crf`, `audio` and `progress`, see `Output`.

    Raises:
      MediaError: source or target cannot be used, or the source has fewer than two frames.
      ValueError: `factor` or `fps` out of range, a model that is not for pairs of frames.
      OSError: the target cannot be written.
      MemoryError: the frames do not fit on the device.
    """
    check_params("interpolate_video", params)
    params.config.check_kind("pair", "interpolate_video")

    def make(frames: Iterator[Frame], timing: Timing) -> Iterator[Frame | None]:
        return timed(partial(_interpolated, params, n=factor - 1), frames, timing)

    return stream(source, target, make, factor, **output)


def _interpolated(params: ModelParams, images: Iterator[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """All images of the result: the source's as they are, n new ones between each two."""
    # Some pairs at a time, each in threads of its own as well: enough for every core, and few to hold.
    pairs = max(1, (os.cpu_count() or 1) // 4)
    prepared = read_ahead(partial(_prepared, params), pairwise(images), threads=pairs, depth=pairs)
    for left, right, motion in prepared:
        yield left
        yield from _between(params, left, right, motion, n)
    yield right  # readers give two frames at least


def _prepared(params: ModelParams, pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, Any]:
    """Two images and the motion between them, found while the frames between others are made."""
    height, width = pair[0].shape[:2]
    with device_memory(width, height, ADVICE):
        return *pair, find_motion(params, *pair)


def _between(
    params: ModelParams, left: np.ndarray, right: np.ndarray, motion: Any, n: int
) -> Iterator[np.ndarray]:
    height, width = left.shape[:2]
    with device_memory(width, height, ADVICE):
        # one at a time, so that Ctrl-C need not wait for all of them
        ends = jnp.asarray(left), jnp.asarray(right)
        yield from map(np.asarray, interpolate_n(params, *ends, n, motion=motion))
