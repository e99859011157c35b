"""A training run from its config to its last step."""

from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax

from train import rundir
from train.config import TrainConfig, TrainError, check, complete, to_json
from train.data import Data, bad_items
from train.pictures import batch_panels, batch_sheet
from train.report import NotFinite, Report, Silent
from train.scores import baseline, evaluate
from train.sharding import Layout, check_same, from_first, greatest, here, is_first, lost_processes, together
from train.state import Checkpoints, TrainState, begin, initial_params
from train.step import Networks
from train.tasks import Batch, task_of
from vfijax.checkpoint import save
from vfijax.command import Stop, Stopping, never
from vfijax.files import write_arrays
from vfijax.losses import load_networks
from vfijax.media import write_image


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      state: after the last step taken.
      stopped_by: number of the signal that ended it early, None when it reached its last step.
    """

    state: TrainState
    stopped_by: int | None


@bad_items()
def run(config: TrainConfig, out: Path, *, resume: bool = False, stopping: Stopping = never) -> Outcome:
    """Trains a network in the run directory `out` (see `train.rundir`).

    A run that was stopped and resumed ends with the same parameters as one that was not, bit for bit, on any
    device that adds in a fixed order (a CPU does; atomic sums on a GPU do not). On another number of devices
    the sums over a batch are rounded otherwise, and all else is the same.

    Every process that `train.sharding.connect` joined calls this alike. Process 0 alone reads and writes
    `out` and tells how the run goes; a signal to one of them ends them all.

    Args:
      config: the run.
      out: its directory.
      resume: go on with the run that `out` holds.
      stopping: entered around the steps; what it yields ends the run after the present step, with a
        checkpoint. Programs give `vfijax.command.stop_requests`; else signals are the caller's.

    Raises:
      TrainError: a config that cannot be run, an `out` that does not fit `resume`, a loss that is
        not finite, a process that is gone.
      ValueError, OSError: data or weights that cannot be read.
    """
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
        size = f"{config.net.name}, {state.params.size:,} parameters"
        report.say(f"{out}: {size}, on {layout}; {data.note}")
        if started:
            report.say(started)
        if resume:
            report.say(f"goes on after step {start}")
        with lost_processes(), stopping() as stop:
            state = _steps(config, layout, state, networks, data, report, checkpoints, stop)
    finished = int(state.step) >= config.steps
    return Outcome(state, None if finished else stop.signal)


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
    step_of_run = layout.step(config)
    blend = baseline(task_of(config.net), data.sequences)
    report.start_clock()
    try:
        for step in range(start + 1, config.steps + 1):
            state, scalars = step_of_run(state, layout.split(next(batches)), networks)
            report.collect(step, scalars)
            ending = greatest(stop.signal or 0, after=state)  # so that all processes end after the same step
            last = step == config.steps
            if last or step % config.eval.every == 0:
                report.settle()
                evaluate(report, step, here(state.best), data.sequences, blend, config.log.pictures)
            if last or step % config.log.checkpoint_every == 0 or ending:
                report.settle()
                if checkpoints:
                    checkpoints.save(state)
                    save(report.out / "last", here(state.best), step=step)
                report.start_clock()
            if ending:
                stop.signal = ending
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
    write_arrays(path.with_suffix(".npz"), batch)
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
