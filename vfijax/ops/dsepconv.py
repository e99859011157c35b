"""Deformable separable convolution: the taps of a separable kernel, each moved by an offset and masked.

    out[i, j] = sum over k, l of  vertical[k, i, j] * horizontal[l, i, j] * mask[t, i, j]
                                  * image(i + k - s + offset_y[t, i, j], j + l - s + offset_x[t, i, j])

with the tap t = k*n + l and a shift s of the tap grid (DSepConv, AAAI 2020; EDSC, TPAMI 2021; the
equations in `docs/maths.md`). `image(y, x)` is the bilinear sample of the published kernel: beyond the
border of the padded image, and on its last row or column, an axis counts the border pixel twice.

Here are the public op and its gradient; `tap_sum` has the reference and the XLA implementation.
"""

import math
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from vfijax.inputs import floats
from vfijax.ops import tap_sum
from vfijax.ops.bilinear import Position, locate
from vfijax.ops.dispatch import check_without_kernel

Grid = Literal["reference", "centred"]
GRIDS: tuple[Grid, ...] = ("reference", "centred")


def dsepconv(
    image: jax.Array,
    vertical: jax.Array,
    horizontal: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    mask: jax.Array | None = None,
    *,
    grid: Grid = "reference",
    implementation: str = "auto",
) -> jax.Array:
    """Filters every output pixel with its own separable kernel, whose n*n taps stand at free positions.

    Differentiable in all arrays, exactly (except at the kinks of bilinear sampling). The gradient of the
    image is left out where nothing asks for it. (The published kernel has none.)

    Args:
      image: [B, H, W, C] with any C, whose edges are replicated by n // 2 (odd n only); or already padded,
        [B, H + n - 1, W + n - 1, C]. Any value range; float16 to float64.
      vertical, horizontal: [B, n, H, W], the kernels along rows and columns; not normalised.
      offset_y, offset_x: [B, n*n, H, W], tap-major, in pixels; rows, then columns (the published names
        are "offset x" for the rows, "offset y" for the columns).
      mask: [B, n*n, H, W], a factor per tap; None is 1 everywhere.
      grid: where taps with offset zero stand. "centred" on the output pixel, as the papers have it;
        "reference" for the grid of the published kernel, which trained weights expect: moved by
        (3 - n) / 2 rows and columns, the same for n = 3 only.
      implementation: "auto", "reference" or "xla"; "auto" is "xla" on every device.

    Returns:
      [B, H, W, C] in the dtype of `image`, summed up in float32 or wider.

    Raises:
      ValueError: shapes that do not fit each other, an axis of length 0, unknown grid or implementation.
      TypeError: what is no NumPy or JAX array of floating point.
    """
    check_without_kernel("dsepconv", implementation)
    if grid not in GRIDS:
        raise ValueError(f"dsepconv: grid is {grid!r}; give one of {', '.join(GRIDS)}")
    arrays = {"image": image, "vertical": vertical, "horizontal": horizontal}
    arrays |= {"offset_y": offset_y, "offset_x": offset_x} | ({} if mask is None else {"mask": mask})
    image, vertical, horizontal, offset_y, offset_x, *masks = floats("dsepconv", axes=4, **arrays)
    mask = masks[0] if masks else None
    _check(image, vertical, horizontal, offset_y, offset_x, mask)
    weight = _tap_weight(vertical, horizontal, mask)
    if implementation == "reference":
        return tap_sum.reference(image, weight, offset_y, offset_x, **_rule(image, weight, grid))
    return _weighted(image, weight, offset_y, offset_x, grid)


def _check(image: Any, vertical: Any, horizontal: Any, offset_y: Any, offset_x: Any, mask: Any) -> None:
    fields = {"offset_y": offset_y, "offset_x": offset_x} | ({} if mask is None else {"mask": mask})
    if vertical.shape != horizontal.shape:
        shapes = (vertical.shape, horizontal.shape)
        raise ValueError(f"dsepconv: vertical and horizontal have shapes {shapes}; they must be equal")
    batch, n, height, width = vertical.shape
    for name, array in fields.items():
        if array.shape != (batch, n * n, height, width):
            raise ValueError(
                f"dsepconv: {name} is {array.shape} but kernels of {vertical.shape} need "
                f"[{batch}, {n}*{n}, {height}, {width}], tap-major"
            )
    padded = (height + n - 1, width + n - 1)
    if image.shape[0] != batch or image.shape[1:3] not in ((height, width), padded):
        raise ValueError(
            f"dsepconv: image is {image.shape} but kernels of {n} taps over {batch}x{height}x{width} need "
            f"[{batch}, {height}, {width}, C], or padded [{batch}, {padded[0]}, {padded[1]}, C]"
        )
    if n % 2 == 0 and image.shape[1:3] != padded:
        raise ValueError(
            f"dsepconv: n={n} is even, so that no tap is the centre; pad the image to "
            f"[{batch}, {padded[0]}, {padded[1]}, C] on the sides you want"
        )


# --------------------------------------------------------------------------- the weights of the taps


def _tap_weight(vertical: jax.Array, horizontal: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The weight of every tap, [B, n*n, H, W]: the outer product of the kernels times the mask."""
    dtype = tap_sum.accumulator(vertical, horizontal, *([] if mask is None else [mask]))
    weight = _outer(vertical.astype(dtype), horizontal.astype(dtype))
    return weight if mask is None else weight * mask.astype(dtype)


@jax.custom_vjp
def _outer(vertical: jax.Array, horizontal: jax.Array) -> jax.Array:
    weight = vertical[:, :, None] * horizontal[:, None]
    return weight.reshape(weight.shape[0], -1, *weight.shape[3:])


def _outer_backward(
    kernels: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sums written out: XLA's CPU code takes twenty times as long to reduce along an axis of taps."""
    vertical, horizontal = kernels
    n = vertical.shape[1]
    d_vertical = [sum(cotangent[:, k * n + l] * horizontal[:, l] for l in range(n)) for k in range(n)]
    d_horizontal = [sum(cotangent[:, k * n + l] * vertical[:, k] for k in range(n)) for l in range(n)]
    return jnp.stack(d_vertical, axis=1), jnp.stack(d_horizontal, axis=1)


_outer.defvjp(lambda *kernels: (_outer(*kernels), kernels), _outer_backward)


# --------------------------------------------------------------------------- the rule of the positions


def _rule(image: jax.Array, weight: jax.Array, grid: Grid) -> dict[str, Any]:
    """What `tap_sum` needs to know: where the taps stand, and what corners contribute.

    Rows and columns count from the first of `image`. An image that is not padded is only read as if it
    were: its border, for the rule below, is where that of the padded one would be.
    """
    taps, height, width = weight.shape[1:]
    n = math.isqrt(taps)
    pad = n // 2 if image.shape[1:3] == (height, width) else 0
    shift = (1 - (n - 1) // 2 if grid == "reference" else 0) - pad
    rows = (-pad, height + n - 2 - pad)
    columns = (-pad, width + n - 2 - pad)
    return {
        "origin": [(k + shift, l + shift) for k in range(n) for l in range(n)],
        "locate": partial(_locate, rows=rows, columns=columns),
    }


def _locate(
    row: jax.Array,
    column: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> Position:
    """Bilinear positions between the first and the last of `rows` and `columns`; beyond, both parts are 1.

    There, and on the last one, both neighbours are the border pixel, which so counts twice. As they are
    the same pixel, the offset has no gradient.
    """
    at = locate(row, column, offset_y, offset_x, "floor")
    inside_y = (at.row >= rows[0]) & (at.row < rows[1])
    inside_x = (at.column >= columns[0]) & (at.column < columns[1])
    gy, fy = (jnp.where(inside_y, part, 1) for part in (at.gy, at.fy))
    gx, fx = (jnp.where(inside_x, part, 1) for part in (at.gx, at.fx))
    return at._replace(gy=gy, fy=fy, gx=gx, fx=fx)


# --------------------------------------------------------------------------- the sum and its gradient


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _weighted(
    image: jax.Array, weight: jax.Array, offset_y: jax.Array, offset_x: jax.Array, grid: Grid
) -> jax.Array:
    return _xla_forward(image, weight, offset_y, offset_x, grid)


def _weighted_forward(
    image: Any, weight: Any, offset_y: Any, offset_x: Any, grid: Grid
) -> tuple[jax.Array, Any]:
    arrays = (image.value, weight.value, offset_y.value, offset_x.value)
    # An empty tuple or None, so that a pytree can carry the flag: the image is often plain data.
    return _weighted(*arrays, grid), (arrays, () if image.perturbed else None)


def _weighted_backward(grid: Grid, residuals: Any, cotangent: Any) -> tuple[jax.Array | None, ...]:
    arrays, image_grad = residuals
    if isinstance(cotangent, SymbolicZero):
        return (None,) * 4
    return _xla_backward(*arrays, cotangent, grid, image_grad is not None)


_weighted.defvjp(_weighted_forward, _weighted_backward, symbolic_zeros=True)


@partial(jax.jit, static_argnums=4)
def _xla_forward(
    image: jax.Array, weight: jax.Array, offset_y: jax.Array, offset_x: jax.Array, grid: Grid
) -> jax.Array:
    return tap_sum.forward(image, weight, offset_y, offset_x, **_rule(image, weight, grid))


@partial(jax.jit, static_argnums=(5, 6))
def _xla_backward(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    cotangent: jax.Array,
    grid: Grid,
    image_grad: bool,
) -> tuple[jax.Array | None, ...]:
    rule = _rule(image, weight, grid)
    return tap_sum.backward(image, weight, offset_y, offset_x, cotangent, **rule, image_grad=image_grad)
