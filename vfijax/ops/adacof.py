"""Adaptive collaboration of flows: every output pixel is a weighted sum of F*F free samples.

    out[i, j] = sum over k, l of  weight[t, i, j] * image(i + k*d - p + offset_y[t, i, j],
                                                          j + l*d - p + offset_x[t, i, j])

with the tap t = k*F + l, the dilation d, and p = (F - 1)*d // 2, which centres the taps on the pixel
(AdaCoF, eq. 3; CDFI, eq. 1; `docs/maths.md`). `image(y, x)` is the bilinear sample, edges replicated.

Contents: the public op with its gradient, the reference, and the XLA implementation.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vfijax.ops.bilinear import CORNERS, ROUNDINGS, Position, Rounding, clamped_index, locate
from vfijax.ops.dispatch import check_implementation, run


class Taps(NamedTuple):
    """The per-pixel fields of the op, each [B, T, H, W]: tap weights and offsets in pixels."""

    weight: jax.Array
    offset_y: jax.Array
    offset_x: jax.Array


def adacof(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    dilation: int = 1,
    rounding: Rounding = "floor",
    implementation: str = "auto",
) -> jax.Array:
    """Samples every output pixel from F*F free positions of `image` and sums them up.

    Differentiable in all four arrays, exactly (except at the kinks of bilinear sampling). The
    gradient of the image is left out where nothing asks for it.

    Args:
      image: [B, H, W, C] with any C, whose edges are replicated; or already padded,
        [B, H + (F-1)*dilation, W + (F-1)*dilation, C]. Any value range; float16 to float64.
      weight, offset_y, offset_x: [B, F*F, H, W], tap-major; offsets in pixels, rows then columns
        (W, alpha and beta in the papers).
      dilation: distance of neighbouring taps, in pixels.
      rounding: "floor" for bilinear interpolation, "trunc" as the published kernels do (see
        `bilinear.split`).
      implementation: "auto", "reference", "xla" or "pallas"; see `dispatch`.

    Returns:
      [B, H, W, C] in the dtype of `image`, summed up in float32 or wider.

    Raises:
      ValueError: shapes that do not fit each other, unknown rounding or implementation.
      TypeError: arrays that are not floating point.
    """
    check_implementation(implementation)
    image, weight, offset_y, offset_x = map(jnp.asarray, (image, weight, offset_y, offset_x))
    _check(image, weight, offset_y, offset_x, dilation, rounding)
    if implementation == "reference":
        return reference(image, weight, offset_y, offset_x, dilation=dilation, rounding=rounding)
    return _adacof(image, weight, offset_y, offset_x, dilation, rounding, implementation)


def _check(image: Any, weight: Any, offset_y: Any, offset_x: Any, dilation: int, rounding: str) -> None:
    named = {"image": image, "weight": weight, "offset_y": offset_y, "offset_x": offset_x}
    for name, array in named.items():
        if array.ndim != 4:
            raise ValueError(f"adacof: {name} has shape {array.shape}; four axes are needed")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"adacof: {name} is {array.dtype}; a floating dtype is needed")
    if not weight.shape == offset_y.shape == offset_x.shape:
        shapes = (weight.shape, offset_y.shape, offset_x.shape)
        raise ValueError(f"adacof: weight, offset_y and offset_x have shapes {shapes}; they must be equal")
    if rounding not in ROUNDINGS:
        raise ValueError(f"adacof: rounding is {rounding!r}; give one of {', '.join(ROUNDINGS)}")
    if dilation < 1:
        raise ValueError(f"adacof: dilation is {dilation}; it must be at least 1")
    batch, taps, height, width = weight.shape
    size = math.isqrt(taps)
    if size * size != taps:
        raise ValueError(f"adacof: {taps} taps are no square; the fields must be [B, F*F, H, W], tap-major")
    apron = (size - 1) * dilation
    padded = (height + apron, width + apron)
    if image.shape[0] != batch or image.shape[1:3] not in ((height, width), padded):
        raise ValueError(
            f"adacof: image is {image.shape} but {size}x{size} taps with dilation={dilation} over fields of "
            f"{batch}x{height}x{width} need [{batch}, {height}, {width}, C], or padded "
            f"[{batch}, {padded[0]}, {padded[1]}, C]"
        )


def tap_origin(image: jax.Array, weight: jax.Array, dilation: int) -> list[tuple[int, int]]:
    """Where the taps of output pixel (0, 0) start in `image`: (row, column) per tap.

    The shift by p = (F - 1)*d // 2 centres the taps; in a padded image the padding is that shift.
    """
    size = math.isqrt(weight.shape[1])
    padded = size > 1 and image.shape[1:3] != weight.shape[2:]
    shift = 0 if padded else (size - 1) * dilation // 2
    return [(k * dilation - shift, l * dilation - shift) for k in range(size) for l in range(size)]


def _accumulator(*arrays: jax.Array) -> Any:
    """The dtype of all arithmetic: float32, or wider where an array is."""
    return jnp.float64 if any(array.dtype == jnp.float64 for array in arrays) else jnp.float32


# --------------------------------------------------------------------------- reference


def reference(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    dilation: int,
    rounding: Rounding,
) -> jax.Array:
    """The op as the equation has it: all samples at once, gradients by autodiff. Slow, large, clear."""
    batch, height, width, channels = image.shape
    accumulate = _accumulator(image, weight, offset_y, offset_x)
    weight, offset_y, offset_x = (f.astype(accumulate) for f in (weight, offset_y, offset_x))
    origin = jnp.asarray(tap_origin(image, weight, dilation), jnp.int32)[None, :, :, None, None]
    iota = partial(lax.broadcasted_iota, jnp.int32, weight.shape)
    row, column = iota(2) + origin[:, :, 0], iota(3) + origin[:, :, 1]
    at = locate(row, column, offset_y, offset_x, rounding)
    flat = image.reshape(batch, height * width, channels).astype(accumulate)
    sample = sum(
        share[..., None] * flat[iota(0), clamped_index(at.row + dy, at.column + dx, (height, width))]
        for (dy, dx), share in zip(CORNERS, at.shares, strict=True)
    )
    return jnp.einsum("bthw,bthwc->bhwc", weight, sample, precision="highest").astype(image.dtype)


# --------------------------------------------------------------------------- the op and its gradient


def _table(direction: str, **static: Any) -> dict[str, Callable[..., Any]]:
    from pallas_kernels import adacof as kernel

    functions: dict[str, dict[str, Callable[..., Any]]] = {
        "forward": {"xla": _xla_forward, "pallas": kernel.forward},
        "backward": {"xla": _xla_backward, "pallas": kernel.backward},
    }
    return {name: partial(function, **static) for name, function in functions[direction].items()}


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _adacof(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    dilation: int,
    rounding: Rounding,
    implementation: str,
) -> jax.Array:
    table = _table("forward", dilation=dilation, rounding=rounding)
    return run(table, implementation, image, weight, offset_y, offset_x)


def _adacof_forward(
    image: Any,
    weight: Any,
    offset_y: Any,
    offset_x: Any,
    dilation: int,
    rounding: Rounding,
    implementation: str,
) -> tuple[jax.Array, Any]:
    arrays = (image.value, weight.value, offset_y.value, offset_x.value)
    # An empty tuple or None, so that a pytree can carry the flag: the image is often plain data.
    image_grad = () if image.perturbed else None
    return _adacof(*arrays, dilation, rounding, implementation), (arrays, image_grad)


def _adacof_backward(
    dilation: int, rounding: Rounding, implementation: str, residuals: Any, cotangent: Any
) -> tuple[jax.Array | None, ...]:
    arrays, image_grad = residuals
    if isinstance(cotangent, SymbolicZero):
        return (None,) * 4
    table = _table("backward", dilation=dilation, rounding=rounding, image_grad=image_grad is not None)
    return tuple(run(table, implementation, *arrays, cotangent))


_adacof.defvjp(_adacof_forward, _adacof_backward, symbolic_zeros=True)


# --------------------------------------------------------------------------- XLA
#
# One tap after the other, so that the samples of a single tap are held at a time. What XLA's CPU code
# does well and badly shapes the backward pass; `docs/performance.md` has the figures.


Indexer = Callable[[jax.Array, jax.Array], jax.Array]


def _xla_forward(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    dilation: int,
    rounding: Rounding,
) -> jax.Array:
    batch, taps, height, width = weight.shape
    accumulate = _accumulator(image, weight, offset_y, offset_x)
    flat = image.reshape(-1, image.shape[-1]).astype(accumulate)
    origin = tap_origin(image, weight, dilation)
    tap = _tap_reader((weight, offset_y, offset_x), origin, rounding, accumulate)
    index = _indexer(batch, *image.shape[1:3])

    def add(t: jax.Array, total: jax.Array) -> jax.Array:
        weight, at = tap(t)
        for (dy, dx), share in zip(CORNERS, at.shares, strict=True):
            total = total + (weight * share)[..., None] * _take(flat, index(at.row + dy, at.column + dx))
        return total

    total = jnp.zeros((batch, height, width, image.shape[-1]), accumulate)
    return lax.fori_loop(0, taps, add, total).astype(image.dtype)


def _xla_backward(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    cotangent: jax.Array,
    *,
    dilation: int,
    rounding: Rounding,
    image_grad: bool = True,
) -> tuple[jax.Array | None, jax.Array, jax.Array, jax.Array]:
    """The exact gradients; corners are computed again, nothing but the inputs is kept.

    With s_nw ... s_se the products of the cotangent with the four corners, summed over channels, the
    gradients of weight and offsets are bilinear in them (`docs/maths.md`). Bands of rows are small
    enough for a cache to hold what one tap needs: with many channels that halves the time.
    """
    batch, taps, height, width = weight.shape
    channels = image.shape[-1]
    accumulate = _accumulator(image, weight, offset_y, offset_x)
    flat = image.reshape(-1, channels).astype(accumulate)
    origin = tap_origin(image, weight, dilation)
    index = _indexer(batch, *image.shape[1:3])
    one = 1 - jnp.signbit(jnp.abs(weight[0, 0, 0, 0])).astype(accumulate)  # see _corner_products

    def band(d_image: Any, part: Any) -> tuple[Any, Any]:
        row, fields, cotangent = part
        tap = _tap_reader(fields, [(y + row, x) for y, x in origin], rounding, accumulate)

        def add(t: jax.Array, grads: Any) -> Any:
            d_image, d_fields = grads
            weight, at = tap(t)
            nw, ne, sw, se = _corner_products(flat, index, at, cotangent, one)
            gy, gx = 1 - at.fy, 1 - at.fx
            d_tap = (
                gy * (gx * nw + at.fx * ne) + at.fy * (gx * sw + at.fx * se),
                weight * (gx * (sw - nw) + at.fx * (se - ne)),
                weight * (gy * (ne - nw) + at.fy * (se - sw)),
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
    fields = tuple(_bands(field, 2, rows) for field in (weight, offset_y, offset_x))
    # The upper and the lower corners are summed up apart: XLA runs the two chains side by side.
    sums = (jnp.zeros_like(flat),) * 2 if image_grad else ()
    sums, d_fields = lax.scan(band, sums, (starts, fields, _bands(cotangent.astype(accumulate), 1, rows)))
    d_image = jnp.add(*sums).reshape(image.shape).astype(image.dtype) if image_grad else None
    d_weight, d_offset_y, d_offset_x = (_whole(field, 2, height) for field in d_fields)
    return d_image, d_weight, d_offset_y, d_offset_x


# Numbers in a band of the cotangent: 2 MB, so that what one tap needs stays in a cache.
BAND_SIZE = 2**19


def _bands(array: jax.Array, axis: int, rows: int) -> jax.Array:
    """Splits the rows, which lie along `axis`, into bands along a new first axis; zeros fill up."""
    missing = -array.shape[axis] % rows
    array = jnp.pad(array, [(0, missing if a == axis else 0) for a in range(array.ndim)])
    split_shape = (*array.shape[:axis], -1, rows, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(split_shape), axis, 0)


def _whole(bands: jax.Array, axis: int, height: int) -> jax.Array:
    """Undoes `_bands`."""
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
    fields: tuple[jax.Array, ...], origin: list[tuple[Any, Any]], rounding: Rounding, dtype: Any
) -> Callable[[jax.Array], tuple[jax.Array, Position]]:
    """A function from tap number to its weight and its positions in the image, [B, H, W]."""
    batch, _, height, width = fields[0].shape
    rows, columns = (jnp.asarray(o, jnp.int32) for o in zip(*origin, strict=True))
    iota = partial(lax.broadcasted_iota, jnp.int32, (batch, height, width))

    def read(t: jax.Array) -> tuple[jax.Array, Position]:
        weight, offset_y, offset_x = (lax.dynamic_index_in_dim(f, t, 1, False).astype(dtype) for f in fields)
        return weight, locate(iota(1) + rows[t], iota(2) + columns[t], offset_y, offset_x, rounding)

    return read


# The corners are clamped into the image.


def _take(flat: jax.Array, index: jax.Array) -> jax.Array:
    return flat.at[index].get(mode="promise_in_bounds")


def _add_at(flat: jax.Array, index: jax.Array, update: jax.Array) -> jax.Array:
    return flat.at[index].add(update, mode="promise_in_bounds")
