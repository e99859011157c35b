"""Small stand-ins for real data: windows that move over the photographs of scikit-image."""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from vfijax.media import write_image

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


@functools.cache
def _photograph(number: int, height: int, width: int) -> np.ndarray:
    """A photograph, enlarged if need be to cover this size."""
    picture = Image.fromarray(getattr(skimage.data, PHOTOGRAPHS[number % len(PHOTOGRAPHS)])())
    scale = max(height / picture.height, width / picture.width, 1)
    return np.asarray(picture.resize((round(picture.width * scale), round(picture.height * scale))))


def moving_frames(count: int, height: int, width: int, scene: int = 0, step: int = 2) -> np.ndarray:
    """Frames [count, height, width, 3], uint8, of a scene that moves `step` pixels to the left a frame."""
    photograph = _photograph(scene, height, width + step * (count - 1))
    return np.stack([photograph[:height, step * t : step * t + width] for t in range(count)])


def write_frames(frames: Iterable[np.ndarray], folder: Path, names: list[str]) -> None:
    """Writes frames as pictures into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, name in zip(frames, names, strict=True):
        write_image(folder / name, frame)
