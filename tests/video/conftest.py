"""Clips that the tests make for themselves, with PyAV alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

import vfijax


@dataclass(frozen=True)
class Clip:
    """What to make. `times` are in units of `time_base`; the last frame is as long as the one before."""

    name: str = "clip.mp4"
    width: int = 64
    height: int = 48
    frames: int = 6
    rate: Fraction = Fraction(25)
    times: Sequence[int] | None = None
    time_base: Fraction | None = None
    pixels: str = "yuv420p"
    codec: str = "libx264"
    crf: int = 12
    matrix: int = 6
    range: int = 1
    tagged: bool = True
    rotation: int | None = None
    pixel_aspect: Fraction | None = None
    audio: str | None = None
    options: tuple[tuple[str, str], ...] = ()  # of the container


def picture(index: int, height: int, width: int) -> np.ndarray:
    """A smooth, colourful picture that moves with `index`; uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width] / 16
    channels = (np.sin(x + index / 3), np.sin(y + index / 4), np.cos((x + y) / 2 + index / 5))
    return (127.5 + 110 * np.stack(channels, -1)).round().astype(np.uint8)


def write_clip(path: Path, clip: Clip) -> list[np.ndarray]:
    images = [picture(i, clip.height, clip.width) for i in range(clip.frames)]
    base = clip.time_base or 1 / clip.rate
    times = list(clip.times or (round(i / clip.rate / base) for i in range(clip.frames)))
    gaps = [b - a for a, b in pairwise(times)]
    with av.open(str(path), "w", options=dict(clip.options)) as container:
        video = _video_stream(container, clip, base)
        sound = container.add_stream(clip.audio, rate=48000, layout="stereo") if clip.audio else None
        for image, time, lasting in zip(images, times, [*gaps, gaps[-1] if gaps else 1], strict=True):
            frame = _converted(image, clip)
            frame.pts, frame.time_base, frame.duration = time, base, lasting
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            _add_tone(container, sound, seconds=float((times[-1] + gaps[-1]) * base))
    return images


def _video_stream(container, clip: Clip, base: Fraction):
    options = {"crf": str(clip.crf)} if clip.codec == "libx264" else {}
    video = container.add_stream(clip.codec, rate=clip.rate, options=options)
    video.width, video.height, video.pix_fmt = clip.width, clip.height, clip.pixels
    video.codec_context.time_base = base
    if clip.pixel_aspect:
        video.codec_context.sample_aspect_ratio = clip.pixel_aspect
    if clip.rotation is not None:
        video.set_display_rotation(clip.rotation)
    if clip.tagged:
        video.codec_context.colorspace, video.codec_context.color_range = clip.matrix, clip.range
    return video


def _converted(image: np.ndarray, clip: Clip) -> av.VideoFrame:
    matrix = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}[clip.matrix]
    graph = Graph()
    graph.link_nodes(
        graph.add("buffer", f"video_size={clip.width}x{clip.height}:pix_fmt=rgb24:time_base=1/1"),
        graph.add(
            "scale",
            f"out_color_matrix={matrix}:out_range={'pc' if clip.range == 2 else 'tv'}:out_chroma_loc=left"
            ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp",
        ),
        graph.add("format", f"pix_fmts={clip.pixels}"),
        graph.add("buffersink"),
    ).configure()
    graph.push(av.VideoFrame.from_ndarray(image))
    return graph.pull()


def _add_tone(container, stream, seconds: float) -> None:
    wave = np.sin(2 * np.pi * 440 * np.arange(int(48000 * seconds)) / 48000) * 8000
    samples = np.stack([wave, wave], -1).astype(np.int16).reshape(1, -1)
    tone = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
    tone.sample_rate, tone.pts, tone.time_base = 48000, 0, Fraction(1, 48000)
    context = stream.codec_context
    resampler = av.AudioResampler(context.format, "stereo", 48000, frame_size=context.frame_size or 1024)
    for part in [*resampler.resample(tone), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """`make_clip(name="a.mp4", frames=6, ...)` writes a clip to the test's folder and gives its path."""

    def make(**fields) -> Path:
        clip = Clip(**fields)
        write_clip(tmp_path / clip.name, clip)
        return tmp_path / clip.name

    return make


@pytest.fixture(scope="session")
def blend():
    return vfijax.create("blend", 0)


@dataclass(frozen=True)
class Probe:
    """What a file holds, read with PyAV alone."""

    times: list[Fraction]
    images: list[np.ndarray]
    rate: Fraction
    duration: Fraction  # of the video stream
    audio: list[tuple[int, bytes]]  # (pts, data) of every packet
    frame: av.VideoFrame
    pixel_aspect: Fraction


@pytest.fixture(scope="session")
def probe() -> Callable[[Path], Probe]:
    return _probe


def _probe(path: Path) -> Probe:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
        last = frames[-1]
        times = [f.pts * f.time_base for f in frames]
        result = Probe(
            times=times,
            images=[f.to_ndarray(format="rgb24") for f in frames],
            rate=video.average_rate,
            duration=times[-1] - times[0] + last.duration * last.time_base,
            audio=[],
            frame=last,
            pixel_aspect=video.sample_aspect_ratio or Fraction(1),
        )
    with av.open(str(path)) as container:
        packets = container.demux(*container.streams.audio) if container.streams.audio else ()
        result.audio.extend((p.pts, bytes(p)) for p in packets if p.dts is not None)
    return result
