"""How good a network is on the fixed sequences of a run, beside what needs no network."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from datasets import spread
from train.report import Report, Row, of_blend
from train.step import eval_step
from train.tasks import Batch, Task, task_of
from vfijax import prune
from vfijax.checkpoint import save
from vfijax.params import ModelParams

EVAL_BATCH = 4  # sequences at a time; more needs memory and saves little


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


def evaluate(
    report: Report, step: int, params: ModelParams, sequences: np.ndarray, blend: Row, rows: int
) -> None:
    """Scores the network, keeps it when it is the best so far, draws curve and pictures.

    Args:
      report: of the run.
      step: after which this is.
      params: the network.
      sequences: to score on, uint8 [n, frames, H, W, 3].
      blend: the scores of `baseline` on these.
      rows: so many sequences are drawn.
    """
    scores = score(params, sequences)
    best = report.evaluation(step, scores, blend, prune.density(params.tree).density)
    if best:
        save(report.out / "model", params, step=step, **scores, **of_blend(blend))
    if rows:
        chosen = sequences[spread(len(sequences), rows)]
        batches = list(predictions(params, chosen))
        seen = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
        report.samples(step, task_of(params.config).panels(chosen, seen))
    report.start_clock()
