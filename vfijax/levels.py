"""Between the 256 levels of 8-bit frames and floats in [0, 1]: one way up, three roundings down.

NumPy arrays stay in NumPy, everything else is JAX, traced or not.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Array = TypeVar("Array", bound=jax.Array | np.ndarray)


def to_float(frame: Array) -> Array:
    """uint8 [0, 255] or float [0, 1] to float32 [0, 1]."""
    floats: Any = frame.astype(np.float32)
    return floats / 255 if frame.dtype == np.uint8 else floats


def to_uint8(frame: Array) -> Array:
    """Float [0, 1] to uint8 as the published code does (CDFI): clip, times 255, plus a half, floor.

    uint8 stays as it is.
    """
    if frame.dtype == np.uint8:
        return frame
    library: Any = np if isinstance(frame, np.ndarray) else jnp
    return library.floor(library.clip(frame, 0, 1) * 255 + 0.5).astype(library.uint8)


def rounded(frame: jax.Array | np.ndarray) -> np.ndarray:
    """A frame as the nearest 8-bit one, ties to even: what is scored.

    `to_uint8` is the same except for ties. A network meets none, but the average of two 8-bit frames is one
    in every second pixel, and float32 then decides by its last bit; the fourth decimal settles what is a tie.
    """
    levels = np.clip(np.asarray(frame, np.float64), 0, 1) * 255
    return np.rint(np.round(levels, 4)).astype(np.uint8)


def truncated(frame: jax.Array | np.ndarray) -> np.ndarray:
    """A frame clipped, multiplied by 255 in float32, and cut off to 8 bits, as SepConv and EDSC do."""
    return (np.clip(np.asarray(frame, np.float32), 0, 1) * np.float32(255)).astype(np.uint8)
