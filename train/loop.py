"""A training run from its config to its last step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

from datasets import (
    Source,
    Sources,
    as_batch,
    evaluation_triplets,
    open_sources,
    spread,
    training_batches,
)
from train import rundir
from train.config import TrainConfig, check
from train.pictures import panels
from train.report import Report
from train.state import Checkpoints, TrainState, initial_state
from train.step import eval_step, jitted_train_step
from vfijax.checkpoint import save
from vfijax.models import create
from vfijax.params import ModelParams

EVAL_BATCH = 4  # triplets at a time; more needs memory and saves little


@dataclass
class Stop:
    """Set when the run is asked to end: the number of the signal."""

    signal: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      state: after the last step taken.
      stopped_by: number of the signal that ended it early, None when it reached its last step.
    """

    state: TrainState
    stopped_by: int | None


def run(config: TrainConfig, out: Path, *, resume: bool = False) -> Outcome:
    """Trains a network in the run directory `out` (see `train.rundir`).

    SIGINT and SIGTERM end the run after the present step with a checkpoint; a second one ends it at
    once. A run that was stopped and resumed ends with the same parameters as one that was not, bit
    for bit, on any device that adds in a fixed order (a CPU does; atomic sums on a GPU do not).

    Args:
      config: the run.
      out: its directory.
      resume: go on with the run that `out` holds.

    Raises:
      TrainError: a config that cannot be run, an `out` that does not fit `resume`, a loss that is
        not finite.
      ValueError, OSError: data that cannot be read.
    """
    check(config)
    fresh = initial_state(config)
    sources = _open_sources(config)
    triplets = evaluation_triplets(sources.val, limit=config.eval.limit, crop=config.eval.crop)
    rundir.begin(out, config, resume)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(closing(Checkpoints(out / "checkpoints", config.log.keep)))
        state = checkpoints.load(fresh) if resume else fresh
        start = int(state.step)
        report = Report(out, scalar_names(config), start=start, steps=config.steps, every=config.log.every)
        stack.enter_context(closing(report))
        report.say(f"{out}: {describe(state.params)}; {sources.note}")
        if resume:
            report.say(f"goes on after step {start}")
        stop = stack.enter_context(stop_requests())
        state = _steps(config, state, sources.train, triplets, report, checkpoints, stop)
    finished = int(state.step) >= config.steps
    return Outcome(state, None if finished else stop.signal)


def _open_sources(config: TrainConfig) -> Sources:
    data, cache = config.data, int(config.data.cache_gb * 2**30)
    sizes = {"crop": data.crop, "eval_crop": config.eval.crop}
    return open_sources(
        data.source, data.val, **sizes, seed=config.seed, motion=data.motion, cache_bytes=cache
    )


def _steps(
    config: TrainConfig,
    state: TrainState,
    source: Source,
    triplets: np.ndarray,
    report: Report,
    checkpoints: Checkpoints,
    stop: Stop,
) -> TrainState:
    """All steps that are left, with what happens between them."""
    data, start = config.data, int(state.step)
    batches = training_batches(
        source, crop=data.crop, batch=data.batch, seed=config.seed, start=start, threads=data.threads
    )
    step_of_run = partial(
        jitted_train_step, losses=config.losses, optim=config.optim, reference_grads=config.reference_grads
    )
    blend = score(create("blend", 0), triplets)
    if start < config.steps:
        report.say("compiling the training step ...")
    report.start_clock()
    for step in range(start + 1, config.steps + 1):
        state, scalars = step_of_run(state, next(batches))
        report.collect(step, scalars)
        last = step == config.steps
        if last or step % config.eval.every == 0:
            report.settle()
            evaluate(report, step, state.params, triplets, blend, config.log.pictures)
        if last or step % config.log.checkpoint_every == 0 or stop.signal:
            report.settle()
            checkpoints.save(state)
            report.start_clock()
        if stop.signal:
            break
    report.settle()
    if not (report.out / "model").exists():  # stopped before the first evaluation
        save(report.out / "model", state.params, step=int(state.step))
    return state


def scalar_names(config: TrainConfig) -> list[str]:
    """Of `train_step`, in the order of metrics.csv."""
    return [
        "loss",
        *(name for name, weight in asdict(config.losses).items() if weight),
        "grad_norm",
        "learning_rate",
    ]


def describe(params: ModelParams) -> str:
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return f"{params.config.name}, {count:,} parameters, on {jax.devices()[0].device_kind}"


def predictions(params: ModelParams, triplets: np.ndarray) -> Iterator[dict[str, Any]]:
    """`eval_step` of all triplets, in batches of one size, so that it is compiled once."""
    size = next(n for n in range(EVAL_BATCH, 0, -1) if len(triplets) % n == 0)
    for begin in range(0, len(triplets), size):
        yield jax.device_get(eval_step(params, as_batch(triplets[begin : begin + size])))


def score(params: ModelParams, triplets: np.ndarray) -> float:
    """Mean PSNR in decibels."""
    return float(np.mean(np.concatenate([seen["psnr"] for seen in predictions(params, triplets)])))


def evaluate(
    report: Report, step: int, params: ModelParams, triplets: np.ndarray, blend: float, rows: int
) -> None:
    """Scores the network, keeps it when it is the best so far, draws curve and pictures."""
    psnr = score(params, triplets)
    best = report.evaluation(step, psnr, blend)
    if best:
        save(report.out / "model", params, step=step, psnr=psnr, blend_psnr=blend)
    if rows:
        chosen = triplets[spread(len(triplets), rows)]
        batches = list(predictions(params, chosen))
        report.samples(step, panels(chosen, jax.tree.map(lambda *parts: np.concatenate(parts), *batches)))
    report.start_clock()


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Notes the first SIGINT or SIGTERM instead of ending the process; a second one ends it."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread only
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        for each, handler in previous.items():
            signal.signal(each, handler)

    for number in previous:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
