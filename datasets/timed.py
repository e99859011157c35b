"""Triplets at random times, with guesses of their motion and, where it is known, the true motion.

See `TimedTriplet`; `datasets.pipeline.sample_batches` makes batches of them.
"""

from dataclasses import dataclass

import cv2
import grain
import numpy as np

from datasets.scenes import LEAST_TIME, Scene
from datasets.transforms import (
    AUGMENTATIONS,
    Augmentation,
    colour_jitter,
    oriented,
    oriented_motion,
    random_steps,
)
from vfijax.media.flow import Search, find_motion

MARGIN = 32  # pixels beyond a crop that its motion is found with


@dataclass(frozen=True)
class TimedTriplet(grain.transforms.RandomMap):
    """A clip, or a scene that can be drawn at any time -> a triplet at a random time, as a dict.

    `first`, `middle`, `last`: uint8 [crop, crop, 3], at times 0, `time` and 1.
    `time`: float32, in (0, 1).
    `motion`: float32 [G, 2, crop, crop], the guesses of `find_motion` from first to last; absent without
    searches.
    `truth`: float32 [2, 2, crop, crop], the exact motion from first to last of the pixels of the first
    frame [0] and of the last one [1], rows and columns, in pixels; NaN where it is not known.

    Attributes:
      crop: side of the square, pixels.
      searches: of the guesses, from `vfijax.media.flow.QUALITIES`.
      augmentation: an entry of `AUGMENTATIONS`.
      reach: the outer frames of a triplet from a clip are 2 to twice this many frames apart.
      margin: pixels around the crop with which the motion is found, where the frames have them.
      reduce: how often frames of a clip are reduced by a random factor, down to a half: that makes
        compressed video sharper.
      jitter: strength of `colour_jitter`, 0 for none.
    """

    crop: int
    searches: tuple[Search, ...] = ()
    augmentation: Augmentation = AUGMENTATIONS["zooming_slowmo"]
    reach: int = 3
    margin: int = MARGIN
    reduce: float = 0.5
    jitter: float = 0.0

    def random_map(self, item: np.ndarray | Scene, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Raises ValueError: a clip of less than 3 frames, or frames smaller than the crop."""
        if isinstance(item, Scene):
            time = rng.uniform(LEAST_TIME, 1 - LEAST_TIME)
            frames, truth = item.triplet(time), item.truth()
        else:
            frames, time = random_triplet(item, self.reach, rng)
            if rng.random() < self.reduce:
                frames = randomly_reduced(frames, self.crop, rng)
            truth = np.full((2, 2, *frames.shape[1:3]), np.nan, np.float32)
        steps = random_steps(self.augmentation, rng)
        frames, truth = oriented(frames, steps), oriented_motion(truth, steps)
        if self.jitter:
            frames = colour_jitter(frames, self.jitter, rng)
        rows, columns = (self._place(side, rng) for side in frames.shape[1:3])
        first, middle, last = np.ascontiguousarray(frames[:, rows, columns])
        sample = {"first": first, "middle": middle, "last": last}
        sample["time"] = np.asarray(1 - time if "reverse" in steps else time, np.float32)
        if self.searches:
            sample["motion"] = self._guesses(frames, rows, columns)
        sample["truth"] = np.ascontiguousarray(truth[..., rows, columns])
        return sample

    def _place(self, side: int, rng: np.random.Generator) -> slice:
        room = side - self.crop
        if room < 0:
            raise ValueError(
                f"frames have {side} pixels on a side, the crop {self.crop}; give a smaller crop"
            )
        start = room // 2 if self.augmentation.crop == "centre" else int(rng.integers(room + 1))
        return slice(start, start + self.crop)

    def _guesses(self, frames: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        top, left = (max(place.start - self.margin, 0) for place in (rows, columns))
        window = frames[:, top : rows.stop + self.margin, left : columns.stop + self.margin]
        first, _, last = np.ascontiguousarray(window)
        motion = find_motion(first, last, self.searches, parallel=False)
        top, left = rows.start - top, columns.start - left
        return np.ascontiguousarray(motion[..., top : top + self.crop, left : left + self.crop])


def random_triplet(frames: np.ndarray, reach: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Three frames of a clip in the order of time, and the time of the middle one between the outer ones.

    Distances of the outer frames, 2 to 2 `reach`, are equally likely, then places, then middle frames.

    Raises:
      ValueError: the clip has less than 3 frames.
    """
    if len(frames) < 3:
        raise ValueError(f"a clip of {len(frames)} frames has no triplet; longer clips are needed")
    length = int(rng.integers(2, min(2 * reach, len(frames) - 1) + 1))
    start, between = int(rng.integers(len(frames) - length)), int(rng.integers(1, length))
    return frames[[start, start + between, start + length]], between / length


def randomly_reduced(frames: np.ndarray, least: int, rng: np.random.Generator) -> np.ndarray:
    """Frames [N, H, W, 3] at a random size, from half of theirs on, whose sides are still `least`."""
    sides = frames.shape[1:3]
    lowest = max(0.5, least / min(sides))
    if lowest >= 1:
        return frames
    factor = rng.uniform(lowest, 1)
    height, width = (max(round(side * factor), least) for side in sides)
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
