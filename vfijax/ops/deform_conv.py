"""Modulated deformable convolution: a convolution whose taps stand where offsets put them.

    out[o, i, j] = sum over c, t of  kernel[k, l, c, o] * mask[g, t, i, j]
                                     * image(c, i*s - p + k*d + offset_y[g, t, i, j],
                                                j*s - p + l*d + offset_x[g, t, i, j])

with the tap t = k*K + l, the stride s, the padding p, the dilation d, and the deformable group g = g(c) of
the channel: C/G channels in a row share offsets and mask (Deformable ConvNets v2, eq. 1;
`docs/maths.md`). `image(c, y, x)` is the bilinear sample, where every pixel outside the image is zero.

Contents: the public op with its gradient, the reference, and the XLA implementation.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vfijax.inputs import floats, whole_number
from vfijax.ops.bilinear import CORNERS, locate
from vfijax.ops.dispatch import check_without_kernel
from vfijax.ops.tap_sum import BAND_SIZE, accumulator, in_bands, whole


class Geometry(NamedTuple):
    """Where the taps stand before they are moved."""

    size: int  # K
    stride: int
    padding: int
    dilation: int

    def out(self, length: int) -> int:
        """Rows (or columns) of the result for so many of the image."""
        return (length + 2 * self.padding - self.dilation * (self.size - 1) - 1) // self.stride + 1


def deform_conv(
    image: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    mask: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
    implementation: str = "auto",
) -> jax.Array:
    """Convolves `image` with `kernel`, every tap moved by an offset and weighted by a mask.

    Differentiable in all five arrays, exactly (except at the kinks of bilinear sampling). The
    gradient of the image is left out where nothing asks for it.

    Args:
      image: [B, H, W, C], zero outside. Any value range; float16 to float64.
      offset_y, offset_x, mask: [B, G*K*K, H', W'], group-major, then tap-major; offsets in pixels, finite.
        The number of deformable groups G follows from the shape and divides C.
      kernel: [K, K, C, O], over all channels whatever G is.
      stride, padding, dilation: of the taps before they are moved, as in an ordinary convolution.
      implementation: "auto", "reference" or "xla"; "auto" is "xla" on every device.

    Returns:
      [B, H', W', O] in the dtype of `image`, summed up in float32 or wider, without a bias, where
      H' = (H + 2*padding - dilation*(K-1) - 1) // stride + 1 and W' likewise.

    Raises:
      ValueError: shapes that do not fit each other, an axis of length 0, numbers out of range, unknown
        implementation.
      TypeError: what is no NumPy or JAX array of floating point; stride, padding or dilation that is no
        whole number.
    """
    check_without_kernel("deform_conv", implementation)
    arrays = {"image": image, "offset_y": offset_y, "offset_x": offset_x, "mask": mask, "kernel": kernel}
    image, offset_y, offset_x, mask, kernel = floats("deform_conv", axes=4, **arrays)
    numbers = {"stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
    geometry = Geometry(
        kernel.shape[0], *(whole_number("deform_conv", name, *number) for name, number in numbers.items())
    )
    _check(image, offset_y, offset_x, mask, kernel, geometry)
    function = reference if implementation == "reference" else _deform_conv
    return function(image, offset_y, offset_x, mask, kernel, geometry)


def _check(image: Any, offset_y: Any, offset_x: Any, mask: Any, kernel: Any, geometry: Geometry) -> None:
    if not offset_y.shape == offset_x.shape == mask.shape:
        shapes = (offset_y.shape, offset_x.shape, mask.shape)
        raise ValueError(f"deform_conv: offset_y, offset_x and mask have shapes {shapes}; they must be equal")
    batch, height, width, channels = image.shape
    size = geometry.size
    if kernel.shape[:3] != (size, size, channels):
        raise ValueError(
            f"deform_conv: kernel is {kernel.shape}; "
            f"an image of {channels} channels needs [K, K, {channels}, O]"
        )
    fields_taps = mask.shape[1]
    if fields_taps % size**2 or channels % (fields_taps // size**2):
        raise ValueError(
            f"deform_conv: {fields_taps} taps are not G*K*K with K={size} and a number of groups G that "
            f"divides {channels} channels; offsets and mask must be [B, G*K*K, H', W'], group-major"
        )
    expected = (batch, fields_taps, geometry.out(height), geometry.out(width))
    if min(expected[2:]) < 1:
        raise ValueError(
            f"deform_conv: an image of {height}x{width} leaves no room for {size}x{size} taps with "
            f"padding={geometry.padding}, dilation={geometry.dilation}; pad more"
        )
    if mask.shape != expected:
        raise ValueError(
            f"deform_conv: offsets and mask are {mask.shape} but an image of {image.shape} with K={size}, "
            f"stride={geometry.stride}, padding={geometry.padding}, dilation={geometry.dilation} "
            f"needs {expected}"
        )


# --------------------------------------------------------------------------- reference


def reference(
    image: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    mask: jax.Array,
    kernel: jax.Array,
    geometry: Geometry,
) -> jax.Array:
    """The op as the equation has it: all samples at once, gradients by autodiff. Slow, large, clear."""
    batch, height, width, channels = image.shape
    accumulate = accumulator(image, offset_y, offset_x, mask, kernel)
    taps = geometry.size**2
    split = (batch, -1, taps, *mask.shape[2:])
    offset_y, offset_x, mask = (f.astype(accumulate).reshape(split) for f in (offset_y, offset_x, mask))
    groups = mask.shape[1]
    grouped = image.astype(accumulate).reshape(batch, height, width, groups, channels // groups)
    b, g, t, i, j = (lax.broadcasted_iota(jnp.int32, mask.shape, axis) for axis in range(5))
    row = i * geometry.stride - geometry.padding + t // geometry.size * geometry.dilation
    column = j * geometry.stride - geometry.padding + t % geometry.size * geometry.dilation
    at = locate(row, column, offset_y, offset_x, "floor")

    def pixel(y: jax.Array, x: jax.Array) -> jax.Array:
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        value = grouped[b, jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1), g]
        return jnp.where(inside[..., None], value, 0)

    sample = sum(
        share[..., None] * pixel(at.row + dy, at.column + dx)
        for (dy, dx), share in zip(CORNERS, at.shares, strict=True)
    )
    weights = kernel.astype(accumulate).reshape(taps, groups, channels // groups, -1)
    out = jnp.einsum("bgthw,bgthwc,tgco->bhwo", mask, sample, weights, precision="highest")
    return out.astype(image.dtype)


# --------------------------------------------------------------------------- the op and its gradient


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _deform_conv(
    image: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    mask: jax.Array,
    kernel: jax.Array,
    geometry: Geometry,
) -> jax.Array:
    return _xla_forward(image, offset_y, offset_x, mask, kernel, geometry)


def _deform_conv_forward(
    image: Any, offset_y: Any, offset_x: Any, mask: Any, kernel: Any, geometry: Geometry
) -> tuple[jax.Array, Any]:
    arrays = (image.value, offset_y.value, offset_x.value, mask.value, kernel.value)
    # An empty tuple or None, so that a pytree can carry the flag: the image may be plain data.
    image_grad = () if image.perturbed else None
    return _deform_conv(*arrays, geometry), (arrays, image_grad)


def _deform_conv_backward(geometry: Geometry, residuals: Any, cotangent: Any) -> tuple[jax.Array | None, ...]:
    arrays, image_grad = residuals
    if isinstance(cotangent, SymbolicZero):
        return (None,) * 5
    image, offset_y, offset_x, mask, kernel = arrays
    wanted = image_grad is not None
    return _xla_backward(image, offset_y, offset_x, mask, kernel, cotangent, geometry, image_grad=wanted)


_deform_conv.defvjp(_deform_conv_forward, _deform_conv_backward, symbolic_zeros=True)


# --------------------------------------------------------------------------- XLA
#
# One band of rows after the other: the samples of all taps, [pixels, G*K*K, C/G], then one matrix product
# with the kernel, so that the samples of a single band are held at a time. The image gets a ring of two zero
# pixels, and positions are clamped into it: all four neighbours of a clamped one are zeros.

RING = 2


class Taps(NamedTuple):
    """Where the samples of a band fall and what they count, each [B, rows, W', G*K*K]."""

    start: jax.Array  # index of the upper left pixel in the image of `_flatten`
    mask: jax.Array
    fy: jax.Array
    fx: jax.Array

    @property
    def shares(self) -> tuple[jax.Array, ...]:
        """What each of `CORNERS` contributes, times the mask."""
        upper, lower = self.mask * (1 - self.fy), self.mask * self.fy
        return upper * (1 - self.fx), upper * self.fx, lower * (1 - self.fx), lower * self.fx


@partial(jax.jit, static_argnums=5)
def _xla_forward(
    image: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    mask: jax.Array,
    kernel: jax.Array,
    geometry: Geometry,
) -> jax.Array:
    accumulate = accumulator(image, offset_y, offset_x, mask, kernel)
    groups = mask.shape[1] // geometry.size**2
    flat, steps = _flatten(image, groups, accumulate)
    matrix = _group_major(kernel.astype(accumulate), groups)

    def band(part: Any) -> jax.Array:
        row, fields = part
        taps = _locate(fields, row, image, geometry, accumulate)
        sample = _sample(taps.shares, [_take(flat, taps.start + step) for step in steps])
        out = lax.platform_dependent(sample, matrix, cpu=_as_convolution, default=_as_product)
        return out.reshape(*taps.mask.shape[:3], -1)

    out = lax.map(band, _bands(image, (offset_y, offset_x, mask), geometry, accumulate))
    return whole(out, 1, mask.shape[2]).astype(image.dtype)


def _as_convolution(sample: jax.Array, matrix: jax.Array) -> jax.Array:
    """[..., N, C/G] with [N, C/G, O] to [pixels, O].

    A window as wide as all taps: XLA's CPU code then makes the samples in one loop, from offset to sum; in
    front of a matrix product it does not, which takes half as long again.
    """
    sample = sample.reshape(-1, *matrix.shape[:2])
    layout = ("NWC", "WIO", "NWC")
    out = lax.conv_general_dilated(
        sample, matrix, (1,), "VALID", dimension_numbers=layout, precision="highest"
    )
    return out[:, 0]


def _as_product(sample: jax.Array, matrix: jax.Array) -> jax.Array:
    """The same as a matrix product."""
    features = matrix.shape[-1]
    return jnp.dot(
        sample.reshape(-1, matrix.size // features), matrix.reshape(-1, features), precision="highest"
    )


@partial(jax.jit, static_argnums=6, static_argnames="image_grad")
def _xla_backward(
    image: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    mask: jax.Array,
    kernel: jax.Array,
    cotangent: jax.Array,
    geometry: Geometry,
    *,
    image_grad: bool = True,
) -> tuple[jax.Array | None, ...]:
    """The exact gradients; samples are computed again, nothing but the inputs is kept.

    With s_nw ... s_se the products of the gradient of the samples with the four neighbours, summed over
    the channels of a group, the gradients of mask and offsets are bilinear in them (`docs/maths.md`).
    """
    accumulate = accumulator(image, offset_y, offset_x, mask, kernel)
    groups = mask.shape[1] // geometry.size**2
    flat, steps = _flatten(image, groups, accumulate)
    matrix = _group_major(kernel.astype(accumulate), groups)
    turned = matrix.reshape(-1, matrix.shape[-1]).T
    # What several consumers need XLA would compute for each of them, but not what ends in a division, here
    # by a number it does not know.
    one = 1 - jnp.signbit(jnp.abs(cotangent.reshape(-1)[0])).astype(accumulate)
    dot = partial(jnp.dot, precision="highest")

    def band(sums: Any, part: Any) -> tuple[Any, Any]:
        halves, d_matrix = sums
        row, fields, cotangent = part
        taps = _locate(fields, row, image, geometry, accumulate)
        pixels = [_take(flat, taps.start + step) for step in steps]
        shares = [share / one for share in taps.shares]
        sample = _sample(shares, pixels)
        cotangent = cotangent.reshape(-1, cotangent.shape[-1])
        d_matrix = d_matrix + dot(cotangent.T, sample.reshape(len(cotangent), -1))
        d_sample = dot(cotangent, turned).reshape(sample.shape)
        nw, ne, sw, se = (_inner(d_sample, pixel, one) for pixel in pixels)
        gy, gx = 1 - taps.fy, 1 - taps.fx
        d_fields = (
            taps.mask * (gx * (sw - nw) + taps.fx * (se - ne)),
            taps.mask * (gy * (ne - nw) + taps.fy * (se - sw)),
            gy * (gx * nw + taps.fx * ne) + taps.fy * (gx * sw + taps.fx * se),
        )
        if image_grad:
            halves = list(halves)
            for k, (share, step) in enumerate(zip(shares, steps, strict=True)):
                halves[k // 2] = _add_at(halves[k // 2], taps.start + step, share[..., None] * d_sample)
            halves = tuple(halves)
        return (halves, d_matrix), d_fields

    # The upper and the lower neighbours are summed up apart: XLA runs the two chains side by side.
    sums = ((jnp.zeros_like(flat),) * 2 if image_grad else (), jnp.zeros_like(turned))
    fields = (offset_y, offset_x, mask)
    parts = _bands(image, fields, geometry, accumulate, cotangent.astype(accumulate))
    (halves, d_matrix), d_fields = lax.scan(band, sums, parts)
    d_image = _unflatten(jnp.add(*halves), image) if image_grad else None
    d_kernel = _tap_major(d_matrix.T, kernel.shape, groups).astype(kernel.dtype)
    d_offset_y, d_offset_x, d_mask = (
        jnp.moveaxis(whole(d, 1, field.shape[2]), -1, 1).astype(field.dtype)
        for d, field in zip(d_fields, fields, strict=True)
    )
    return d_image, d_offset_y, d_offset_x, d_mask, d_kernel


def _bands(
    image: jax.Array, fields: Sequence[jax.Array], geometry: Geometry, dtype: Any, *others: jax.Array
) -> Any:
    """First rows, [bands]; the fields, [bands, B, rows, W', G*K*K]; and others, from [B, H', W', ...]."""
    batch, _, height, width = fields[0].shape
    row_size = batch * width * image.shape[3] * geometry.size**2
    rows = min(height, max(1, BAND_SIZE // row_size))
    fields = tuple(in_bands(jnp.moveaxis(field.astype(dtype), 1, -1), 1, rows) for field in fields)
    starts = jnp.arange(0, height, rows, dtype=jnp.int32)
    return starts, fields, *(in_bands(other, 1, rows) for other in others)


def _locate(
    fields: Sequence[jax.Array], first: jax.Array, image: jax.Array, geometry: Geometry, dtype: Any
) -> Taps:
    """The taps of a band whose first row is `first`."""
    offset_y, offset_x, mask = fields
    size, stride, padding, dilation = geometry
    height, width = image.shape[1:3]
    groups = mask.shape[3] // size**2
    b, i, j, tap = (lax.broadcasted_iota(jnp.int32, mask.shape, axis) for axis in range(4))
    t = tap % size**2
    row = (first + i) * stride - padding + t // size * dilation
    column = j * stride - padding + t % size * dilation
    at = locate(row, column, offset_y, offset_x, "floor")
    row = jnp.clip(at.row, -RING, height) + RING
    column = jnp.clip(at.column, -RING, width) + RING
    pixel = (b * (height + 2 * RING) + row) * (width + 2 * RING) + column
    return Taps(pixel * groups + tap // size**2, mask, at.fy, at.fx)


def _sample(shares: Sequence[jax.Array], pixels: Sequence[jax.Array]) -> jax.Array:
    """The bilinear samples times the mask, [B, rows, W', G*K*K, C/G]."""
    nw, ne, sw, se = (share[..., None] * pixel for share, pixel in zip(shares, pixels, strict=True))
    return nw + ne + sw + se


def _flatten(image: jax.Array, groups: int, dtype: Any) -> tuple[jax.Array, list[int]]:
    """The image in its ring of zeros, [pixels * G, C/G], and the steps of an index to `CORNERS`."""
    ringed = jnp.pad(image.astype(dtype), [(0, 0), (RING, RING), (RING, RING), (0, 0)])
    steps = [(dy * ringed.shape[2] + dx) * groups for dy, dx in CORNERS]
    return ringed.reshape(-1, image.shape[3] // groups), steps


def _unflatten(flat: jax.Array, image: jax.Array) -> jax.Array:
    """The gradient of an image from that of its `_flatten`."""
    batch, height, width, channels = image.shape
    ringed = flat.reshape(batch, height + 2 * RING, width + 2 * RING, channels)
    return ringed[:, RING:-RING, RING:-RING].astype(image.dtype)


def _group_major(kernel: jax.Array, groups: int) -> jax.Array:
    """[K, K, C, O] to [G*K*K, C/G, O], in the order of the fields."""
    size, _, channels, features = kernel.shape
    split = kernel.reshape(size * size, groups, channels // groups, features)
    return split.swapaxes(0, 1).reshape(-1, channels // groups, features)


def _tap_major(matrix: jax.Array, shape: tuple[int, ...], groups: int) -> jax.Array:
    """Undoes `_group_major`."""
    size, _, channels, features = shape
    return matrix.reshape(groups, size * size, channels // groups, features).swapaxes(0, 1).reshape(shape)


def _inner(a: jax.Array, b: jax.Array, one: jax.Array) -> jax.Array:
    """Products summed over the last axis, in the form that suits XLA's CPU code; `one` is 1."""
    if a.shape[-1] > 16:
        return jnp.dot(a * b, jnp.ones((a.shape[-1],), a.dtype), precision="highest")
    return jnp.asarray(sum(a[..., c] * b[..., c] for c in range(a.shape[-1]))) / one


# The index stays within the ring.


def _take(flat: jax.Array, index: jax.Array) -> jax.Array:
    return flat.at[index].get(mode="promise_in_bounds")


def _add_at(flat: jax.Array, index: jax.Array, update: jax.Array) -> jax.Array:
    return flat.at[index].add(update, mode="promise_in_bounds")
