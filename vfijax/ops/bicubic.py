"""Bicubic sampling: every output pixel is one sample of the image at a free position.

    out[i, j] = sum over n, m in -1..2 of  k_n(fy) k_m(fx) * image(floor(y) + n, floor(x) + m)

with y = i + offset_y[i, j], x = j + offset_x[i, j], fy and fx their fractions, and the cubic convolution
kernel k of Keys (1981) with a = -3/4; edges are replicated. It is AdaCoF's equation with 4x4 taps on whole
pixels, whose weights follow from the fraction of one position (`docs/flow.md`). Where bilinear sampling
takes detail away, twice when a result is sampled again, this keeps nearly all of it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vfijax.inputs import floats
from vfijax.ops.bilinear import clamped_index
from vfijax.ops.dispatch import check_without_kernel
from vfijax.ops.tap_sum import accumulator

A = -0.75  # slope of the kernel at distance 1: sharper than -1/2, and what OpenCV has
PLACES = (-1, 0, 1, 2)  # of the pixels on one axis, from the floor of the position


def bicubic(
    image: jax.Array, offset_y: jax.Array, offset_x: jax.Array, *, implementation: str = "auto"
) -> jax.Array:
    """Samples `image` once per pixel, offset from it, with a 4x4 cubic kernel.

    Differentiable in all three arrays, exactly. The gradient of the image is left out where nothing asks
    for it.

    Args:
      image: [B, H, W, C] with any C; any value range; float16 to float64. Results overshoot it near edges.
      offset_y, offset_x: [B, H, W], in pixels, rows then columns.
      implementation: "auto", "reference" or "xla"; see `dispatch`.

    Returns:
      [B, H, W, C] in the dtype of `image`, summed up in float32 or wider.

    Raises:
      ValueError: shapes that do not fit each other, an axis of length 0, unknown implementation.
      TypeError: what is no NumPy or JAX array of floating point.
    """
    check_without_kernel("bicubic", implementation)
    image, offset_y, offset_x = floats("bicubic", image=image, offset_y=offset_y, offset_x=offset_x)
    _check(image, offset_y, offset_x)
    if implementation == "reference":
        return _reference(image, offset_y, offset_x)
    return _bicubic(image, offset_y, offset_x)


def _check(image: Any, offset_y: Any, offset_x: Any) -> None:
    if image.ndim != 4:
        raise ValueError(f"bicubic: image has shape {image.shape}; [B, H, W, C] is needed")
    if not offset_y.shape == offset_x.shape == image.shape[:3]:
        raise ValueError(
            f"bicubic: offset_y and offset_x have shapes {offset_y.shape} and {offset_x.shape}; an image "
            f"{image.shape} needs {image.shape[:3]}"
        )


def kernel(fraction: jax.Array) -> tuple[jax.Array, ...]:
    """What the pixels at `PLACES` contribute to a sample that is `fraction` beyond the second; sums to 1."""

    def near(d: jax.Array) -> jax.Array:
        return ((A + 2) * d - (A + 3)) * d * d + 1

    def far(d: jax.Array) -> jax.Array:
        return ((A * d - 5 * A) * d + 8 * A) * d - 4 * A

    return far(1 + fraction), near(fraction), near(1 - fraction), far(2 - fraction)


def kernel_slope(fraction: jax.Array) -> tuple[jax.Array, ...]:
    """The derivative of `kernel`."""

    def near(d: jax.Array) -> jax.Array:
        return (3 * (A + 2) * d - 2 * (A + 3)) * d

    def far(d: jax.Array) -> jax.Array:
        return (3 * A * d - 10 * A) * d + 8 * A

    return far(1 + fraction), near(fraction), -near(1 - fraction), -far(2 - fraction)


def _split(offset_y: jax.Array, offset_x: jax.Array, dtype: Any) -> tuple[jax.Array, ...]:
    """Row and column of the pixel above and left of each position, and the fractions beyond it."""
    iota = partial(lax.broadcasted_iota, jnp.int32, offset_y.shape)
    offset_y, offset_x = offset_y.astype(dtype), offset_x.astype(dtype)
    step_y, step_x = jnp.floor(offset_y), jnp.floor(offset_x)
    row, column = iota(1) + step_y.astype(jnp.int32), iota(2) + step_x.astype(jnp.int32)
    return row, column, offset_y - step_y, offset_x - step_x


def _reference(image: jax.Array, offset_y: jax.Array, offset_x: jax.Array) -> jax.Array:
    """All sixteen pixels at once; gradients by autodiff."""
    dtype = accumulator(image, offset_y, offset_x)
    row, column, fy, fx = _split(offset_y, offset_x, dtype)
    flat, index = _flattened(image, dtype)
    pixels = jnp.stack([jnp.stack([flat[index(row + n, column + m)] for m in PLACES], 3) for n in PLACES], 3)
    rows, columns = (jnp.stack(kernel(f), axis=-1) for f in (fy, fx))
    sums = jnp.einsum("bhwn,bhwm,bhwnmc->bhwc", rows, columns, pixels, precision="highest")
    return sums.astype(image.dtype)


# --------------------------------------------------------------------------- the op and its gradient


@jax.custom_vjp
def _bicubic(image: jax.Array, offset_y: jax.Array, offset_x: jax.Array) -> jax.Array:
    return _xla_forward(image, offset_y, offset_x)


def _forward(image: Any, offset_y: Any, offset_x: Any) -> tuple[jax.Array, Any]:
    arrays = (image.value, offset_y.value, offset_x.value)
    # An empty tuple or None, so that a pytree can carry the flag: the image is often plain data.
    return _bicubic(*arrays), (arrays, () if image.perturbed else None)


def _backward(residuals: Any, cotangent: Any) -> tuple[jax.Array | None, ...]:
    arrays, image_grad = residuals
    if isinstance(cotangent, SymbolicZero):
        return (None,) * 3
    return _xla_backward(*arrays, cotangent, image_grad is not None)


_bicubic.defvjp(_forward, _backward, symbolic_zeros=True)


# --------------------------------------------------------------------------- XLA


@jax.jit
def _xla_forward(image: jax.Array, offset_y: jax.Array, offset_x: jax.Array) -> jax.Array:
    """Row by row of the kernel: one loop without intermediate arrays."""
    dtype = accumulator(image, offset_y, offset_x)
    row, column, fy, fx = _split(offset_y, offset_x, dtype)
    rows, columns = kernel(fy), kernel(fx)
    flat, index = _flattened(image, dtype)
    total = jnp.zeros(image.shape, dtype)
    for n, dy in enumerate(PLACES):
        line = jnp.zeros(image.shape, dtype)
        for m, dx in enumerate(PLACES):
            line = line + columns[m][..., None] * _take(flat, index(row + dy, column + dx))
        total = total + rows[n][..., None] * line
    return total.astype(image.dtype)


@partial(jax.jit, static_argnums=4)
def _xla_backward(
    image: jax.Array, offset_y: jax.Array, offset_x: jax.Array, cotangent: jax.Array, image_grad: bool
) -> tuple[jax.Array | None, ...]:
    """Pixels are read again. With s the products of cotangent and pixel, summed over channels, the
    gradients of the position are their sums with the slope of the kernel on one axis."""
    dtype = accumulator(image, offset_y, offset_x)
    row, column, fy, fx = _split(offset_y, offset_x, dtype)
    rows, columns, row_slopes, column_slopes = kernel(fy), kernel(fx), kernel_slope(fy), kernel_slope(fx)
    flat, index = _flattened(image, dtype)
    cotangent = cotangent.astype(dtype)
    ones = jnp.ones(image.shape[-1:], dtype)
    d_image, d_y, d_x = jnp.zeros_like(flat), jnp.zeros_like(fy), jnp.zeros_like(fx)
    for n, dy in enumerate(PLACES):
        for m, dx in enumerate(PLACES):
            place = index(row + dy, column + dx)
            product = jnp.dot(cotangent * _take(flat, place), ones, precision="highest")
            d_y = d_y + row_slopes[n] * columns[m] * product
            d_x = d_x + rows[n] * column_slopes[m] * product
            if image_grad:
                update = (rows[n] * columns[m])[..., None] * cotangent
                d_image = d_image.at[place].add(update, mode="promise_in_bounds")
    d_positions = d_y.astype(offset_y.dtype), d_x.astype(offset_x.dtype)
    return d_image.reshape(image.shape).astype(image.dtype) if image_grad else None, *d_positions


def _flattened(image: jax.Array, dtype: Any) -> tuple[jax.Array, Any]:
    """All pixels of the batch in a row, and a function from rows and columns to places among them."""
    batch, height, width, channels = image.shape
    first = lax.broadcasted_iota(jnp.int32, (batch, height, width), 0) * (height * width)

    def index(row: jax.Array, column: jax.Array) -> jax.Array:
        return first + clamped_index(row, column, (height, width))

    return image.reshape(-1, channels).astype(dtype), index


def _take(flat: jax.Array, index: jax.Array) -> jax.Array:
    return flat.at[index].get(mode="promise_in_bounds")
