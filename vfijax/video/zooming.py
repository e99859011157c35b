"""Videos of four times the size and twice the rate: `zoom_video`."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np

from vfijax.clip_windows import WINDOW, Plan, complete, plan
from vfijax.clips import zoom
from vfijax.media import Frame, MediaError
from vfijax.params import ModelParams, check_params
from vfijax.video.pipeline import Output, Summary, device_memory, stream, timed
from vfijax.video.scenes import scenes
from vfijax.video.tiles import Grid, Strip, tiles
from vfijax.video.timing import Timing

Cover = Callable[[int, int], Grid]  # of a height and a width
Images = Iterator[np.ndarray | None]  # images, and None after each part of the work


@dataclass
class _Seen:
    """What is learned of the source while it is read."""

    frames: int = 0
    cuts: list[int] = field(default_factory=list)


def zoom_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    params: ModelParams,
    *,
    window: int = WINDOW,
    overlap: int | None = None,
    published: bool = False,
    cuts: bool = True,
    tile: int | None = None,
    tile_overlap: int | None = None,
    **output: Unpack[Output],
) -> Summary:
    """Makes a video or a folder of images four times larger, with a new frame between each two.

    N frames become 2 N - 1; those at the times of the source's are enlarged source frames. The network
    sees overlapping windows in time, and tiles of large frames, so that memory depends neither on the
    length nor, but for the frames themselves, on their size. A window never reaches over a scene cut:
    between the frames beside a cut the one before it is shown again, and a scene of one frame is given to
    the network twice.

    Arguments and errors not listed here are those of `interpolate_video`.

    Args:
      params: a model of the zooming_slowmo architecture.
      window: frames that the network sees at once; memory grows with it.
      overlap: frames that consecutive windows share, 2 if None; every output is taken from the window
        in which it is farther from an end.
      published: takes the windows of the published evaluation, for comparing scores: consecutive ones
        share one frame, and up to window - 2 frames at the end are dropped. Cuts are not looked for.
      cuts: looks for scene cuts (`vfijax.video.scenes`).
      tile: side of square tiles in source pixels, a multiple of the network's stride; 0 for whole frames;
        None for tiles of frames that are large (`vfijax.video.tiles`).
      tile_overlap: source pixels that neighbouring tiles share; None for 32, or half of a smaller tile.

    Raises:
      MediaError: also for fewer frames than a window with `published`.
      ValueError: a model of another architecture, a window, overlap or tile out of range.
    """
    check_params("zoom_video", params)
    params.config.check_kind("clip", "zoom_video")
    divided = plan(window, overlap, published)
    cover = partial(tiles, tile=tile, overlap=tile_overlap, stride=params.config.stride)
    cover(1, 1)  # a wrong tile is an error before the source is opened
    seen = _Seen()

    def make(frames: Iterator[Frame], timing: Timing) -> Iterator[Frame | None]:
        frames = _counted(frames, seen)
        if published:
            frames = _complete(frames, window, seen, source)
        found = None if published or not cuts else seen.cuts
        return timed(lambda images: _zoomed(params, images, divided, cover, found), frames, timing)

    progress = output.get("progress")
    if published and progress:  # how many frames will be dropped is not known
        output["progress"] = lambda done, _: progress(done, None)
    summary = stream(source, target, make, 2, scale=params.config.scale, **output)
    return replace(summary, cuts=tuple(seen.cuts), dropped=seen.frames - summary.source_frames)


def _zoomed(
    params: ModelParams,
    images: Iterable[np.ndarray],
    divided: Plan[np.ndarray],
    cover: Cover,
    cuts: list[int] | None,
) -> Images:
    """All images of the result, and None after each part of the work."""
    last: np.ndarray | None = None
    for scene in [images] if cuts is None else scenes(images, cuts):
        yield last  # between the frames beside a cut; None before the first scene
        for held, outputs in divided(scene):
            for image in _window(params, held, outputs, cover):
                last = last if image is None else image
                yield image


def _window(params: ModelParams, held: list[np.ndarray], outputs: range, cover: Cover) -> Images:
    """The wanted outputs of one window, each tile enlarged by itself."""
    clip = np.stack(held if len(held) > 1 else held * 2)  # the network asks for two
    height, width = clip.shape[1:3]
    grid, scale = cover(height, width), params.config.scale
    whole = Strip((len(outputs), height * scale, width * scale, 3), 1, scale)
    for rows in grid.rows:  # joined along rows first: a tile fades into one neighbour at a time
        band = Strip((len(outputs), (rows.stop - rows.start) * scale, width * scale, 3), 2, scale)
        for columns in grid.columns:
            tile = _enlarged(params, clip[:, rows, columns])
            band.add(columns, tile[outputs.start : outputs.stop])
            yield None
        whole.add(rows, band.images)
    yield from whole.images


def _enlarged(params: ModelParams, clip: np.ndarray) -> np.ndarray:
    height, width = clip.shape[1:3]
    with device_memory(width, height, "give smaller tiles or windows, or use another device"):
        return np.asarray(zoom(params, clip))


def _counted(frames: Iterable[Frame], seen: _Seen) -> Iterator[Frame]:
    for frame in frames:
        seen.frames += 1
        yield frame


def _complete(
    frames: Iterable[Frame], window: int, seen: _Seen, source: str | os.PathLike[str]
) -> Iterator[Frame]:
    """The frames that are in a complete window of the published rule."""
    yield from complete(frames, window)
    if seen.frames < window:
        raise MediaError(
            f"{Path(source)}: has {seen.frames} frames; a published window takes {window}, give a smaller one"
        )
