"""Training transforms on short sequences of frames, with explicit randomness.

A sequence is uint8 [N, H, W, 3], N frames in the order of time. Every function that chooses takes a
generator; `TrainingTriplet` and `TrainingClip` string them together for grain, which hands them one
that depends on the seed and the position in the stream alone.
"""

from dataclasses import dataclass
from typing import Literal

import grain
import numpy as np

from vfijax.media.bicubic import reduce_bicubic

Turn = Literal["none", "rows", "columns", "left", "right"]
Step = Literal["reverse", "rows", "columns", "transpose"]
# "rows" flips up and down, "columns" left and right; "left" and "right" turn by a quarter.
_TURNS: dict[Turn, tuple[Step, ...]] = {
    "none": (),
    "rows": ("rows",),
    "columns": ("columns",),
    "left": ("columns", "transpose"),
    "right": ("rows", "transpose"),
}


@dataclass(frozen=True)
class Augmentation:
    """How the frames of a training sequence are varied, all in the same way.

    Attributes:
      crop: where the square is cut from.
      flip_rows, flip_columns, transpose, reverse: each happens with probability 1/2; `reverse` is of time.
      one_of: one of these turns happens, all equally likely.
    """

    crop: Literal["random", "centre"] = "random"
    flip_rows: bool = False
    flip_columns: bool = False
    transpose: bool = False
    reverse: bool = False
    one_of: tuple[Turn, ...] = ("none",)


_FLIPS = Augmentation(flip_rows=True, flip_columns=True, reverse=True)

# What each document does. SepConv's own code was never published: it is as the replication tells it.
AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(crop="centre"),
    "adacof": _FLIPS,
    "cdfi": _FLIPS,
    "sepconv": _FLIPS,
    # The report on SepConv in PyTorch: crops and flips, time runs forwards.
    "sepconv_report": Augmentation(flip_rows=True, flip_columns=True),
    # The replication of SepConv, from patches of 150 pixels: as its code has it, and as its text says.
    "sepconv_replication": Augmentation(
        crop="centre", one_of=("left", "rows", "columns", "none"), reverse=True
    ),
    "sepconv_replication_text": Augmentation(
        one_of=("left", "right", "rows", "columns", "none"), reverse=True
    ),
    # Flips and transposition give all eight orientations, the rotations of the paper among them.
    "zooming_slowmo": Augmentation(flip_rows=True, flip_columns=True, transpose=True, reverse=True),
}


def random_run(
    frames: np.ndarray, count: int, rng: np.random.Generator, *, stride: int = 1, every: int = 1
) -> np.ndarray:
    """`count` frames, `stride` apart, from a random place of the sequence that is a multiple of `every`.

    Raises:
      ValueError: the sequence is too short.
    """
    room = len(frames) - (count - 1) * stride
    if room < 1:
        remedy = "give a smaller --data.stride" if stride > 1 else "longer sequences are needed"
        raise ValueError(f"a sequence of {len(frames)} frames has no {count} frames {stride} apart; {remedy}")
    start = every * rng.integers((room - 1) // every + 1)
    return frames[start : start + (count - 1) * stride + 1 : stride]


def random_crop(frames: np.ndarray, crop: int, rng: np.random.Generator) -> np.ndarray:
    """The same random square of `crop` pixels from all frames."""
    top, left = (rng.integers(side - crop + 1) for side in frames.shape[1:3])
    return frames[:, top : top + crop, left : left + crop]


def centre_crop(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of [N, H, W, 3]; a side that is shorter than asked for stays as it is."""
    top, left = (
        max(side - wanted, 0) // 2 for side, wanted in zip(frames.shape[1:3], (height, width), strict=True)
    )
    return frames[:, top : top + height, left : left + width]


def random_orientation(frames: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Turns, flips, transposition and reversal of time, the same for all frames."""
    return oriented(frames, random_steps(how, rng))


def random_steps(how: Augmentation, rng: np.random.Generator) -> tuple[Step, ...]:
    """The steps of a random orientation, in the order in which they are done."""
    turn = _TURNS[how.one_of[rng.integers(len(how.one_of))]]
    chances = rng.random(4) < 0.5
    wanted: dict[Step, bool] = {
        "reverse": how.reverse,
        "rows": how.flip_rows,
        "columns": how.flip_columns,
        "transpose": how.transpose,
    }
    return turn + tuple(step for step, chance in zip(wanted, chances, strict=True) if wanted[step] and chance)


def oriented(frames: np.ndarray, steps: tuple[Step, ...]) -> np.ndarray:
    """Frames [N, H, W, 3] after some steps; a view."""
    for step in steps:
        if step == "transpose":
            frames = frames.transpose(0, 2, 1, 3)
        else:
            frames = np.flip(frames, ("reverse", "rows", "columns").index(step))
    return frames


def oriented_motion(motion: np.ndarray, steps: tuple[Step, ...]) -> np.ndarray:
    """The motion of what is seen, [2, 2, H, W], after the same steps.

    Its axes are: pixels of the first or of the last frame; rows or columns; place. It is what leads from
    first to last, of those frames that are so after the steps.
    """
    for step in steps:
        if step == "reverse":
            motion = -motion[::-1]
        elif step == "transpose":
            motion = motion.swapaxes(2, 3)[:, ::-1]
        else:
            component = ("rows", "columns").index(step)
            motion = np.flip(motion, 2 + component).copy()
            motion[:, component] *= -1
    return motion


def colour_jitter(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and the three colours scaled by 1 +- `strength`, the same for all frames."""
    gain, contrast, *colours = 1 + strength * rng.uniform(-1, 1, 5)
    middle = frames.mean()
    varied = ((frames - middle) * contrast + middle) * gain * np.asarray(colours, np.float32)
    return np.clip(varied + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class TrainingTriplet(grain.transforms.RandomMap):
    """Sequence -> triplet -> orientation -> crop -> colours, still uint8: [3, crop, crop, 3].

    Attributes:
      crop: side of the square, pixels.
      augmentation: an entry of `AUGMENTATIONS`.
      stride: distance of the frames of a triplet; every: distance of the places where one may begin.
      jitter: strength of `colour_jitter`, 0 for none.
    """

    crop: int
    augmentation: Augmentation = _FLIPS
    stride: int = 1
    every: int = 1
    jitter: float = 0.0

    def random_map(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        triplet = random_run(frames, 3, rng, stride=self.stride, every=self.every)
        if self.augmentation.crop == "centre":
            triplet = centre_crop(random_orientation(triplet, self.augmentation, rng), self.crop, self.crop)
        else:
            triplet = random_orientation(random_crop(triplet, self.crop, rng), self.augmentation, rng)
        if self.jitter:
            triplet = colour_jitter(triplet, self.jitter, rng)
        return np.ascontiguousarray(triplet)


@dataclass(frozen=True)
class TrainingClip(grain.transforms.RandomMap):
    """Sequence -> clip for space-time super-resolution (Zooming Slow-Mo and its code).

    Gives `targets`, uint8 [frames, crop, crop, 3], and `inputs`, every second one of them at a fourth
    of the size: [(frames + 1) // 2, crop // 4, crop // 4, 3]. The whole frames are reduced first, as
    the published low-resolution files were, and the squares are cut at corresponding places.

    Attributes:
      crop: side of the squares of `targets`, a multiple of 4.
      frames: of `targets`, an odd number.
      augmentation, stride, every, jitter: as of `TrainingTriplet`.
    """

    crop: int
    frames: int = 7
    augmentation: Augmentation = AUGMENTATIONS["zooming_slowmo"]
    stride: int = 1
    every: int = 1
    jitter: float = 0.0

    def random_map(self, frames: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        clip = random_run(frames, self.frames, rng, stride=self.stride, every=self.every)
        height, width = (side - side % SCALE for side in clip.shape[1:3])
        clip = random_orientation(clip[:, :height, :width], self.augmentation, rng)
        if self.jitter:
            clip = colour_jitter(clip, self.jitter, rng)
        small = reduced(clip[::2])
        side = self.crop // SCALE
        room = [length - side for length in small.shape[1:3]]
        centred = self.augmentation.crop == "centre"
        top, left = (most // 2 if centred else rng.integers(most + 1) for most in room)
        inputs = small[:, top : top + side, left : left + side]
        top, left = SCALE * top, SCALE * left
        targets = clip[:, top : top + self.crop, left : left + self.crop]
        return {"inputs": np.ascontiguousarray(inputs), "targets": np.ascontiguousarray(targets)}


def reduced(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 [N, H, W, 3], sides multiples of 4, at a fourth of the size."""
    return np.stack([reduce_bicubic(frame, SCALE) for frame in frames])


SCALE = 4  # of space-time super-resolution
