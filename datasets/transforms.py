"""Training transforms on short sequences of frames, with explicit randomness.

A sequence is uint8 [N, H, W, 3], N frames in the order of time. `TrainingTriplet` strings the
functions together for grain, which hands it a generator that depends on the seed and the position
in the stream alone.
"""

from dataclasses import dataclass

import grain
import numpy as np


def random_triplet(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Three consecutive frames, [3, H, W, 3], from a random place of the sequence."""
    start = rng.integers(len(frames) - 2)
    return frames[start : start + 3]


def random_crop(frames: np.ndarray, crop: int, rng: np.random.Generator) -> np.ndarray:
    """The same random square of `crop` pixels from all frames."""
    top, left = (rng.integers(side - crop + 1) for side in frames.shape[1:3])
    return frames[:, top : top + crop, left : left + crop]


def random_flips(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reversal of time, rows and columns, each with probability 1/2, the same for all frames."""
    for axis, flip in enumerate(rng.random(3) < 0.5):
        frames = np.flip(frames, axis) if flip else frames
    return frames


def centre_crop(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of [N, H, W, 3]; a side that is shorter than asked for stays as it is."""
    top, left = (
        max(side - wanted, 0) // 2 for side, wanted in zip(frames.shape[1:3], (height, width), strict=True)
    )
    return frames[:, top : top + height, left : left + width]


@dataclass(frozen=True)
class TrainingTriplet(grain.transforms.RandomMap):
    """Sequence -> triplet -> crop -> flips, still uint8: [3, crop, crop, 3]."""

    crop: int

    def random_map(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        triplet = random_crop(random_triplet(frames, rng), self.crop, rng)
        return np.ascontiguousarray(random_flips(triplet, rng))
