"""Rows of whole videos: speed beside a plain loop, and peak memory at N and 4N frames."""

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import Plan, Ratio, Row, measure
from vfijax.media import Frame, VideoInfo, VideoReader, VideoWriter
from vfijax.models import create
from vfijax.pairs import interpolate
from vfijax.params import ModelParams
from vfijax.video import interpolate_video

NAMES = ("blend", "compressed_adacof")
LOOP = "decode, interpolate, encode in turn"
QUARTER = "a quarter of the frames"
WIDTH, HEIGHT, RATE = 448, 256, Fraction(24)


def speed_label(name: str) -> str:
    return f"video, {name}"


def memory_label(name: str) -> str:
    return f"video memory, {name}"


def rows(plan: Plan, names: tuple[str, ...] = NAMES) -> Iterator[Row]:
    with TemporaryDirectory() as folder:
        for name in names:
            yield speed_row(name, plan, Path(folder))
            yield memory_row(name, plan.memory_clip, Path(folder))


def write_clip(path: Path, frames: int) -> Path:
    """Waves that move, H.264."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 16
    with VideoWriter(path, VideoInfo(WIDTH, HEIGHT, RATE)) as writer:
        for i in range(frames):
            waves = np.stack([np.sin(x + i / 3), np.sin(y + i / 4), np.cos((x + y) / 2 + i / 5)], axis=-1)
            image = (127.5 + 110 * waves).round().astype(np.uint8)
            writer.write(Frame(image, i / RATE, 1 / RATE))
    return path


def speed_row(name: str, plan: Plan, folder: Path) -> Row:
    """Doubling the frame rate of a clip, file to file."""
    frames = plan.clip
    params, target = create(name, 0), folder / "out.mp4"
    clip = write_clip(folder / "clip.mp4", frames)
    row = measure(
        speed_label(name),
        "video",
        f"{frames} frames of {WIDTH}x{HEIGHT} to {2 * frames - 1}, H.264 file to file",
        lambda: interpolate_video(clip, target, params),
        {LOOP: lambda: plain_loop(clip, target, params)},
        plan,
    )
    return replace(row, figures={"frames per second": (2 * frames - 1) / (row.median or math.inf)})


def plain_loop(clip: Path, target: Path, params: ModelParams) -> None:
    """What `interpolate_video` does to this clip, one thing after the other."""
    rate = 2 * RATE
    with VideoReader(clip) as reader, VideoWriter(target, replace(reader.info, rate=rate)) as writer:
        for i, (left, right) in enumerate(pairwise(reader)):
            middle = np.asarray(interpolate(params, left.image, right.image))
            writer.write(Frame(left.image, 2 * i / rate, 1 / rate))
            writer.write(Frame(middle, (2 * i + 1) / rate, 1 / rate))
        writer.write(Frame(right.image, 2 * (i + 1) / rate, 1 / rate))


# --------------------------------------------------------------------------- memory

_CHILD = """
import sys, vfijax
from vfijax.video import interpolate_video
interpolate_video(sys.argv[1], sys.argv[2], vfijax.create(sys.argv[3], 0))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_mb(clip: Path, target: Path, name: str) -> float:
    """Peak resident memory of a fresh process that doubles a clip, in MB (2**20 bytes)."""
    command = [sys.executable, "-c", _CHILD, str(clip), str(target), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"interpolating {clip.name} with {name} failed:\n{done.stderr}")
    return int(done.stdout) / 1024


def memory_row(name: str, frames: int, folder: Path) -> Row:
    """Peak memory at 4N frames beside that at N; `figures` says what holding all frames would give."""
    detail = f"{4 * frames} frames of {WIDTH}x{HEIGHT} beside {frames}"
    if sys.platform != "linux" or not frames:
        reason = "needs longer clips than a quick run makes" if not frames else "is read from /proc on Linux"
        return Row(
            memory_label(name), "video", "left out", unit="MB", left_out={QUARTER: f"peak memory {reason}"}
        )
    clips = [write_clip(folder / f"{n}.mp4", n) for n in (4 * frames, frames)]
    long, short = (peak_mb(clip, folder / "out.mp4", name) for clip in clips)
    growth = long / short
    held = 2 * 3 * frames * HEIGHT * WIDTH * 3 / 2**20
    return Row(
        memory_label(name),
        "video",
        detail,
        median=long,
        min=long,
        unit="MB",
        figures={"ratio if all frames were held": (short + held) / short},
        ratios={QUARTER: Ratio(growth, growth, growth, median=short, min=short)},
    )
