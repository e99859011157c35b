"""What a run trains on and is scored on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from datasets import BadItem, Reading, open_sources
from train.config import TrainConfig, TrainError
from train.tasks import Batch, task_of


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
        data, task = config.data, task_of(config.net)
        sources = open_sources(
            data,
            frames=task.frames,
            timed=config.net.random_times,
            eval_crop=config.eval.crop,
            seed=config.seed,
        )
        shares, note = sources.train, sources.note
        sequences = task.sequences(sources.val, config.eval.limit, config.eval.crop)
        if config.overfit:
            sequences = task.sequences(shares[0][0], config.overfit, data.crop)
            shares, data = ((list(sequences), 1.0),), replace(data, augment="none", stride=1)
            note = f"overfits and is scored on {len(sequences)} of them: {note}"

        def batches(start: int, process: int = 0, processes: int = 1) -> Iterator[Batch]:
            reading = Reading(data.threads, data.workers, process, processes)
            return task.batches(shares, data, seed=config.seed, start=start, reading=reading)

        return cls(batches, sequences, note)
