"""Streaming video: `VideoReader` decodes to RGB with exact times, `VideoWriter` encodes them."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Self

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from vfijax.media.color import Color, FromRGB, ToRGB, color_of, default_matrix, is_rgb
from vfijax.media.errors import MediaError
from vfijax.media.files import partial_name, unwritable

MAX_TIMESCALE = 2**31 - 1  # of MP4
_STATES_DURATION = {"mov", "matroska", "avi"}  # containers whose header says how long the file should be


class Codec(NamedTuple):
    encoder: str
    crf: int  # visually lossless, or nearly
    options: dict[str, str]


_H264 = Codec("libx264", 18, {"preset": "medium"})
CODECS = {
    ".mp4": _H264,
    ".m4v": _H264,
    ".mov": _H264,
    ".mkv": _H264,
    ".webm": Codec("libvpx-vp9", 24, {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}),
}


class Frame(NamedTuple):
    """One frame of a stream."""

    image: np.ndarray  # uint8 [H, W, 3] RGB
    time: Fraction  # seconds
    duration: Fraction | None = None  # seconds, None where the source does not say


@dataclass(frozen=True)
class VideoInfo:
    """What describes a video besides its frames, and is carried from a source to what is made of it.

    Attributes:
      width, height: of the stored frames, before any rotation.
      rate: average frames per second.
      time_base: times are multiples of it; None takes 1 / rate.
      frames: the number of frames by the header, else estimated from the duration, else None.
      color: None takes limited range and the matrix that players assume for this height.
      chroma: "420", "422" or "444" samples.
      pixel_aspect: width of a pixel divided by its height.
      display_matrix: nine integers in FFmpeg's layout that turn the frames upright, or None.
      audio: codec names of the audio streams.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction | None = None
    frames: int | None = None
    color: Color | None = None
    chroma: str = "420"
    pixel_aspect: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None
    audio: tuple[str, ...] = ()


def upright(image: np.ndarray, display_matrix: tuple[int, ...] | None) -> np.ndarray:
    """A frame as it is displayed: turned by quarter turns and mirrored as the display matrix says."""
    if display_matrix is None:
        return image
    a, b, _, c, d = display_matrix[:5]  # a pixel at (x, y) is shown at (a x + c y, b x + d y)
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    image = image.swapaxes(0, 1) if transposed else image
    x, y = (c, b) if transposed else (a, d)
    return np.ascontiguousarray(image[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])


class VideoReader:
    """The frames of the first video stream of a file, in order of time, one at a time.

    Use as a context manager and iterate once. Any size, odd ones too, grey video and variable frame
    rates are understood. Samples of more than 8 bits are reduced to 8. Untagged video is read as
    players do: limited range, BT.709 from 720 lines on and BT.601 below.

    Attributes:
      path: the file.
      info: `VideoInfo` of the stream.

    Raises:
      MediaError: no such file, not a video, no frames, an alpha channel, truncated or damaged data,
        a change of frame size, times that do not increase.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._container = open_input(self.path)
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
        for index, frame in enumerate(_chain(self._first, self._decoded)):
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


class VideoWriter:
    """Encodes RGB frames: H.264 in MP4, MOV and MKV, VP9 in WebM.

    Use as a context manager. The file appears under its name when the block ends without an error,
    and only then; an older file stays until that moment. Matrix and range are always tagged. Odd
    widths and heights are stored in 4:4:4, since 4:2:0 would need cropping. MP4 and MOV hold the
    exact times; MKV and WebM hold milliseconds.

    Args:
      target: the file; its suffix chooses container and codec, see `CODECS`.
      info: describes the new video; `frames` and `audio` are not read.
      crf: constant rate factor, 0 is best; None takes the codec's in `CODECS`.
      audio_from: a file whose audio streams are copied, packet by packet.

    Raises:
      MediaError: a suffix that is not in `CODECS`, audio or a pixel aspect that the container cannot
        hold, a frame of another size.
      OSError: the file cannot be written.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        info: VideoInfo,
        *,
        crf: int | None = None,
        audio_from: str | os.PathLike[str] | None = None,
    ) -> None:
        self.target = Path(target)
        self.info = info
        codec = codec_for(self.target, crf)
        if codec.encoder == "libvpx-vp9" and info.pixel_aspect != 1:  # PyAV cannot set it in the container
            raise MediaError(
                f"{self.target}: VP9 has no pixel aspect and the source's is {info.pixel_aspect}; "
                "write .mp4 or .mkv"
            )
        self._partial = partial_name(self.target)
        self._container: OutputContainer = av.open(f"file:{self._partial}", "w")
        self._audio: _AudioCopy | None = None
        try:
            self._stream = self._add_video(codec, crf)
            if audio_from is not None:
                self._audio = _AudioCopy(Path(audio_from), self._container, self.target)
            self._start()
        except BaseException:
            self._discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def write(self, frame: Frame) -> None:
        """Encodes one frame; times must increase."""
        shape = (self.info.height, self.info.width, 3)
        if frame.image.shape != shape or frame.image.dtype != np.uint8:
            raise MediaError(
                f"{self.target}: frame is {frame.image.dtype} {list(frame.image.shape)}; "
                f"give uint8 {list(shape)}"
            )
        encoded = self._convert(frame.image)
        encoded.time_base = self._time_base
        encoded.pts = round(frame.time / self._time_base)
        encoded.duration = round(frame.duration / self._time_base) if frame.duration else 0
        with _writing(self.target):
            self._container.mux(self._stream.encode(encoded))
            if self._audio:
                self._audio.copy(until=frame.time)

    def _add_video(self, codec: Codec, crf: int | None) -> Any:
        info = self.info
        color = info.color or Color(default_matrix(info.height))
        chroma = "444" if info.width % 2 or info.height % 2 else info.chroma
        options = {**codec.options, "crf": str(codec.crf if crf is None else crf)}
        stream = self._container.add_stream(codec.encoder, rate=info.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, f"yuv{chroma}p"
        context = stream.codec_context
        context.sample_aspect_ratio = info.pixel_aspect
        context.colorspace, context.color_range = color.matrix, color.range
        context.color_primaries, context.color_trc = color.primaries, color.transfer
        self._time_base = info.time_base or 1 / info.rate
        if self._time_base.denominator > MAX_TIMESCALE:
            self._time_base = Fraction(1, 1_000_000)
        context.time_base = self._time_base
        if info.display_matrix:
            stream.set_display_matrix(info.display_matrix)
        self._convert = FromRGB(info.width, info.height, f"yuv{chroma}p", color)
        return stream

    def _start(self) -> None:
        """Writes the header now, so that what the container refuses is known before any work."""
        try:
            with _writing(self.target):
                self._container.start_encoding()
        except MediaError as error:
            if self._audio is None or not self._audio.codecs:
                raise
            raise _audio_refused(self.target, ", ".join(self._audio.codecs)) from error

    def _finish(self) -> None:
        with _writing(self.target):
            self._container.mux(self._stream.encode(None))
            if self._audio:
                self._audio.copy(until=None)
            self._container.close()  # writes what is buffered, and the index
        os.replace(self._partial, self.target)

    def _discard(self) -> None:
        """Lets go of everything; after `_finish` nothing is left to do."""
        if self._audio:
            self._audio.close()
        with suppress(OSError, av.error.FFmpegError):  # the error that led here is the one to report
            self._container.close()
        self._partial.unlink(missing_ok=True)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """FFmpeg's errors in terms of the target: OSError from the system, MediaError from the container."""
    try:
        yield
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise unwritable(target, error) from error
        raise MediaError(f"{target}: {target.suffix} cannot hold this stream ({error.strerror})") from error


def _audio_refused(target: Path, codecs: str) -> MediaError:
    return MediaError(
        f"{target}: {target.suffix} cannot hold {codecs} audio; write .mkv, or leave the audio out "
        "(--no-audio)"
    )


class _AudioCopy:
    """Copies the audio packets of a file as video frames are written, so that few are ever waiting."""

    def __init__(self, source: Path, target: OutputContainer, name: Path) -> None:
        self._source = open_input(source)
        self._target = target
        streams = list(self._source.streams.audio)
        self.codecs = [s.codec_context.name for s in streams]
        try:
            self._outputs = {s.index: target.add_stream_from_template(s) for s in streams}
        except ValueError as error:
            raise _audio_refused(name, ", ".join(self.codecs)) from error
        self._packets = self._demux(streams)
        self._waiting: Any = None

    def _demux(self, streams: list[AudioStream]) -> Iterator[Any]:
        if not streams:
            return
        try:
            for packet in self._source.demux(*streams):
                if packet.dts is not None:  # the empty packets that end a stream have none
                    yield packet
        except av.error.FFmpegError as error:
            raise MediaError(f"{self._source.name}: audio cannot be read ({error.strerror})") from error

    def copy(self, until: Fraction | None) -> None:
        """Muxes the packets up to a time in seconds, or all that are left."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = packet if until is not None and packet.dts * packet.time_base > until else None
            if self._waiting:
                return
            packet.stream = self._outputs[packet.stream_index]
            self._target.mux(packet)

    def close(self) -> None:
        self._source.close()


def codec_for(target: Path, crf: int | None = None) -> Codec:
    """The entry of `CODECS` for a file name. Raises MediaError for other suffixes or a bad `crf`."""
    codec = CODECS.get(target.suffix.lower())
    if codec is None:
        given = target.suffix or "a name without suffix"
        raise MediaError(f"{target}: cannot write {given} video; use {', '.join(CODECS)}")
    limit = 51 if codec.encoder == "libx264" else 63
    if crf is not None and not 0 <= crf <= limit:
        raise MediaError(f"crf is {crf}; {codec.encoder} takes 0 (best) to {limit}")
    return codec


def open_input(path: Path) -> InputContainer:
    if not path.is_file():
        raise MediaError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
    try:
        return av.open(f"file:{path}")  # the prefix keeps names with a colon from being taken for addresses
    except av.error.EOFError:
        raise MediaError(f"{path}: has no video frames") from None
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: cannot be read as video ({error.strerror}); is it truncated?") from error


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


def _chain(first: av.VideoFrame, rest: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    yield first
    yield from rest
