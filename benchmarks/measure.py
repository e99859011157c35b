"""Timing several functions in turn, so that other load on the machine meets all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

PAUSE = 0.02  # seconds before each call, so that idle threads of the one before stop spinning
SAME = 1e-3  # greatest difference between results that claim to be equal, values around 1

Contestant = Callable[[], Any]  # does its work and returns when that is finished


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
      least, most, seconds: at least so many rounds, then on until so many rounds or seconds are over.
      clip: frames of the clip that is interpolated for its speed.
      memory_clip: frames of the shorter clip whose peak memory is taken; 0 leaves memory out.
    """

    least: int = 5
    most: int = 40
    seconds: float = 20.0
    clip: int = 24
    memory_clip: int = 36


FULL = Plan()
QUICK = Plan(least=2, most=5, seconds=1.0, clip=6, memory_clip=0)


@dataclass(frozen=True)
class Ratio:
    """A row divided by a peer that was measured with it.

    Attributes:
      value: median of the ratios of the rounds; below 1 the row is faster (or smaller) than the peer.
      low, high: their quartiles.
      median, min: of the peer itself, in the unit of the row.
      cpu_s: median processor time of the peer, over all threads.
    """

    value: float
    low: float
    high: float
    median: float
    min: float
    cpu_s: float | None = None


@dataclass(frozen=True)
class Row:
    """What was measured of one thing.

    Attributes:
      name: unique within a file of results.
      group: of `benchmarks.run`.
      detail: sizes, in words.
      median, min: over the rounds, in `unit` ("s" or "MB"), without compilation; None where nothing
        was measured, see `left_out`.
      cpu_s: median processor time over all threads; coarse for calls of a few milliseconds.
      compile_s: tracing, lowering and compiling, once.
      figures: other numbers by name, such as frames per second.
      ratios: by peer.
      left_out: peers that were not measured, and why.
    """

    name: str
    group: str
    detail: str
    median: float | None = None
    min: float | None = None
    unit: str = "s"
    rounds: int = 1
    cpu_s: float | None = None
    compile_s: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


class Sample(NamedTuple):
    wall: float
    cpu: float


def timed(call: Contestant) -> Sample:
    time.sleep(PAUSE)
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Sample(time.perf_counter() - wall, time.process_time() - cpu)


def in_turn(contestants: Mapping[str, Contestant], plan: Plan) -> dict[str, list[Sample]]:
    """Calls all of them, A B A B ..., after they have run once before; samples by name."""
    samples: dict[str, list[Sample]] = {name: [] for name in contestants}
    began = time.monotonic()
    for done in range(plan.most):
        if done >= plan.least and time.monotonic() - began >= plan.seconds:
            break
        for name, call in contestants.items():
            samples[name].append(timed(call))
    return samples


def measure(
    name: str,
    group: str,
    detail: str,
    own: Contestant,
    peers: Mapping[str, Contestant | str],
    plan: Plan,
    compile_s: float | None = None,
) -> Row:
    """A row: `own` beside its peers. A peer given as text is left out, for the reason the text states.

    Every function runs once before any is timed.
    """
    running = {peer: call for peer, call in peers.items() if not isinstance(call, str)}
    for call in (own, *running.values()):
        call()
    samples = in_turn({"": own, **running}, plan)
    mine = samples.pop("")
    return Row(
        name=name,
        group=group,
        detail=detail,
        median=statistics.median(s.wall for s in mine),
        min=min(s.wall for s in mine),
        rounds=len(mine),
        cpu_s=statistics.median(s.cpu for s in mine),
        compile_s=compile_s,
        ratios={peer: ratio(mine, theirs) for peer, theirs in samples.items()},
        left_out={peer: reason for peer, reason in peers.items() if isinstance(reason, str)},
    )


def ratio(mine: list[Sample], theirs: list[Sample]) -> Ratio:
    """Compares round by round: load that comes and goes changes both sides of a round."""
    rounds = [a.wall / b.wall for a, b in zip(mine, theirs, strict=True)]
    low, value, high = np.quantile(rounds, [0.25, 0.5, 0.75]).tolist()
    walls, cpus = zip(*theirs, strict=True)
    return Ratio(value, low, high, statistics.median(walls), min(walls), statistics.median(cpus))


def compiled(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[..., Any], float]:
    """A function compiled for some arguments, waiting for its results; and the seconds compiling took."""
    began = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    took = time.perf_counter() - began
    return lambda *arguments: jax.block_until_ready(program(*arguments)), took


def check_same(what: str, own: np.ndarray, peer: np.ndarray) -> None:
    """Raises ValueError unless a peer computes what vfijax computes: else its time means nothing."""
    error = float(np.abs(own - peer).max())
    if not error <= SAME:
        raise ValueError(f"{what}: the peer's result differs from vfijax's by {error:.2g} (at most {SAME})")
