"""Where a bilinear sample falls: corner indices and weights, shared by every sampling op.

Corners are named by their row and column: `nw` is the upper left one, `se` the lower right one.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Rounding = Literal["floor", "trunc"]
ROUNDINGS: tuple[Rounding, ...] = ("floor", "trunc")


class Corners(NamedTuple):
    """Four neighbours of a position and the fractions between them, arrays of one shape.

    `nw`, `ne`, `sw`, `se` are indices into the flattened rows x columns; `fy`, `fx` say how far the
    position lies below `nw` and to the right of it.
    """

    nw: jax.Array
    ne: jax.Array
    sw: jax.Array
    se: jax.Array
    fy: jax.Array
    fx: jax.Array

    @property
    def indices(self) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        return self.nw, self.ne, self.sw, self.se

    @property
    def weights(self) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """The shares of the corners, in the order of `indices`; their sum is 1."""
        gy, gx = 1 - self.fy, 1 - self.fx
        return gy * gx, gy * self.fx, self.fy * gx, self.fy * self.fx


def split(offset: jax.Array, rounding: Rounding) -> tuple[jax.Array, jax.Array]:
    """An offset as an integer step and the rest.

    "floor" leaves a rest in [0, 1): bilinear interpolation. "trunc" drops the digits after the point,
    as a C cast does: the rest of a negative offset lies in (-1, 0] and the sample is extrapolated.
    The published AdaCoF and CDFI kernels do that, and their weights were trained with it.
    """
    whole = jnp.floor(offset) if rounding == "floor" else jnp.trunc(offset)
    return whole.astype(jnp.int32), offset - whole


def corners(
    row: jax.Array,
    column: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    size: tuple[int, int],
    rounding: Rounding,
) -> Corners:
    """The corners of the position (row + offset_y, column + offset_x) in an image of `size`.

    Every corner is clamped into the image by itself, which replicates the edge pixels; the
    fractions are not changed by clamping.
    """
    height, width = size
    step_y, fy = split(offset_y, rounding)
    step_x, fx = split(offset_x, rounding)
    north = jnp.clip(row + step_y, 0, height - 1) * width
    south = jnp.clip(row + step_y + 1, 0, height - 1) * width
    west = jnp.clip(column + step_x, 0, width - 1)
    east = jnp.clip(column + step_x + 1, 0, width - 1)
    return Corners(north + west, north + east, south + west, south + east, fy, fx)
