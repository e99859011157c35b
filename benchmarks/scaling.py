"""Training steps on 1, 2, 4 and 8 simulated devices, and what the devices exchange.

python -m benchmarks.scaling [--model compressed_adacof] [--width 0] [--devices 1 2 4 8] [--steps 3]

The devices are parts of one processor and share its cores, so that the times show what splitting the
batch costs and not what it gains: on N real devices a step does 1/N of the work that it does here.
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from benchmarks.results import environment
from train.config import TrainConfig
from train.presets import PRESETS
from train.sharding import Layout
from train.state import TrainState, begin
from train.step import Batch
from vfijax.losses import LossWeights
from vfijax.models import create, narrow

_RESULT = re.compile(
    r" = (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+))\[([\d,]*)\]")


@dataclass(frozen=True)
class Scaling:
    """A step on some devices: `exchanged` is bytes of results of collective operations, by kind."""

    devices: int
    seconds: float
    compile_s: float
    exchanged: dict[str, int]


def collectives(program: str) -> dict[str, int]:
    """Bytes that the collective operations of a compiled program yield on a device, by kind.

    One inside a loop counts once.
    """
    found: dict[str, int] = {}
    for shapes, kind in _RESULT.findall(program):
        found[kind] = found.get(kind, 0) + sum(_nbytes(bits, sides) for bits, sides in _ARRAY.findall(shapes))
    return found


def _nbytes(bits: str, sides: str) -> int:
    return int(bits or 8) // 8 * int(np.prod([int(side) for side in sides.split(",") if side], dtype=int))


def ring_volume(gradient_bytes: int, devices: int) -> float:
    """Bytes that a device sends (and receives) in an all-reduce over a ring: 2 (N - 1) / N of the array."""
    return 2 * (devices - 1) / devices * gradient_bytes


def gradient_bytes(state: TrainState) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))


def measured(config: TrainConfig, steps: int) -> Scaling:
    """Median time of a step of a config on its devices, after one step that compiles."""
    layout = Layout.of(config)
    state = layout.place(begin(create(config.net, config.seed), config.optim))
    rng, side = np.random.default_rng(0), config.data.crop
    shape = (config.data.batch, side, side, 3)
    batch = {role: rng.integers(0, 256, shape, dtype=np.uint8) for role in ("first", "middle", "last")}
    step = layout.step(config)
    began = time.perf_counter()
    program = program_text(step, state, layout.split(batch))
    state, _ = jax.block_until_ready(step(state, layout.split(batch), {}))
    compile_s, times = time.perf_counter() - began, []
    for _ in range(steps):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, layout.split(batch), {}))
        times.append(time.perf_counter() - began)
    return Scaling(layout.mesh.size, float(np.median(times)), compile_s, collectives(program))


def program_text(step: Any, state: TrainState, batch: Batch) -> str:
    """The compiled program of a step."""
    function = getattr(step, "func", step)
    return function.lower(state, batch, {}, **getattr(step, "keywords", {})).compile().as_text()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="compressed_adacof")
    parser.add_argument("--width", type=int, default=0, help="of all layers; 0: those of the model")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--parallel", choices=("jit", "pmap"), default="jit")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args(arguments)
    jax.config.update("jax_num_cpu_devices", max(args.devices))
    preset = PRESETS[args.model]
    config = replace(
        preset,
        net=narrow(args.model, args.width) if args.width else preset.net,
        data=replace(preset.data, batch=args.batch, crop=args.crop),
        losses=LossWeights(charbonnier=1.0, smoothness=0.01),
        parallel=args.parallel,
    )
    made, first = environment(), None
    print(
        f"{made['device']}, {made['cores']} cores, load {made.get('load', 'not known')}, {made['versions']}"
    )
    print(f"{args.model}, batch {args.batch} of {args.crop}x{args.crop}, {args.parallel}")
    for devices in args.devices:
        seen = measured(replace(config, devices=devices), args.steps)
        first = first or seen
        triplets = args.batch / seen.seconds
        print(
            f"{devices} devices: {seen.seconds:.3f} s/step, {triplets:.2f} triplets/s, "
            f"{first.seconds / seen.seconds:.2f} x the first; exchanges {seen.exchanged or 'nothing'}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
