"""A training run from its config to its last step."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

from datasets import AUGMENTATIONS, BadItem, Choice, Reading, open_sources, spread
from train import rundir
from train.config import TrainConfig, TrainError, check, complete, to_json
from train.pictures import batch_panels, batch_sheet
from train.report import NotFinite, Report, Row, Silent, of_blend
from train.sharding import Layout, check_same, from_first, greatest, here, is_first, lost_processes, together
from train.state import Checkpoints, TrainState, begin, initial_params
from train.step import Networks, eval_step, jitted_train_step
from train.tasks import Batch, Task, task_of
from vfijax.checkpoint import save
from vfijax.losses import load_networks
from vfijax.media import write_image
from vfijax.params import ModelParams

EVAL_BATCH = 4  # sequences at a time; more needs memory and saves little


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
    for bit, on any device that adds in a fixed order (a CPU does; atomic sums on a GPU do not). On another
    number of devices the sums over a batch are rounded otherwise, and all else is the same.

    Every process that `train.sharding.connect` joined calls this alike. Process 0 alone reads and writes
    `out` and tells how the run goes; a signal to one of them ends them all.

    Args:
      config: the run.
      out: its directory.
      resume: go on with the run that `out` holds.

    Raises:
      TrainError: a config that cannot be run, an `out` that does not fit `resume`, a loss that is
        not finite, a process that is gone.
      ValueError, OSError: data or weights that cannot be read.
    """
    with bad_items():
        return _run(config, out, resume)


def _run(config: TrainConfig, out: Path, resume: bool) -> Outcome:
    check(config)
    config = complete(config)
    layout = Layout.of(config)
    check_same(to_json(config))
    with together():
        warm = is_first() and not resume
        params, started = initial_params(config if warm else replace(config, init_from=""))
        fresh = begin(params, config.optim)
        networks = load_networks(config.losses, vgg16=config.perceptual.vgg16, vgg19=config.perceptual.vgg19)
        data = Data.of(config)
        if is_first():
            rundir.begin(out, config, resume)
    with ExitStack() as stack:
        checkpoints = Checkpoints(out / "checkpoints", config.log.keep) if is_first() else None
        with together():
            state = checkpoints.load(fresh) if checkpoints and resume else fresh
        state, networks = layout.place(from_first(state)), layout.place(networks)
        start = int(state.step)
        kind = Report if is_first() else Silent
        scores = task_of(config.net).scores
        report = kind(
            out, scalar_names(config), scores, start=start, steps=config.steps, every=config.log.every
        )
        stack.enter_context(closing(report))
        report.say(f"{out}: {describe(state.params)}, on {layout}; {data.note}")
        if started:
            report.say(started)
        if resume:
            report.say(f"goes on after step {start}")
        stop = stack.enter_context(stop_requests())
        with lost_processes():
            state = _steps(config, layout, state, networks, data, report, checkpoints, stop)
    finished = int(state.step) >= config.steps
    return Outcome(state, None if finished else stop.signal)


@contextmanager
def bad_items() -> Iterator[None]:
    """An item that cannot be used, as a TrainError that says how to go on without it."""
    try:
        yield
    except BadItem as error:
        raise TrainError(f"{error} (--data.skip-bad leaves out what cannot be used)") from error


@dataclass(frozen=True)
class Data:
    """What a run trains on and is scored on.

    Attributes:
      batches: training batches from a step on; whole, or the share of one of several processes.
      sequences: for evaluation, uint8 [n, frames, H, W, 3]: triplets or clips, see `train.tasks`.
      note: what they are, in words.
    """

    batches: Callable[..., Iterator[Batch]]
    sequences: np.ndarray
    note: str

    @classmethod
    def of(cls, config: TrainConfig) -> "Data":
        data, crop, task = config.data, config.data.crop, task_of(config.net)
        sources = open_sources(_choice(config))
        shares, augmentation = sources.train, AUGMENTATIONS[data.augment]
        sequences = task.evaluation(sources.val, config.eval.limit, config.eval.crop)
        note = sources.note
        if config.overfit:
            sequences = task.evaluation(shares[0][0], config.overfit, crop)
            shares, augmentation = ((list(sequences), 1.0),), AUGMENTATIONS["none"]
            note = f"overfits and is scored on {len(sequences)} of them: {note}"
        transform = task.transform(
            crop=crop,
            augmentation=augmentation,
            stride=1 if config.overfit else data.stride,
            every=data.apart,
            jitter=data.jitter,
        )

        def batches(start: int, process: int = 0, processes: int = 1) -> Iterator[Batch]:
            reading = Reading(data.threads, data.workers, process, processes)
            return task.batches(
                shares, transform, batch=data.batch, seed=config.seed, start=start, reading=reading
            )

        return cls(batches, sequences, note)


def _choice(config: TrainConfig) -> Choice:
    data = config.data
    return Choice(
        data.source,
        data.val,
        data.dir,
        crop=data.crop,
        eval_crop=config.eval.crop,
        seed=config.seed,
        motion=data.motion,
        limit=data.limit,
        synthetic=data.synthetic,
        skip_bad=data.skip_bad,
        cache_bytes=int(data.cache_gb * 2**30),
        frames=task_of(config.net).frames,
        timed=config.net.random_times,
        licences=tuple(data.licences),
    )


def _steps(
    config: TrainConfig,
    layout: Layout,
    state: TrainState,
    networks: Networks,
    data: Data,
    report: Report,
    checkpoints: Checkpoints | None,
    stop: Stop,
) -> TrainState:
    """All steps that are left, with what happens between them."""
    start = int(state.step)
    batches = data.batches(start, jax.process_index(), jax.process_count())
    step_of_run = layout.step(jitted_train_step, config)
    blend = baseline(task_of(config.net), data.sequences)
    if start < config.steps:
        report.say("compiling the training step ...")
    report.start_clock()
    try:
        for step in range(start + 1, config.steps + 1):
            state, scalars = step_of_run(state, layout.split(next(batches)), networks)
            report.collect(step, scalars)
            stop.signal = greatest(stop.signal or 0, after=state) or None
            last = step == config.steps
            if last or step % config.eval.every == 0:
                report.settle()
                evaluate(report, step, here(state.best), data.sequences, blend, config.log.pictures)
            if last or step % config.log.checkpoint_every == 0 or stop.signal:
                report.settle()
                if checkpoints:
                    checkpoints.save(state)
                    save(report.out / "last", here(state.best), step=step)
                report.start_clock()
            if stop.signal:
                break
        report.settle()
    except NotFinite as error:
        if not checkpoints:
            raise TrainError(f"{error}; process 0 says more") from None
        kept = keep_batch(report.out, error.step, next(data.batches(error.step - 1)))
        raise TrainError(f"{error}; {_way_out(checkpoints, kept, report.out)}") from None
    if checkpoints and not (report.out / "model").exists():  # stopped before the first evaluation
        save(report.out / "model", here(state.best), step=int(state.step))
    return state


def keep_batch(out: Path, step: int, batch: Batch) -> Path:
    """Stores the batch of a step, exactly and as a picture; returns the path without suffix."""
    path = out / f"batch_of_step_{step}"
    partial = out / f".batch_of_step_{step}.partial.npz"
    np.savez(partial, **batch)
    partial.rename(path.with_suffix(".npz"))
    write_image(path.with_suffix(".png"), batch_sheet(batch_panels(batch)))
    return path


def _way_out(checkpoints: Checkpoints, batch: Path, out: Path) -> str:
    newest = checkpoints.latest()
    last = (
        f"the last good checkpoint is that of step {newest}, start from it with --init-from {out / 'last'}"
        if newest
        else "there is no checkpoint yet"
    )
    return (
        f"its batch is in {batch}.npz and .png; {last}. A lower --optim.lr or some --optim.warmup often helps"
    )


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
    return f"{params.config.name}, {count:,} parameters"


def in_batches(task: Task, sequences: np.ndarray) -> Iterator[Batch]:
    """Batches of one size, so that what is done with them is compiled once."""
    size = next(n for n in range(EVAL_BATCH, 0, -1) if len(sequences) % n == 0)
    for place in range(0, len(sequences), size):
        yield task.batch(sequences[place : place + size])


def predictions(params: ModelParams, sequences: np.ndarray) -> Iterator[dict[str, Any]]:
    """`eval_step` of all sequences, in batches."""
    for batch in in_batches(task_of(params.config), sequences):
        yield jax.device_get(eval_step(params, batch))


def baseline(task: Task, sequences: np.ndarray) -> Row:
    """The mean scores of what needs no network, in decibels."""
    return _means(task, map(task.baseline, in_batches(task, sequences)))


def score(params: ModelParams, sequences: np.ndarray) -> Row:
    """The mean scores of a network, in decibels."""
    return _means(task_of(params.config), predictions(params, sequences))


def _means(task: Task, seen: Iterable[dict[str, Any]]) -> Row:
    parts = [{name: found[name] for name in task.scores} for found in seen]
    return {name: float(np.mean(np.concatenate([part[name] for part in parts]))) for name in task.scores}


def density(params: ModelParams) -> float:
    """The part of the parameters that is not zero."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    return sum(map(np.count_nonzero, leaves)) / sum(leaf.size for leaf in leaves)


def evaluate(
    report: Report, step: int, params: ModelParams, sequences: np.ndarray, blend: Row, rows: int
) -> None:
    """Scores the network, keeps it when it is the best so far, draws curve and pictures."""
    scores = score(params, sequences)
    best = report.evaluation(step, scores, blend, density(params))
    if best:
        save(report.out / "model", params, step=step, **scores, **of_blend(blend))
    if rows:
        chosen = sequences[spread(len(sequences), rows)]
        batches = list(predictions(params, chosen))
        seen = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
        report.samples(step, task_of(params.config).panels(chosen, seen))
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
