"""Decode, compute and encode at the same time, with a few frames in memory: what all commands share."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import tee
from pathlib import Path
from typing import TypedDict

import jax
import numpy as np

from vfijax.command import Progress
from vfijax.files import given_path
from vfijax.media import (
    Frame,
    ImageFolderWriter,
    MediaError,
    VideoInfo,
    VideoWriter,
    open_source,
    prefetch,
)
from vfijax.video.timing import Timing

# All source frames to all frames of the result. None among these is no frame, but says that a part of a
# long computation is done, so that Ctrl-C need not wait for the next frame.
Making = Callable[[Iterator[Frame], Timing], Iterator[Frame | None]]


class Output(TypedDict, total=False):
    """How a result is written: keywords of all functions that make a video.

    Attributes:
      slowmo: keeps the frame rate and stretches time by the factor; audio is left out. False if not given.
      fps: frames per second of a folder of images as they are, before anything is made; 24 if None.
      crf: constant rate factor of the encoder; None takes the codec's in `vfijax.media.CODECS`.
      audio: copies the audio streams as they are; True if not given.
      progress: called with the number of frames written and the number expected, or None.
    """

    slowmo: bool
    fps: Fraction | None
    crf: int | None
    audio: bool
    progress: Progress | None


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

    def __str__(self) -> str:
        """The one line that a command on a video ends with."""
        notes = [self.audio]
        if self.cuts:
            notes.append(f"scene cuts at source frames {', '.join(map(str, self.cuts))}")
        if self.dropped:
            notes.append(f"the last {self.dropped} source frames dropped, as published windows do")
        return (
            f"{self.target}: {self.frames} frames from {self.source_frames}, "
            f"{float(self.rate):.6g} frames/s, {float(self.duration):.2f} s; {'; '.join(notes)}; "
            f"took {self.elapsed:.1f} s"
        )


def stream(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    make: Making,
    factor: int,
    *,
    scale: int = 1,
    slowmo: bool = False,
    fps: Fraction | None = None,
    crf: int | None = None,
    audio: bool = True,
    progress: Progress | None = None,
) -> Summary:
    """Reads a video or a folder of images, and writes the frames that `make` makes of it.

    One thread decodes, one makes frames, the calling one encodes. What `interpolate_video` says of source,
    target and errors holds here, and `Output` explains the keywords; `factor` and `scale` describe the frames
    that are made: how many times as many, and how many times larger.
    """
    source = given_path(source, "source", MediaError)
    target, timing = given_path(target, "target", MediaError), Timing(factor, slowmo)
    began = time.monotonic()
    if source.exists() and target.exists() and source.samefile(target):
        raise MediaError(f"{target}: is the source itself; give another name for the result")
    with open_source(source, fps) as reader:
        audio_note, copied = _audio_plan(reader.info, target, wanted=audio, slowmo=slowmo)
        info = _described(reader.info, timing, scale)
        made, start, end = 0, None, Fraction(0)
        with (
            _open_target(target, info, crf, source if copied else None) as writer,
            closing(prefetch(_two_or_more(reader, source))) as frames,
            closing(prefetch(make(frames, timing))) as results,
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


def _is_folder(target: Path) -> bool:
    return target.is_dir() or not target.suffix


def _open_target(
    target: Path, info: VideoInfo, crf: int | None, audio_from: Path | None
) -> VideoWriter | ImageFolderWriter:
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
