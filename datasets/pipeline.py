"""Batches: batch i is a function of the source, the seed and i alone.

Neither worker threads nor restarts can change what a run sees: its position is its step.
"""

from collections.abc import Iterator

import grain
import numpy as np

from datasets.sources import Source
from datasets.transforms import TrainingTriplet, centre_crop

ENDLESS = 2**50  # items; grain's own endless repeat cannot be counted any more once it is batched
ROLES = ("first", "middle", "last")  # of the frames of a triplet; the middle one is the target


def as_batch(triplets: np.ndarray) -> dict[str, np.ndarray]:
    """Triplets [B, 3, H, W, 3] as a dict of [B, H, W, 3] by role."""
    return {role: triplets[:, i] for i, role in enumerate(ROLES)}


def training_batches(
    source: Source, *, crop: int, batch: int, seed: int, start: int = 0, threads: int = 2
) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches of random triplets, beginning with batch number `start`.

    The source is gone through in a new order each time; the last items of one pass and the first of
    the next may share a batch.

    Args:
      source: sequences of frames.
      crop: side of the random squares, in pixels.
      batch: triplets per batch.
      seed: of order, crops and flips.
      start: number of the first batch wanted.
      threads: that prepare batches ahead of need; 0 prepares each one when it is asked for.

    Yields:
      `first`, `middle` and `last`, each uint8 [batch, crop, crop, 3].
    """
    items = grain.MapDataset.source(source).seed(seed).shuffle().repeat(ENDLESS // len(source))
    batches = items.random_map(TrainingTriplet(crop)).batch(batch).map(as_batch)[start:]
    reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(batches.to_iter_dataset(reading))


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
    per_item = -(-limit // min(limit, len(source))) if limit else None
    found = []
    for index in spread(len(source), limit or None):
        frames = source[index]
        found += [centre_crop(frames[t : t + 3], crop, crop) for t in spread(len(frames) - 2, per_item)]
    found = found[: limit or None]
    height, width = (min(triplet.shape[axis] for triplet in found) for axis in (1, 2))
    return np.stack([centre_crop(triplet, height, width) for triplet in found])


def spread(length: int, most: int | None) -> list[int]:
    """At most `most` numbers below `length`, evenly spaced; all of them for None."""
    count = min(length, most or length)
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]
