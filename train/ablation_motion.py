"""PSNR against displacement: how far the sampling ops reach, and networks with them.

python -m train.ablation motion --out runs/motion
python -m train.ablation motion --models weights/sepconv weights/adacof --out runs/motion

Photographs move by a whole number of pixels, so that the true middle frame is exact. Every op gets the
fields that reproduce the motion as well as its form allows, one tap per frame: where the displacement of
half an interval lies within the kernel the frame is exact to 8 bits, beyond it the tap is the outermost one.
A separable kernel of n taps on a side reaches (n - 1) / 2 pixels; offsets are free and reach any distance.
That is the limit of the operation; networks, given with --models, stay below it.

motion.json, motion.csv, motion.png     PSNR by distance and op or network
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.table import Table

from datasets.synthetic import photographs
from train.config import TrainError
from vfijax import ops
from vfijax.command import given, print_table
from vfijax.environment import environment
from vfijax.files import write_json, write_text
from vfijax.levels import to_float, to_uint8
from vfijax.media import write_image
from vfijax.media.plot import line_chart
from vfijax.metrics import psnr
from vfijax.models import forward
from vfijax.params import ModelParams
from vfijax.weights.resolve import resolve

TOP = 60.0  # decibels; where the curves are cut off in the picture, since exact frames have infinite PSNR

Method = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
Curve = list[float]


@dataclass(frozen=True)
class Args:
    """PSNR against displacement, for the sampling ops and for networks."""

    out: Path = Path("runs/ablation-motion")
    """directory for motion.json, motion.csv and motion.png"""
    models: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CHECKPOINT [...]")] = ()
    """networks to draw beside the ops"""
    to: int = 60
    """greatest displacement between first and last frame, pixels"""
    step: int = 4
    """between the displacements, pixels; even, so that the middle frame is exact"""
    scenes: int = 4
    """photographs that move, by turns along rows and columns"""
    size: int = 192
    """side of the frames; only what is visible in all frames at every displacement is scored"""


def main(arguments: Sequence[str]) -> int:
    """Sweeps and draws; returns 0. Errors are those of `sweep`, handled by `train.ablation`."""
    program = "python -m train.ablation motion"
    args = tyro.cli(Args, args=given(arguments), prog=program, description=__doc__)
    curves = sweep(args)
    _show(args, curves)
    _write(args, curves)
    print(f"motion.json, .csv and .png in {args.out}")
    return 0


def distances(args: Args) -> list[int]:
    """The displacements, pixels per interval; raises TrainError for options that give no exact sweep."""
    if args.step < 2 or args.step % 2 or args.to < args.step:
        raise TrainError(f"--step {args.step} and --to {args.to}: give even steps up to a greater distance")
    if args.scenes < 1:
        raise TrainError(f"--scenes is {args.scenes}; give 1 or more")
    if args.size < args.to + 32:
        raise TrainError(f"--size is {args.size}; give {args.to + 32} or more for distances up to {args.to}")
    return list(range(0, args.to + 1, args.step))


def sweep(args: Args) -> dict[str, Curve]:
    """Name to mean PSNR in dB at every distance, infinite where all frames are exact to 8 bits."""
    steps = distances(args)
    models = {name: partial(_network, resolve(name)) for name in args.models}
    methods = ORACLES | {"blend": _blend} | models
    margin = args.to // 2
    inside = (slice(None), slice(margin, args.size - margin), slice(margin, args.size - margin))
    curves: dict[str, Curve] = {name: [] for name in methods}
    for distance in steps:
        first, truth, last = map(to_float, jnp.moveaxis(jnp.asarray(moving(args, distance)), 1, 0))
        shift = jnp.asarray(shifts(args.scenes, distance), jnp.float32)
        for name, method in methods.items():
            frame = to_float(to_uint8(method(first, last, shift)))
            curves[name].append(_mean(psnr(frame[inside], truth[inside])))
        print(f"distance {distance} of {args.to} pixels")
    return curves


def _mean(scores: jax.Array) -> float:
    return math.fsum(map(float, scores)) / len(scores)


# ------------------------------------------------------------------------------------------- motion


def shifts(scenes: int, distance: int) -> np.ndarray:
    """[scenes, 2]: rows and columns that a scene moves in half of the interval; odd ones move along rows."""
    half = np.zeros((scenes, 2), int)
    half[np.arange(scenes), 1 - np.arange(scenes) % 2] = distance // 2
    return half


def moving(args: Args, distance: int) -> np.ndarray:
    """Photographs that move by `distance` pixels, uint8 [scenes, 3, size, size, 3]: first, middle, last.

    The frames of a scene are cut from one picture, so that the middle one is exact.
    """
    pictures = photographs("val")[::2]  # at full size
    size, triplets = args.size, []
    for scene, (down, right) in enumerate(shifts(args.scenes, distance)):
        picture = pictures[scene % len(pictures)]
        room = [(side - size) // 2 for side in picture.shape[:2]]
        if min(room) < distance // 2:
            raise TrainError(f"the photographs are too small for frames of {size} that move by {distance}")
        frames = []
        for time in (-1, 0, 1):  # what moves right is found further left in the picture
            top, left = room[0] - time * down, room[1] - time * right
            frames.append(picture[top : top + size, left : left + size])
        triplets.append(np.stack(frames))
    return np.stack(triplets)


# -------------------------------------------------------------------------------------------- methods


def _both(sample: Callable[[jax.Array, jax.Array], jax.Array]) -> Method:
    """The mean of what is sampled from both frames; the first lies at minus the shift, the last at plus."""
    return jax.jit(lambda first, last, shift: (sample(first, -shift) + sample(last, shift)) / 2)


def _delta(place: jax.Array, taps: int, shape: tuple[int, ...]) -> jax.Array:
    """[B, taps, H, W] with a one at the tap nearest to `place` [B], pixels from the centre."""
    reach = (taps - 1) // 2
    index = jnp.clip(jnp.round(place), -reach, reach).astype(jnp.int32) + reach
    one = jax.nn.one_hot(index, taps)
    return jnp.broadcast_to(one[:, :, None, None], (shape[0], taps, *shape[1:3]))


def _separable(taps: int) -> Method:
    def sample(frame: jax.Array, shift: jax.Array) -> jax.Array:
        return ops.sepconv(frame, *(_delta(shift[:, axis], taps, frame.shape) for axis in (0, 1)))

    return _both(sample)


def _offsets(shift: jax.Array, taps: int, shape: tuple[int, ...]) -> list[jax.Array]:
    """Offsets of all taps by the shift: rows, columns, each [B, taps * taps, H, W]."""
    fields = (shape[0], taps**2, *shape[1:3])
    return [jnp.broadcast_to(shift[:, axis, None, None, None], fields) for axis in (0, 1)]


def _adacof(taps: int) -> Method:
    def sample(frame: jax.Array, shift: jax.Array) -> jax.Array:
        centre = _delta(jnp.zeros(len(frame)), taps**2, frame.shape)
        return ops.adacof(frame, centre, *_offsets(shift, taps, frame.shape))

    return _both(sample)


def _deformable(taps: int) -> Method:
    def sample(frame: jax.Array, shift: jax.Array) -> jax.Array:
        centre = _delta(jnp.zeros(len(frame)), taps, frame.shape)
        return ops.dsepconv(frame, centre, centre, *_offsets(shift, taps, frame.shape), grid="centred")

    return _both(sample)


def _blend(first: jax.Array, last: jax.Array, shift: jax.Array) -> jax.Array:
    return (first + last) / 2


def _network(params: ModelParams, first: jax.Array, last: jax.Array, shift: jax.Array) -> jax.Array:
    """What a network makes of the frames; it is not told the motion."""
    frames = [_forward(params, a[None], b[None]) for a, b in zip(first, last, strict=True)]
    return jnp.concatenate(frames)


_forward = jax.jit(lambda params, first, last: forward(params, first, last)[0])

# A shifted one is separable, so that AdaConv's kernels of 41x41 reach as far as separable ones of 41.
ORACLES: dict[str, Method] = {
    "sepconv op, n = 51": _separable(51),
    "adaconv op, n = 41": _separable(41),
    "adacof op, F = 5": _adacof(5),
    "dsepconv op, n = 5": _deformable(5),
}

# --------------------------------------------------------------------------------------------- output


def _show(args: Args, curves: dict[str, Curve]) -> None:
    table = Table(title="PSNR in dB by displacement in pixels per interval; inf: exact", title_justify="left")
    table.add_column("pixels", justify="right")
    for name in curves:
        table.add_column(name, justify="right")
    for distance, *scores in zip(distances(args), *curves.values(), strict=True):
        table.add_row(str(distance), *(f"{score:.2f}" for score in scores))
    print_table(table)


def _write(args: Args, curves: dict[str, Curve]) -> None:
    steps = distances(args)
    about = {"distances": steps, "size": args.size, "scenes": args.scenes, "environment": environment()}
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "motion.json", {"format": 1, **about, "psnr": curves})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["pixels", *curves])
    writer.writerows(zip(steps, *curves.values(), strict=True))
    write_text(args.out / "motion.csv", text.getvalue())
    shown = {name: (steps, np.minimum(scores, TOP)) for name, scores in curves.items()}
    picture = line_chart(
        shown,
        title=f"Reach of the sampling ops ({TOP:g} dB: that much or more)",
        x_label="displacement between first and last frame, pixels",
        y_label="PSNR in dB",
        size=(480, 1000),
    )
    write_image(args.out / "motion.png", picture)
