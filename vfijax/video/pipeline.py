"""Decode, interpolate and encode at the same time, with a few frames in memory."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from queue import Empty, Queue

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.media import (
    Frame,
    ImageFolderReader,
    ImageFolderWriter,
    MediaError,
    VideoInfo,
    VideoReader,
    VideoWriter,
)
from vfijax.pairs import interpolate_n
from vfijax.params import ModelParams
from vfijax.video.timing import Timing

DEFAULT_FPS = Fraction(24)  # of a folder of images
QUEUED = 3  # frames between two stages

Reader = VideoReader | ImageFolderReader
Writer = VideoWriter | ImageFolderWriter
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Summary:
    """What `interpolate_video` made."""

    target: Path
    source_frames: int
    frames: int
    rate: Fraction  # average frames per second of the result
    duration: Fraction  # seconds
    audio: str  # what became of the audio, in words
    elapsed: float  # seconds of work


def interpolate_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    params: ModelParams,
    *,
    factor: int = 2,
    slowmo: bool = False,
    fps: Fraction | None = None,
    crf: int | None = None,
    audio: bool = True,
    progress: Progress | None = None,
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
      factor: 2, 4, 8; other numbers are reached approximately, see `interpolate_n`.
      slowmo: keeps the frame rate and stretches time by the factor; audio is left out.
      fps: frames per second of a folder of images as they are, before interpolation; 24 if None.
      crf: constant rate factor of the encoder; None takes the codec's in `CODECS`.
      audio: copies the audio streams as they are.
      progress: called with the number of frames written and the number expected, or None.

    Raises:
      MediaError: source or target cannot be used, or the source has fewer than two frames.
      ValueError: `factor` or `fps` out of range.
      OSError: the target cannot be written.
      MemoryError: the frames do not fit on the device.
    """
    source, target = Path(source), Path(target)
    timing = Timing(factor, slowmo)
    began = time.monotonic()
    if source.exists() and target.exists() and source.samefile(target):
        raise MediaError(f"{target}: is the source itself; give another name for the result")
    with _open_source(source, fps) as reader:
        given = reader.info
        audio_note, copied = _audio_plan(given, target, wanted=audio, slowmo=slowmo)
        info = replace(
            given,
            rate=timing.rate(given.rate),
            time_base=timing.time_base(given.time_base or 1 / given.rate),
            frames=None if given.frames is None else timing.frames(given.frames),
        )
        made, start, end = 0, None, Fraction(0)
        # One thread decodes, one interpolates, this one encodes.
        with (
            _open_target(target, info, crf, source if copied else None) as writer,
            closing(prefetch(reader)) as frames,
            closing(prefetch(_interpolated(params, frames, timing, source))) as results,
        ):
            for frame in results:
                writer.write(frame)
                made += 1
                start, end = frame.time if start is None else start, frame.time + (frame.duration or 0)
                if progress:
                    progress(made, info.frames)
    return Summary(
        target=target,
        source_frames=(made - 1) // factor + 1,
        frames=made,
        rate=info.rate,
        duration=end - (start or 0),
        audio=audio_note,
        elapsed=time.monotonic() - began,
    )


def _open_source(source: Path, fps: Fraction | None) -> Reader:
    if fps is not None and fps <= 0:
        raise ValueError(f"fps is {fps}; give a positive number of frames per second")
    if source.is_dir():
        return ImageFolderReader(source, DEFAULT_FPS if fps is None else fps)
    if fps is not None:
        raise ValueError(
            f"fps is for folders of images; {source} has its own frame rate (see slowmo to stretch it)"
        )
    return VideoReader(source)


def _is_folder(target: Path) -> bool:
    return target.is_dir() or not target.suffix


def _open_target(target: Path, info: VideoInfo, crf: int | None, audio_from: Path | None) -> Writer:
    if _is_folder(target):
        return ImageFolderWriter(target, info)
    return VideoWriter(target, info, crf=crf, audio_from=audio_from)


def _audio_plan(info: VideoInfo, target: Path, *, wanted: bool, slowmo: bool) -> tuple[str, bool]:
    """What becomes of the audio, in words, and whether it is copied."""
    codecs = ", ".join(info.audio)
    if not codecs:
        return "no audio in the source", False
    if _is_folder(target):
        return f"audio ({codecs}) left out: images hold none", False
    if slowmo:
        return f"audio ({codecs}) left out: it does not fit slow motion", False
    if not wanted:
        return f"audio ({codecs}) left out as asked", False
    return f"audio ({codecs}) copied", True


def _interpolated(
    params: ModelParams, frames: Iterable[Frame], timing: Timing, source: Path
) -> Iterator[Frame]:
    """All frames of the result: the source's as they are, new ones between them."""
    frames = iter(frames)
    left = next(frames)  # readers give one frame at least
    origin, interval, device_left = left.time, None, jnp.asarray(left.image)
    for right in frames:
        interval, device_right = right.time - left.time, jnp.asarray(right.image)
        images = chain([left.image], _between(params, device_left, device_right, timing.factor - 1))
        for image, (at, lasting) in zip(images, timing.times(left.time, right.time, origin), strict=True):
            yield Frame(image, at, lasting)
        left, device_left = right, device_right
    if interval is None:
        raise MediaError(f"{source}: has one frame; two are needed to put a frame between them")
    yield Frame(left.image, *timing.last(left.time, left.duration, interval, origin))


def _between(params: ModelParams, left: jax.Array, right: jax.Array, n: int) -> Iterator[np.ndarray]:
    try:
        # one at a time, so that Ctrl-C need not wait for all of them
        yield from map(np.asarray, interpolate_n(params, left, right, n))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        height, width = left.shape[:2]
        raise MemoryError(
            f"frames of {width}x{height} need more memory than {left.device} has; reduce the video or use "
            "another device"
        ) from error


def prefetch(frames: Iterable[Frame], depth: int = QUEUED) -> Generator[Frame, None, None]:
    """Runs an iterator in a thread of its own, at most `depth` frames ahead; its errors arrive here.

    Closing the generator stops the thread and waits for it, so that what it reads from can be closed.
    """
    ready: Queue[Frame | BaseException | None] = Queue(depth)
    stopped = threading.Event()

    def work() -> None:
        try:
            for frame in frames:
                ready.put(frame)
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
