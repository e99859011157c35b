"""Rows of the input pipeline alone, beside the training step that it feeds."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import training, video
from benchmarks.measure import Contestant, Plan, Row, measure
from datasets import (
    ClipSource,
    Reading,
    Source,
    SyntheticSource,
    TrainingTriplet,
    TripletSource,
    training_batches,
)
from train.config import DataConfig
from vfijax.media import find_triplets, write_image

BATCH, CROP = 8, 128
ITEMS = 64  # triplets or clips on disk, more than a batch, so that each batch reads others
STEP = "a training step of compressed_adacof"

# What 8 GPUs would take: an assumption about the device, not a measurement. A crop of 128x128 costs
# compressed_adacof 19 GFLOP with gradients (three times 2 x 3.2 G multiply-adds, which are its 183.5 G at
# 736x1280 in proportion).
GPUS, GPU_FLOPS, SAMPLE_FLOPS = 8, 20e12, 19e9


def label(kind: str) -> str:
    return f"data, {kind}"


def rows(plan: Plan) -> Iterator[Row]:
    with TemporaryDirectory() as folder:
        step = _step()
        for kind, make in SOURCES.items():
            yield source_row(kind, make(Path(folder) / kind), step, plan)


def source_row(kind: str, source: Source, step: Contestant, plan: Plan) -> Row:
    """One batch, prepared by one core when it is asked for, beside the step that would use it."""
    reading = Reading(threads=0)
    batches = training_batches([(source, 1.0)], TrainingTriplet(CROP), batch=BATCH, seed=0, reading=reading)
    before = _resident_mb()
    for _ in range(-(-2 * len(source) // BATCH)):  # two epochs: caches are full after the first
        next(batches)
    settled = _resident_mb()
    row = measure(
        label(kind),
        "data",
        f"{BATCH} crops of {CROP}x{CROP} by one core",
        lambda: next(batches),
        {STEP: step},
        plan,
    )
    for _ in range(-(-2 * len(source) // BATCH)):
        next(batches)
    per_core = BATCH / (row.cpu_s or 1)
    figures = {
        "samples per second and core": per_core,
        f"cores for {GPUS} GPUs at {GPU_FLOPS / 1e12:g} TFLOP/s each (computed)": GPUS
        * (GPU_FLOPS / SAMPLE_FLOPS)
        / per_core,
        "MB after two epochs": settled - before,
        "MB after two more and the measurement": _resident_mb() - before,
    }
    return replace(row, figures=figures)


def _step() -> Contestant:
    config = replace(training.CASES[0].config, data=DataConfig(batch=BATCH, crop=CROP))
    return training.step_contestant(config)[0]


def _png_triplets(folder: Path) -> Source:
    """Photographs in motion, 256x448, in the layout of Vimeo-90K."""
    drawn = SyntheticSource(448, seed=0, motion=8.0, length=ITEMS)
    for i in range(ITEMS):
        place = folder / "sequences" / "00001" / f"{i + 1:04d}"
        place.mkdir(parents=True)
        for number, frame in enumerate(drawn[i][:, :256], start=1):
            write_image(place / f"im{number}.png", frame)
    return TripletSource(find_triplets(folder), CROP)


def _clips(folder: Path) -> Source:
    folder.mkdir()
    paths = [video.write_clip(folder / f"{i}.mp4", 9) for i in range(ITEMS // 8)]
    return ClipSource(paths, CROP, 2**30)


SOURCES: dict[str, Callable[[Path], Source]] = {
    "PNG triplets of 256x448": _png_triplets,
    "video clips of 256x448, decoded once": _clips,
    "synthetic": lambda folder: SyntheticSource(CROP, seed=0, length=ITEMS),
}


def _resident_mb() -> float:
    """Memory of this process now, in MB (2**20 bytes); NaN where /proc is not there."""
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[1]) if statm.exists() else np.nan
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
