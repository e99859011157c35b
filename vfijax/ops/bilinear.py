"""Where a bilinear sample falls and what its four corners contribute, shared by every sampling op.

Corners are named by their row and column: `nw` is the upper left one, `se` the lower right one. Each is
clamped into the image by itself, which replicates the edge pixels; the shares are not changed by that.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

Rounding = Literal["floor", "trunc"]
ROUNDINGS: tuple[Rounding, ...] = ("floor", "trunc")


# The neighbours of a position, as steps down and to the right: nw, ne, sw, se.
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


class Position(NamedTuple):
    """Where samples fall: the upper left one of four pixels, and the parts; arrays of one shape.

    `gy` and `fy` are the parts of the upper and the lower row, `gx` and `fx` of the left and the right
    column: 1 - rest and rest of the position, if the op has no other rule.
    """

    row: jax.Array
    column: jax.Array
    gy: jax.Array
    fy: jax.Array
    gx: jax.Array
    fx: jax.Array

    @property
    def shares(self) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """What each of `CORNERS` contributes to the sample."""
        return self.gy * self.gx, self.gy * self.fx, self.fy * self.gx, self.fy * self.fx


def split(offset: jax.Array, rounding: Rounding) -> tuple[jax.Array, jax.Array]:
    """An offset as an integer step and the rest.

    "floor" leaves a rest in [0, 1): bilinear interpolation. "trunc" drops the digits after the point,
    as a C cast does: the rest of a negative offset lies in (-1, 0] and the sample is extrapolated.
    The published AdaCoF and CDFI kernels do that, and their weights were trained with it.
    """
    whole = jnp.floor(offset) if rounding == "floor" else jnp.trunc(offset)
    return whole.astype(jnp.int32), offset - whole


def locate(
    row: jax.Array, column: jax.Array, offset_y: jax.Array, offset_x: jax.Array, rounding: Rounding
) -> Position:
    """The position (row + offset_y, column + offset_x); the shares of its corners add up to 1."""
    step_y, fy = split(offset_y, rounding)
    step_x, fx = split(offset_x, rounding)
    return Position(row + step_y, column + step_x, 1 - fy, fy, 1 - fx, fx)


def clamped_index(row: Any, column: Any, size: tuple[int, int]) -> jax.Array:
    """The index of a pixel in the flattened rows x columns of an image of `size`, edges replicated."""
    height, width = size
    return jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
