"""Batches: batch i is a function of the source, the seed and i alone.

Neither workers nor restarts nor the number of processes can change what a run sees: its position is
its step, and a process takes its share of every batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np

from datasets.scenes import SceneSource
from datasets.sources import Source
from datasets.timed import TimedTriplet
from datasets.transforms import SCALE, TrainingClip, TrainingTriplet, centre_crop, reduced

ENDLESS = 2**50  # items; grain's own endless repeat cannot be counted any more once it is batched
ROLES = ("first", "middle", "last")  # of the frames of a triplet; the middle one is the target


@dataclass(frozen=True)
class Reading:
    """How batches are prepared; nothing of it changes what they hold.

    Attributes:
      threads: that prepare batches ahead of need; 0 prepares each one when it is asked for.
      workers: processes that do so, each with its own threads; 0 stays in this one.
      process, processes: which share of every batch is prepared here, of how many.
    """

    threads: int = 2
    workers: int = 0
    process: int = 0
    processes: int = 1


def as_batch(triplets: np.ndarray) -> dict[str, np.ndarray]:
    """Triplets [B, 3, H, W, 3] as a dict of [B, H, W, 3] by role."""
    return {role: triplets[:, i] for i, role in enumerate(ROLES)}


def as_clip_batch(clips: np.ndarray) -> dict[str, np.ndarray]:
    """Clips [B, 2N-1, H, W, 3], sides multiples of 4, as `inputs` [B, N, H/4, W/4, 3] and `targets`."""
    return {"inputs": np.stack([reduced(clip[::2]) for clip in clips]), "targets": clips}


def training_batches(
    sources: Sequence[tuple[Source, float]],
    transform: TrainingTriplet,
    *,
    batch: int,
    seed: int,
    start: int = 0,
    reading: Reading = Reading(),
) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches of random triplets, beginning with batch number `start`.

    Each source is gone through in a new order each time; the last items of one pass and the first of
    the next may share a batch.

    Args:
      sources: sequences of frames, each with its share of the batches.
      transform: from a sequence to a triplet.
      batch: triplets per batch, over all processes.
      seed: of order, crops and flips.
      start: number of the first batch wanted.
      reading: who prepares the batches.

    Yields:
      `first`, `middle` and `last`, each uint8 [batch / processes, crop, crop, 3].
    """
    items = _stream(sources, seed).random_map(transform)
    return _batches(items, batch, start, reading, as_batch)


def sample_batches(
    sources: Sequence[tuple[Source | SceneSource, float]],
    transform: TimedTriplet | TrainingClip,
    *,
    batch: int,
    seed: int,
    start: int = 0,
    reading: Reading = Reading(),
) -> Iterator[dict[str, np.ndarray]]:
    """The same where a sample is a dict: triplets at random times, from clips and scenes that can be drawn
    at any time, or clips for space-time super-resolution.

    Yields:
      The dicts of `TimedTriplet` or of `TrainingClip`, every entry with a leading axis of batch / processes.
    """
    return _batches(_stream(sources, seed).random_map(transform), batch, start, reading)


def _stream(sources: Sequence[tuple[Source | SceneSource, float]], seed: int) -> grain.MapDataset:
    streams = [
        grain.MapDataset.source(source).seed(seed + place).shuffle().repeat(ENDLESS // len(source))
        for place, (source, _) in enumerate(sources)
    ]
    if len(streams) == 1:
        return streams[0]
    total = sum(share for _, share in sources)
    mixed = grain.MapDataset.mix(streams, weights=[share / total for _, share in sources])
    return mixed.seed(seed)


def _batches(
    items: grain.MapDataset, batch: int, start: int, reading: Reading, finish: Any = None
) -> Iterator[dict[str, np.ndarray]]:
    if batch % reading.processes:
        raise ValueError(f"a batch of {batch} cannot be shared by {reading.processes} processes evenly")
    shares = items.batch(batch // reading.processes)
    own = shares[start * reading.processes + reading.process :: reading.processes]
    own = own if finish is None else own.map(finish)
    options = grain.ReadOptions(num_threads=reading.threads, prefetch_buffer_size=2 * reading.threads)
    ready = own.to_iter_dataset(options)
    if reading.workers:
        ready = ready.mp_prefetch(_worker_processes(reading.workers))
    return iter(ready)


def _worker_processes(count: int) -> grain.MultiprocessingOptions:
    from absl import flags  # grain's processes want absl's flags parsed, also where nothing uses absl

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain.MultiprocessingOptions(num_workers=count, per_worker_buffer_size=2)


def evaluation_triplets(source: Source, *, limit: int, crop: int) -> np.ndarray:
    """Fixed triplets, spread evenly over the items of a source and over the frames of each item.

    Args:
      source: sequences of frames.
      limit: how many triplets at most; 0 takes every middle frame there is.
      crop: pixels taken from the middle of each side, less where the smallest frame has less, so
        that all triplets have one size.

    Returns:
      uint8 [n, 3, H, W, 3].
    """
    return _evaluation_runs(source, len(ROLES), limit, crop, 1)


def evaluation_clips(source: Source, *, limit: int, crop: int, frames: int) -> np.ndarray:
    """The same for space-time super-resolution: uint8 [n, frames, H, W, 3], H and W multiples of 4."""
    return _evaluation_runs(source, frames, limit, crop, SCALE)


def _evaluation_runs(source: Source, count: int, limit: int, crop: int, multiple: int) -> np.ndarray:
    """Runs of `count` frames; sides become multiples."""
    per_item = -(-limit // min(limit, len(source))) if limit else None
    found = []
    for index in spread(len(source), limit or None):
        frames = source[index]
        starts = spread(len(frames) - count + 1, per_item)
        found += [centre_crop(frames[t : t + count], crop, crop) for t in starts]
    found = found[: limit or None]
    height, width = (min(run.shape[axis] for run in found) // multiple * multiple for axis in (1, 2))
    return np.stack([centre_crop(run, height, width) for run in found])


def spread(length: int, most: int | None) -> list[int]:
    """At most `most` numbers below `length`, evenly spaced; all of them for None."""
    count = min(length, most or length)
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]
