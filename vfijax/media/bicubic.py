"""Bicubic resizing as the field measures it: the convention of MATLAB's `imresize`.

Cubic kernel with a = -1/2, stretched by the factor when an image is made smaller (anti-aliasing),
symmetric border, weights normalised to one; rows and columns in turn.
"""

import functools

import numpy as np


def reduce_bicubic(image: np.ndarray, factor: int) -> np.ndarray:
    """An image uint8 [H, W, C] at 1/factor of its size, rounded to 8 bits.

    Raises:
      ValueError: H or W is no multiple of the factor (published sets are cropped to one first).
    """
    height, width = image.shape[:2]
    if height % factor or width % factor:
        raise ValueError(f"image is {width}x{height}; crop it to multiples of {factor} first")
    small = resize_bicubic(image, (height // factor, width // factor))
    return np.clip(np.floor(small + 0.5), 0, 255).astype(np.uint8)


def resize_bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [H, W, C] of any numeric dtype at another size (height, width): float32, not clipped."""
    rows, columns = (_matrix(old, new) for old, new in zip(image.shape[:2], size, strict=True))
    return np.einsum("yh,hwc,xw->yxc", rows, image.astype(np.float32), columns, optimize=True)


@functools.cache
def _matrix(old: int, new: int) -> np.ndarray:
    """[new, old]: the share of every old row in every new one."""
    scale = new / old
    stretch = min(scale, 1.0)
    centres = (np.arange(new) + 0.5) / scale - 0.5
    reach = int(np.ceil(4 / stretch)) + 2  # neighbours of a centre, a few with weight zero among them
    first = np.floor(centres - reach / 2).astype(int)
    neighbours = first[:, None] + np.arange(reach + 2)
    weights = stretch * cubic(stretch * (centres[:, None] - neighbours))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = neighbours % (2 * old)
    mirrored = np.where(mirrored < old, mirrored, 2 * old - 1 - mirrored)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new)[:, None], mirrored), weights)
    matrix = matrix.astype(np.float32)
    matrix.flags.writeable = False  # shared by all calls
    return matrix


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2; zero beyond 2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
