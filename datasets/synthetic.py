"""Moving, turning, occluding layers with an exact middle frame; needs no download.

A scene is a background and one to three shapes in front of it, all cut from the photographs that
come with scikit-image. Each layer moves with constant velocity, turns and grows about its own
centre. Every frame is drawn from the photographs at its own time (first -1/2, middle 0, last +1/2),
so the middle frame is the true one, to 8 bits, and never made from the other two.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import skimage.data
from PIL import Image

# Only photographs that are inside the scikit-image wheel; those of "val" are never trained on.
PHOTOGRAPHS = {
    "train": (
        "astronaut",
        "brick",
        "chelsea",
        "coins",
        "grass",
        "gravel",
        "hubble_deep_field",
        "immunohistochemistry",
        "moon",
    ),
    "val": ("camera", "coffee", "rocket"),
}
TIMES = (-0.5, 0.0, 0.5)
MASK_SIDE = 128  # a shape is drawn once in a square of this side and then placed


@dataclass(frozen=True)
class Layer:
    """A textured plane and how it moves between the first and the last frame (the interval).

    Attributes:
      texture: square picture in frame pixels; its centre is the layer's centre.
      mask: square picture of the shape, stretched over the texture; None for the background.
      centre: (row, column) of the layer's centre in the middle frame, in pixels.
      velocity: (rows, columns) in pixels per interval.
      angle, spin: radians, and radians per interval.
      log_scale, growth: natural logarithm of the magnification, and its change per interval.
    """

    texture: Image.Image
    mask: Image.Image | None
    centre: tuple[float, float]
    velocity: tuple[float, float]
    angle: float
    spin: float
    log_scale: float
    growth: float

    def placed(self, picture: Image.Image, time: float, size: tuple[int, int]) -> Image.Image:
        """The texture or the mask as it lies in a frame of `size` (width, height)."""
        row, column = (c + v * time for c, v in zip(self.centre, self.velocity, strict=True))
        angle = self.angle + self.spin * time
        shrink = picture.width / self.texture.width / math.exp(self.log_scale + self.growth * time)
        cos, sin, middle = shrink * math.cos(angle), shrink * math.sin(angle), picture.width / 2
        # Pillow wants the map from frame to picture, (x, y) first, pixel centres at a half.
        to_picture = (
            cos,
            sin,
            middle - cos * column - sin * row,
            -sin,
            cos,
            middle + sin * column - cos * row,
        )
        return picture.transform(size, Image.Transform.AFFINE, to_picture, Image.Resampling.BICUBIC)


def draw(layers: list[Layer], size: int, time: float) -> np.ndarray:
    """The frame at one time, uint8 [size, size, 3]; layers from back to front."""
    canvas = Image.new("RGB", (size, size))
    for layer in layers:
        mask = layer.mask and layer.placed(layer.mask, time, canvas.size)
        canvas.paste(layer.placed(layer.texture, time, canvas.size), mask=mask)
    return np.asarray(canvas)


@functools.cache
def photographs(split: str) -> tuple[np.ndarray, ...]:
    """RGB photographs of a split, uint8, each at full and at half size."""
    pictures = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in PHOTOGRAPHS[split]]
    return tuple(np.asarray(p) for picture in pictures for p in (picture, picture.reduce(2)))


def cut(photograph: np.ndarray, side: int, rng: np.random.Generator) -> Image.Image:
    """A square from a random place of a photograph, which is mirrored where it is too small."""

    def places(length: int) -> np.ndarray:
        start = rng.integers(max(length - side, 0) + 1)
        folded = np.arange(start, start + side) % (2 * length)
        return np.minimum(folded, 2 * length - 1 - folded)

    return Image.fromarray(photograph[places(photograph.shape[0])[:, None], places(photograph.shape[1])])


@functools.cache
def _polar() -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(MASK_SIDE, dtype=np.float32) + 0.5) / (MASK_SIDE / 2) - 1
    return np.hypot(axis[:, None], axis), np.arctan2(axis[:, None], axis)


def blob(rng: np.random.Generator) -> Image.Image:
    """A smooth closed shape: a circle whose radius changes with the angle; soft over 2 mask pixels."""
    distance, angle = _polar()
    edge = np.full_like(angle, 0.7)
    for lobes, most in ((2, 0.15), (3, 0.08), (5, 0.04)):
        edge += np.float32(rng.uniform(0, most)) * np.cos(
            lobes * angle + np.float32(rng.uniform(0, 2 * np.pi))
        )
    inside = np.clip((edge - distance) * (MASK_SIDE / 4) + 0.5, 0, 1)
    return Image.fromarray((inside * 255 + 0.5).astype(np.uint8))


def _direction(length: float, rng: np.random.Generator) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * np.pi)
    return length * math.sin(angle), length * math.cos(angle)


def _layer(split: str, size: int, motion: float, front: bool, rng: np.random.Generator) -> Layer:
    pictures = photographs(split)
    # The background must reach past the corners of the frame at every time.
    reach = size * rng.uniform(0.15, 0.45) if front else size / math.sqrt(2) + motion + 4
    side = 2 * math.ceil(reach * (1 if front else math.exp(0.05)))
    return Layer(
        texture=cut(pictures[rng.integers(len(pictures))], side, rng),
        mask=blob(rng) if front else None,
        centre=tuple(rng.uniform(0, size, 2)) if front else (size / 2, size / 2),
        velocity=_direction(motion * rng.uniform(), rng),
        angle=rng.uniform(-np.pi, np.pi),
        spin=rng.uniform(-0.1, 0.1) if front else rng.uniform(-0.02, 0.02),
        log_scale=rng.uniform(0, 0.4),
        growth=rng.uniform(-0.08, 0.08),
    )


def scene(split: str, size: int, motion: float, rng: np.random.Generator) -> list[Layer]:
    """A random background and one to three shapes, back to front."""
    fronts = [False] + [True] * rng.integers(1, 4)
    return [_layer(split, size, motion, front, rng) for front in fronts]


@dataclass(frozen=True)
class SyntheticSource:
    """Random triplets, or longer runs of frames; item i is a function of the fields and of i alone.

    Attributes:
      size: side of the square frames in pixels.
      seed: of all random choices.
      motion: greatest displacement of a layer's centre between first and last frame, in pixels.
      split: "train" or "val"; they share no photograph.
      length: how many items there are; they cost nothing until asked for.
      frames: of an item, evenly spaced from the first to the last.
    """

    size: int
    seed: int = 0
    motion: float = 8.0
    split: str = "train"
    length: int = 1_000_000
    frames: int = len(TIMES)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [frames, size, size, 3]; of three: first, middle and last frame."""
        rng = np.random.default_rng((self.seed, index))
        layers = scene(self.split, self.size, self.motion, rng)
        times = np.linspace(TIMES[0], TIMES[-1], self.frames)
        return np.stack([draw(layers, self.size, time) for time in times])
