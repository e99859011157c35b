"""Decode, compute and encode at the same time, with a few frames in memory: what all commands share."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import tee
from pathlib import Path
from queue import Empty, Queue

import jax
import numpy as np

from vfijax.command import Progress
from vfijax.media import (
    Frame,
    ImageFolderReader,
    ImageFolderWriter,
    MediaError,
    VideoInfo,
    VideoReader,
    VideoWriter,
)
from vfijax.video.timing import Timing

DEFAULT_FPS = Fraction(24)  # of a folder of images
QUEUED = 3  # frames between two stages

Reader = VideoReader | ImageFolderReader
Writer = VideoWriter | ImageFolderWriter

# All source frames to all frames of the result. None among these is no frame, but says that a part of a
# long computation is done, so that Ctrl-C need not wait for the next frame.
Making = Callable[[Iterator[Frame]], Iterator[Frame | None]]


@dataclass(frozen=True)
class Summary:
    """What was made of a video or a folder of images."""

    target: Path
    source_frames: int
    frames: int
    rate: Fraction  # average frames per second of the result
    duration: Fraction  # seconds
    audio: str  # what became of the audio, in words
    elapsed: float  # seconds of work
    cuts: tuple[int, ...] = ()  # the first source frame after each scene cut that was found
    dropped: int = 0  # source frames at the end that have no part in the result


def stream(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    make: Making,
    timing: Timing,
    *,
    scale: int = 1,
    fps: Fraction | None = None,
    crf: int | None = None,
    audio: bool = True,
    progress: Progress | None = None,
) -> Summary:
    """Reads a video or a folder of images, and writes the frames that `make` makes of it.

    One thread decodes, one makes frames, the calling one encodes. What `interpolate_video` says of
    source, target, fps, crf, audio, progress and errors holds here; `timing` and `scale` describe the
    frames that are made: how many, when, and how many times larger.
    """
    source, target = Path(source), Path(target)
    began = time.monotonic()
    if source.exists() and target.exists() and source.samefile(target):
        raise MediaError(f"{target}: is the source itself; give another name for the result")
    with _open_source(source, fps) as reader:
        audio_note, copied = _audio_plan(reader.info, target, wanted=audio, slowmo=timing.slowmo)
        info = _described(reader.info, timing, scale)
        made, start, end = 0, None, Fraction(0)
        with (
            _open_target(target, info, crf, source if copied else None) as writer,
            closing(prefetch(_two_or_more(reader, source))) as frames,
            closing(prefetch(make(frames))) as results,
        ):
            for frame in results:
                writer.write(frame)
                made += 1
                start, end = frame.time if start is None else start, frame.time + (frame.duration or 0)
                if progress:
                    progress(made, info.frames)
    return Summary(
        target=target,
        source_frames=(made - 1) // timing.factor + 1,
        frames=made,
        rate=info.rate,
        duration=end - (start or 0),
        audio=audio_note,
        elapsed=time.monotonic() - began,
    )


def timed(
    make: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray | None]],
    frames: Iterable[Frame],
    timing: Timing,
) -> Iterator[Frame | None]:
    """The images that `make` makes of the images of some frames, each with its time."""
    frames, again = tee(frames)  # of frames that `make` has read ahead, a few at most
    times = timing.schedule((frame.time, frame.duration) for frame in again)
    for image in make(frame.image for frame in frames):
        yield None if image is None else Frame(image, *next(times))
    assert next(times, None) is None, "fewer images than times"


@contextmanager
def device_memory(width: int, height: int, advice: str) -> Iterator[None]:
    """A full device as MemoryError, in terms of frames of some size."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise MemoryError(
            f"frames of {width}x{height} need more memory than {jax.devices()[0]} has; {advice}"
        ) from error


def prefetch(frames: Iterable[Frame | None], depth: int = QUEUED) -> Generator[Frame, None, None]:
    """Runs an iterator in a thread of its own, at most `depth` frames ahead; its errors arrive here.

    Closing the generator stops the thread at the next frame or None, and waits for it, so that what it
    reads from can be closed. None is passed over otherwise.
    """
    ready: Queue[Frame | BaseException | None] = Queue(depth)
    stopped = threading.Event()

    def work() -> None:
        try:
            for frame in frames:
                if frame is not None:
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


def _described(given: VideoInfo, timing: Timing, scale: int) -> VideoInfo:
    """What describes the result."""
    return replace(
        given,
        width=given.width * scale,
        height=given.height * scale,
        rate=timing.rate(given.rate),
        time_base=timing.time_base(given.time_base or 1 / given.rate),
        frames=None if given.frames is None else timing.frames(given.frames),
    )


def _two_or_more(frames: Iterable[Frame], source: Path) -> Iterator[Frame]:
    frames = iter(frames)
    yield next(frames)  # readers give one frame at least
    second = next(frames, None)
    if second is None:
        raise MediaError(f"{source}: has one frame; two are needed to put a frame between them")
    yield second
    yield from frames


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
