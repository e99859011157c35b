"""Streaming video out: encodes RGB frames at exact times, and copies audio."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Self

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer

from vfijax.files import behind_link, given_path, partial_name, writing
from vfijax.media.color import Color, FromRGB, default_matrix
from vfijax.media.errors import MediaError
from vfijax.media.video import Frame, VideoInfo, open_input

MAX_TIMESCALE = 2**31 - 1  # of MP4


class Codec(NamedTuple):
    """An encoder of FFmpeg, its default quality, and options that it needs or that pay."""

    encoder: str
    crf: int  # visually lossless, or nearly
    options: dict[str, str]


H264_SIDE = 16384  # pixels, of the encoder
_H264 = Codec("libx264", 18, {"preset": "medium"})
CODECS = {
    ".mp4": _H264,
    ".m4v": _H264,
    ".mov": _H264,
    ".mkv": _H264,
    ".webm": Codec("libvpx-vp9", 24, {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}),
}


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
        self.target = given_path(target, "VideoWriter", MediaError)
        self.info = info
        codec = codec_for(self.target, crf)
        if codec.encoder == "libvpx-vp9" and info.pixel_aspect != 1:  # PyAV cannot set it in the container
            raise MediaError(
                f"{self.target}: VP9 has no pixel aspect and the source's is {info.pixel_aspect}; "
                "write .mp4 or .mkv"
            )
        if codec.encoder == "libx264" and max(info.width, info.height) > H264_SIDE:
            raise MediaError(
                f"{self.target}: frames of {info.width}x{info.height}; H.264 holds {H264_SIDE} a side; "
                "write .webm or a folder of images"
            )
        self._final = behind_link(self.target)
        self._partial = partial_name(self._final)
        with _writing(self.target):
            self._container: OutputContainer = av.open(f"file:{self._partial}", "w")
        self._audio: _AudioCopy | None = None
        try:
            self._stream = self._add_video(codec, crf)
            if audio_from is not None:
                self._audio = _AudioCopy(
                    given_path(audio_from, "VideoWriter", MediaError), self._container, self.target
                )
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
        stream: Any = self._container.add_stream(codec.encoder, rate=info.rate, options=options)
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
            os.replace(self._partial, self._final)

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
        with writing(target):
            yield
    except av.error.FFmpegError as error:
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
