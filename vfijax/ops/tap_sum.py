"""What `adacof` and `dsepconv` have in common: a weighted sum of bilinear samples at free positions.

    out[i, j] = sum over t of  weight[t, i, j] * image(i + row of tap t + offset_y[t, i, j],
                                                       j + column of tap t + offset_x[t, i, j])

The ops say where their taps stand (`origin`) and what the four corners of a position contribute
(`locate`). Contents: the reference, and the XLA implementation with its gradient.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vfijax.ops.bilinear import CORNERS, Position, clamped_index

# Where the taps of output pixel (0, 0) stand in the image before they are moved: (row, column) per tap.
Origin = Sequence[tuple[Any, Any]]
# From row, column, offset_y and offset_x, arrays of one shape, to positions; see `bilinear.locate`.
Locate = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], Position]


def accumulator(*arrays: jax.Array) -> Any:
    """The dtype of all arithmetic: float32, or wider where an array is."""
    return jnp.float64 if any(array.dtype == jnp.float64 for array in arrays) else jnp.float32


# --------------------------------------------------------------------------- reference


def reference(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    origin: Origin,
    locate: Locate,
) -> jax.Array:
    """The sum as the equation has it: all samples at once, gradients by autodiff. Slow, large, clear."""
    batch, height, width, channels = image.shape
    accumulate = accumulator(image, weight, offset_y, offset_x)
    weight, offset_y, offset_x = (f.astype(accumulate) for f in (weight, offset_y, offset_x))
    start = jnp.asarray(origin, jnp.int32)[None, :, :, None, None]
    iota = partial(lax.broadcasted_iota, jnp.int32, weight.shape)
    at = locate(iota(2) + start[:, :, 0], iota(3) + start[:, :, 1], offset_y, offset_x)
    flat = image.reshape(batch, height * width, channels).astype(accumulate)
    sample = sum(
        share[..., None] * flat[iota(0), clamped_index(at.row + dy, at.column + dx, (height, width))]
        for (dy, dx), share in zip(CORNERS, at.shares, strict=True)
    )
    return jnp.einsum("bthw,bthwc->bhwc", weight, sample, precision="highest").astype(image.dtype)


# --------------------------------------------------------------------------- XLA
#
# One tap after the other, so that the samples of a single tap are held at a time. What XLA's CPU code
# does well and badly shapes the backward pass; `docs/performance.md` has the figures.


Indexer = Callable[[jax.Array, jax.Array], jax.Array]


def forward(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    origin: Origin,
    locate: Locate,
) -> jax.Array:
    """The sum, tap by tap."""
    batch, taps, height, width = weight.shape
    accumulate = accumulator(image, weight, offset_y, offset_x)
    flat = image.reshape(-1, image.shape[-1]).astype(accumulate)
    tap = _tap_reader((weight, offset_y, offset_x), origin, locate, accumulate)
    index = _indexer(batch, *image.shape[1:3])

    def add(t: jax.Array, total: jax.Array) -> jax.Array:
        weight, at = tap(t)
        for (dy, dx), share in zip(CORNERS, at.shares, strict=True):
            total = total + (weight * share)[..., None] * _take(flat, index(at.row + dy, at.column + dx))
        return total

    total = jnp.zeros((batch, height, width, image.shape[-1]), accumulate)
    return lax.fori_loop(0, taps, add, total).astype(image.dtype)


def backward(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    cotangent: jax.Array,
    *,
    origin: Origin,
    locate: Locate,
    image_grad: bool = True,
) -> tuple[jax.Array | None, jax.Array, jax.Array, jax.Array]:
    """The exact gradients; corners are computed again, nothing but the inputs is kept.

    With s_nw ... s_se the products of the cotangent with the four corners, summed over channels, the
    gradients of weight and offsets are bilinear in them (`docs/maths.md`). Bands of rows are small
    enough for a cache to hold what one tap needs: with many channels that halves the time.
    """
    batch, taps, height, width = weight.shape
    channels = image.shape[-1]
    accumulate = accumulator(image, weight, offset_y, offset_x)
    flat = image.reshape(-1, channels).astype(accumulate)
    index = _indexer(batch, *image.shape[1:3])
    one = 1 - jnp.signbit(jnp.abs(weight[0, 0, 0, 0])).astype(accumulate)  # see _corner_products

    def band(d_image: Any, part: Any) -> tuple[Any, Any]:
        row, fields, cotangent = part
        tap = _tap_reader(fields, [(y + row, x) for y, x in origin], locate, accumulate)

        def add(t: jax.Array, grads: Any) -> Any:
            d_image, d_fields = grads
            weight, at = tap(t)
            nw, ne, sw, se = _corner_products(flat, index, at, cotangent, one)
            d_tap = (
                at.gy * (at.gx * nw + at.fx * ne) + at.fy * (at.gx * sw + at.fx * se),
                weight * (at.gx * (sw - nw) + at.fx * (se - ne)),
                weight * (at.gy * (ne - nw) + at.fy * (se - sw)),
            )
            if image_grad:
                d_image = list(d_image)
                for (dy, dx), share in zip(CORNERS, at.shares, strict=True):
                    update = (weight * share)[..., None] * cotangent
                    d_image[dy] = _add_at(d_image[dy], index(at.row + dy, at.column + dx), update)
                d_image = tuple(d_image)
            d_fields = tuple(
                lax.dynamic_update_slice(d, new.astype(d.dtype)[:, None], (0, t, 0, 0))
                for d, new in zip(d_fields, d_tap, strict=True)
            )
            return d_image, d_fields

        return lax.fori_loop(0, taps, add, (d_image, tuple(map(jnp.zeros_like, fields))))

    rows = min(height, max(1, BAND_SIZE // (batch * width * channels)))
    starts = jnp.arange(0, height, rows, dtype=jnp.int32)
    fields = tuple(in_bands(field, 2, rows) for field in (weight, offset_y, offset_x))
    # The upper and the lower corners are summed up apart: XLA runs the two chains side by side.
    sums = (jnp.zeros_like(flat),) * 2 if image_grad else ()
    sums, d_fields = lax.scan(band, sums, (starts, fields, in_bands(cotangent.astype(accumulate), 1, rows)))
    d_image = jnp.add(*sums).reshape(image.shape).astype(image.dtype) if image_grad else None
    d_weight, d_offset_y, d_offset_x = (whole(field, 2, height) for field in d_fields)
    return d_image, d_weight, d_offset_y, d_offset_x


# Numbers in a band of an array: 2 MB, so that what is read several times stays in a cache.
BAND_SIZE = 2**19


def in_bands(array: jax.Array, axis: int, rows: int) -> jax.Array:
    """Splits the rows, which lie along `axis`, into bands along a new first axis; zeros fill up."""
    missing = -array.shape[axis] % rows
    array = jnp.pad(array, [(0, missing if a == axis else 0) for a in range(array.ndim)])
    split_shape = (*array.shape[:axis], -1, rows, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(split_shape), axis, 0)


def whole(bands: jax.Array, axis: int, height: int) -> jax.Array:
    """Undoes `in_bands`."""
    array = jnp.moveaxis(bands, 0, axis)
    array = array.reshape(*array.shape[:axis], -1, *array.shape[axis + 2 :])
    return lax.slice_in_dim(array, 0, height, axis=axis)


def _corner_products(
    flat: jax.Array, index: Indexer, at: Position, cotangent: jax.Array, one: jax.Array
) -> tuple[jax.Array, ...]:
    """The products of the cotangent with each corner's pixel, summed over channels: four [B, H, W].

    A sum over the last axis is several times slower in XLA's CPU code than these two forms.
    """
    channels = flat.shape[-1]
    if channels > 4:
        ones = jnp.ones((channels,), flat.dtype)
        pixels = (_take(flat, index(at.row + dy, at.column + dx)) for dy, dx in CORNERS)
        return tuple(jnp.dot(cotangent * pixel, ones, precision="highest") for pixel in pixels)
    corner = lax.broadcasted_iota(jnp.int32, (*at.row.shape, 4), 3)
    first = index(at.row[..., None] + corner // 2, at.column[..., None] + corner % 2) * channels
    values = flat.reshape(-1)
    products = sum(cotangent[..., c, None] * _take(values, first + c) for c in range(channels))
    # Each of the three gradients needs the products, and XLA would gather them for each again, but for
    # a division, here by a number it does not know: those it computes once.
    products = products / one
    return tuple(products[..., k] for k in range(4))


def _indexer(batch: int, height: int, width: int) -> Indexer:
    """A function from rows and columns, [B, H, W, ...], to clamped indices into the flattened batch."""

    def index(row: jax.Array, column: jax.Array) -> jax.Array:
        first = lax.broadcasted_iota(jnp.int32, (batch,) + (1,) * (row.ndim - 1), 0) * (height * width)
        return first + clamped_index(row, column, (height, width))

    return index


def _tap_reader(
    fields: tuple[jax.Array, ...], origin: Origin, locate: Locate, dtype: Any
) -> Callable[[jax.Array], tuple[jax.Array, Position]]:
    """A function from tap number to its weight and its positions in the image, [B, H, W]."""
    batch, _, height, width = fields[0].shape
    rows, columns = (jnp.asarray(o, jnp.int32) for o in zip(*origin, strict=True))
    iota = partial(lax.broadcasted_iota, jnp.int32, (batch, height, width))

    def read(t: jax.Array) -> tuple[jax.Array, Position]:
        weight, offset_y, offset_x = (lax.dynamic_index_in_dim(f, t, 1, False).astype(dtype) for f in fields)
        return weight, locate(iota(1) + rows[t], iota(2) + columns[t], offset_y, offset_x)

    return read


# The corners are clamped into the image.


def _take(flat: jax.Array, index: jax.Array) -> jax.Array:
    return flat.at[index].get(mode="promise_in_bounds")


def _add_at(flat: jax.Array, index: jax.Array, update: jax.Array) -> jax.Array:
    return flat.at[index].add(update, mode="promise_in_bounds")
