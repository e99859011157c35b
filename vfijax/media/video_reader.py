"""Streaming video in: decodes to RGB with exact times."""

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Self

import av
import av.error
from av.container import InputContainer

from vfijax.files import given_path
from vfijax.media.color import ToRGB, color_of, is_rgb
from vfijax.media.errors import MediaError
from vfijax.media.video import Frame, VideoInfo, open_input

_STATES_DURATION = {"mov", "matroska", "avi"}  # containers whose header says how long the file should be


class VideoReader:
    """The frames of the first video stream of a file, in order of time, one at a time.

    Use as a context manager and iterate once. Any size, odd ones too, grey video and variable frame
    rates are understood. Samples of more than 8 bits are reduced to 8. Untagged video is read as
    players do: limited range, BT.709 from 720 lines on and BT.601 below.

    Args:
      path: the file.
      data: its bytes, if they are at hand; `path` is then only what errors call them.

    Attributes:
      path: the file.
      info: `VideoInfo` of the stream.

    Raises:
      MediaError: no such file, not a video, no frames, an alpha channel, truncated or damaged data,
        a change of frame size, times that do not increase.
    """

    def __init__(self, path: str | os.PathLike[str], data: bytes | None = None) -> None:
        self.path = given_path(path, "VideoReader", MediaError)
        self._container = open_input(self.path, data)
        try:
            self._stream = _video_stream(self._container, self.path)
            self._check_index()
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise MediaError(f"{self.path}: has no video frames")
            self._first: av.VideoFrame = first
            self.info = self._describe(first)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        color = self.info.color
        assert color is not None
        to_rgb = ToRGB(self._first, color)
        previous: Fraction | None = None
        for index, frame in enumerate(chain([self._first], self._decoded)):
            self._check_format(frame, index)
            time = self._time(frame, previous)
            if previous is not None and time <= previous:
                raise MediaError(
                    f"{self.path}: frame {index} is at {float(time):.4f} s, not after the frame before it; "
                    "repair the times first, for example by remuxing"
                )
            previous = time
            duration = frame.duration * frame.time_base if frame.duration and frame.time_base else None
            yield Frame(to_rgb(frame), time, duration)

    def _describe(self, frame: av.VideoFrame) -> VideoInfo:
        stream, container = self._stream, self._container
        if any(component.is_alpha for component in frame.format.components):
            raise MediaError(
                f"{self.path}: has an alpha channel ({frame.format.name}), which cannot be kept; "
                "flatten it onto a background first"
            )
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        if not rate:
            raise MediaError(f"{self.path}: states no frame rate; remux it with one first")
        frames = stream.frames or None
        if frames is None and container.duration:
            frames = round(container.duration * rate / av.time_base)
        try:
            color = color_of(frame)
        except MediaError as error:
            raise MediaError(f"{self.path}: {error}") from None
        return VideoInfo(
            width=frame.width,
            height=frame.height,
            rate=rate,
            time_base=frame.time_base or 1 / rate,
            frames=frames,
            color=color,
            chroma=_chroma(frame),
            pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
            display_matrix=_display_matrix(frame),
            audio=tuple(s.codec_context.name for s in container.streams.audio),
        )

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Packets of all streams are looked at, so that a file that ends too early is noticed."""
        count, end = 0, Fraction(0)
        try:
            for packet in self._container.demux():
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.stream.index == self._stream.index:
                    for frame in self._stream.decode(packet):
                        count += 1
                        yield frame
        except av.error.FFmpegError as error:
            raise MediaError(
                f"{self.path}: cannot be decoded past frame {count} ({error.strerror}); the file is "
                "truncated or damaged"
            ) from error
        self._check_end(end)

    def _check_index(self) -> None:
        """An MP4 that was cut off often has its index at the front: no need to decode it first."""
        size = self._container.size
        if size > 0 and any(entry.pos + entry.size > size for entry in self._stream.index_entries):
            raise MediaError(f"{self.path}: is truncated: its index names data past the end of the file")

    def _check_end(self, end: Fraction) -> None:
        container = self._container
        if not _STATES_DURATION & set(container.format.name.split(",")) or not container.duration:
            return
        stated = Fraction(container.duration, av.time_base)
        start = Fraction(container.start_time or 0, av.time_base)
        slack = stated / 50 + 2 / self.info.rate
        if end - start < stated - slack:
            raise MediaError(
                f"{self.path}: ends at {float(end):.2f} s but its header says {float(start + stated):.2f} s; "
                "the file is truncated"
            )

    def _check_format(self, frame: av.VideoFrame, index: int) -> None:
        first = self._first
        if (frame.width, frame.height) != (first.width, first.height):
            raise MediaError(
                f"{self.path}: frame {index} is {frame.width}x{frame.height}, the frames before it are "
                f"{first.width}x{first.height}; all frames must be of one size"
            )
        if frame.format.name != first.format.name:
            raise MediaError(
                f"{self.path}: frame {index} is {frame.format.name}, the frames before it are "
                f"{first.format.name}"
            )

    def _time(self, frame: av.VideoFrame, previous: Fraction | None) -> Fraction:
        if frame.pts is not None and frame.time_base is not None:
            return frame.pts * frame.time_base
        return Fraction(0) if previous is None else previous + 1 / self.info.rate  # raw streams hold no times


def _video_stream(container: InputContainer, path: Path) -> Any:
    stream: Any = container.streams.best("video")
    if stream is None:
        raise MediaError(f"{path}: has no video stream")
    stream.thread_type = "AUTO"
    return stream


def _chroma(frame: av.VideoFrame) -> str:
    """The source's chroma sampling where H.264 and VP9 have it, else 4:2:0."""
    pixels = frame.format
    if is_rgb(frame) or len(pixels.components) < 3 or pixels.chroma_height(frame.height) < frame.height:
        return "420"
    ratio = frame.width / pixels.chroma_width(frame.width)
    return {1: "444", 2: "422"}.get(round(ratio), "420")


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else struct.unpack("=9i", bytes(data))
