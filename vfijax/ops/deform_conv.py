"""Modulated deformable convolution: a convolution whose taps stand where offsets put them.

    out[o, i, j] = sum over c, t of  kernel[k, l, c, o] * mask[g, t, i, j]
                                     * image(c, i*s - p + k*d + offset_y[g, t, i, j],
                                                j*s - p + l*d + offset_x[g, t, i, j])

with the tap t = k*K + l, the stride s, the padding p, the dilation d, and the deformable group g = g(c) of
the channel: C/G channels in a row share offsets and mask (Deformable ConvNets v2, eq. 1;
`docs/maths.md`). `image(c, y, x)` is the bilinear sample, where every pixel outside the image is zero.

Contents: the public op with its gradient, the reference, and the XLA implementation.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vfijax.ops.bilinear import CORNERS, locate
from vfijax.ops.dispatch import check_without_kernel
from vfijax.ops.tap_sum import accumulator


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
      offset_y, offset_x, mask: [B, G*K*K, H', W'], group-major, then tap-major; offsets in pixels. The
        number of deformable groups G follows from the shape and divides C.
      kernel: [K, K, C, O], over all channels whatever G is.
      stride, padding, dilation: of the taps before they are moved, as in an ordinary convolution.
      implementation: "auto", "reference" or "xla"; "auto" is "xla" on every device.

    Returns:
      [B, H', W', O] in the dtype of `image`, summed up in float32 or wider, without a bias, where
      H' = (H + 2*padding - dilation*(K-1) - 1) // stride + 1 and W' likewise.

    Raises:
      ValueError: shapes that do not fit each other, unknown implementation.
      TypeError: arrays that are not floating point.
    """
    check_without_kernel("deform_conv", implementation)
    arrays = (image, offset_y, offset_x, mask, kernel)
    image, offset_y, offset_x, mask, kernel = map(jnp.asarray, arrays)
    geometry = Geometry(kernel.shape[0] if kernel.ndim else 0, stride, padding, dilation)
    _check(image, offset_y, offset_x, mask, kernel, geometry)
    function = reference if implementation == "reference" else _deform_conv
    return function(image, offset_y, offset_x, mask, kernel, geometry)


def _check(image: Any, offset_y: Any, offset_x: Any, mask: Any, kernel: Any, geometry: Geometry) -> None:
    fields = {"offset_y": offset_y, "offset_x": offset_x, "mask": mask}
    for name, array in {"image": image, **fields, "kernel": kernel}.items():
        if array.ndim != 4:
            raise ValueError(f"deform_conv: {name} has shape {array.shape}; four axes are needed")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"deform_conv: {name} is {array.dtype}; a floating dtype is needed")
    if not offset_y.shape == offset_x.shape == mask.shape:
        shapes = tuple(field.shape for field in fields.values())
        raise ValueError(f"deform_conv: offset_y, offset_x and mask have shapes {shapes}; they must be equal")
    for name, least in {"stride": 1, "padding": 0, "dilation": 1}.items():
        if getattr(geometry, name) < least:
            raise ValueError(f"deform_conv: {name} is {getattr(geometry, name)}; at least {least} is needed")
    batch, height, width, channels = image.shape
    size = geometry.size
    if kernel.shape[:3] != (size, size, channels):
        raise ValueError(
            f"deform_conv: kernel is {kernel.shape}; "
            f"an image of {channels} channels needs [K, K, {channels}, O]"
        )
    fields_taps = mask.shape[1]
    if fields_taps == 0 or fields_taps % size**2 or channels % (fields_taps // size**2):
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
# One tap after the other: its samples of all channels, [pixels, C], then a matrix product with its part of
# the kernel, so that the samples of a single tap are held at a time. The image gets a ring of two zero
# pixels, and positions are clamped into it: all four neighbours of a clamped one are zeros.

RING = 2


class Taps(NamedTuple):
    """Where all samples fall and what they count, each [T, B, H', W', G]."""

    start: jax.Array  # index of the upper left pixel in the image of `_flatten`
    mask: jax.Array
    fy: jax.Array
    fx: jax.Array

    @property
    def shares(self) -> tuple[jax.Array, ...]:
        """What each of `CORNERS` contributes, times the mask."""
        upper, lower = self.mask * (1 - self.fy), self.mask * self.fy
        return upper * (1 - self.fx), upper * self.fx, lower * (1 - self.fx), lower * self.fx


def _xla_forward(
    image: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    mask: jax.Array,
    kernel: jax.Array,
    geometry: Geometry,
) -> jax.Array:
    accumulate = accumulator(image, offset_y, offset_x, mask, kernel)
    taps = _locate(image, offset_y, offset_x, mask, geometry, accumulate)
    flat, steps = _flatten(image, taps, accumulate)

    def add(total: jax.Array, tap: Any) -> tuple[jax.Array, None]:
        start, shares, kernel = tap
        sample = sum(
            share[..., None] * _take(flat, start + step) for share, step in zip(shares, steps, strict=True)
        )
        sample = sample.reshape(*total.shape[:3], -1)
        return total + jnp.dot(sample, kernel, precision="highest"), None

    # The shares are computed beforehand: within the loop XLA would do so again for every channel.
    kernel = kernel.astype(accumulate).reshape(-1, *kernel.shape[2:])
    total = jnp.zeros((*taps.mask.shape[1:4], kernel.shape[-1]), accumulate)
    total, _ = lax.scan(add, total, (taps.start, taps.shares, kernel))
    return total.astype(image.dtype)


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
    taps = _locate(image, offset_y, offset_x, mask, geometry, accumulate)
    flat, steps = _flatten(image, taps, accumulate)
    cotangent = cotangent.astype(accumulate)
    # What several consumers need XLA would compute for each of them, but not what ends in a division, here
    # by a number it does not know.
    one = 1 - jnp.signbit(jnp.abs(cotangent.reshape(-1)[0])).astype(accumulate)
    dot = partial(jnp.dot, precision="highest")

    def add(d_image: Any, part: Any) -> tuple[Any, Any]:
        tap, kernel = part
        pixels = [_take(flat, tap.start + step) for step in steps]
        shares = [share / one for share in tap.shares]
        sample = sum(share[..., None] * pixel for share, pixel in zip(shares, pixels, strict=True))
        sample = sample.reshape(-1, image.shape[-1])
        d_kernel = dot(cotangent.reshape(-1, cotangent.shape[-1]).T, sample).T
        d_sample = dot(cotangent, kernel.T).reshape(*tap.mask.shape, -1)
        nw, ne, sw, se = (_inner(d_sample, pixel, one) for pixel in pixels)
        gy, gx = 1 - tap.fy, 1 - tap.fx
        d_fields = (
            tap.mask * (gx * (sw - nw) + tap.fx * (se - ne)),
            tap.mask * (gy * (ne - nw) + tap.fy * (se - sw)),
            gy * (gx * nw + tap.fx * ne) + tap.fy * (gx * sw + tap.fx * se),
        )
        if image_grad:
            d_image = list(d_image)
            for k, (share, step) in enumerate(zip(shares, steps, strict=True)):
                d_image[k // 2] = _add_at(d_image[k // 2], tap.start + step, share[..., None] * d_sample)
            d_image = tuple(d_image)
        return d_image, (d_fields, d_kernel)

    # The upper and the lower neighbours are summed up apart: XLA runs the two chains side by side.
    sums = (jnp.zeros_like(flat),) * 2 if image_grad else ()
    parts = (taps, kernel.astype(accumulate).reshape(-1, *kernel.shape[2:]))
    sums, (d_fields, d_kernel) = lax.scan(add, sums, parts)
    d_image = _unflatten(jnp.add(*sums), image) if image_grad else None
    d_offset_y, d_offset_x, d_mask = (
        jnp.transpose(d, (1, 4, 0, 2, 3)).reshape(field.shape).astype(field.dtype)
        for d, field in zip(d_fields, (offset_y, offset_x, mask), strict=True)
    )
    return d_image, d_offset_y, d_offset_x, d_mask, d_kernel.reshape(kernel.shape).astype(kernel.dtype)


def _locate(
    image: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    mask: jax.Array,
    geometry: Geometry,
    dtype: Any,
) -> Taps:
    batch, height, width, _ = image.shape
    taps = geometry.size**2

    def tap_major(field: jax.Array) -> jax.Array:
        field = field.astype(dtype).reshape(batch, -1, taps, *field.shape[2:])
        return jnp.transpose(field, (2, 0, 3, 4, 1))

    offset_y, offset_x, mask = map(tap_major, (offset_y, offset_x, mask))
    at = locate(*_origin(geometry, mask.shape), offset_y, offset_x, "floor")
    row = jnp.clip(at.row, -RING, height) + RING
    column = jnp.clip(at.column, -RING, width) + RING
    b, g = (lax.broadcasted_iota(jnp.int32, mask.shape, axis) for axis in (1, 4))
    start = ((b * (height + 2 * RING) + row) * (width + 2 * RING) + column) * mask.shape[4] + g
    return Taps(start, mask, at.fy, at.fx)


def _origin(geometry: Geometry, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Row and column of every tap before it is moved, for an array [T, B, H', W', G]."""
    t, i, j = (lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 2, 3))
    size, stride, padding, dilation = geometry
    return i * stride - padding + t // size * dilation, j * stride - padding + t % size * dilation


def _flatten(image: jax.Array, taps: Taps, dtype: Any) -> tuple[jax.Array, list[int]]:
    """The image in its ring of zeros, [pixels * G, C/G], and the steps of an index to `CORNERS`."""
    groups = taps.mask.shape[4]
    ringed = jnp.pad(image.astype(dtype), [(0, 0), (RING, RING), (RING, RING), (0, 0)])
    steps = [(dy * ringed.shape[2] + dx) * groups for dy, dx in CORNERS]
    return ringed.reshape(-1, image.shape[3] // groups), steps


def _unflatten(flat: jax.Array, image: jax.Array) -> jax.Array:
    """The gradient of an image from that of its `_flatten`."""
    batch, height, width, channels = image.shape
    ringed = flat.reshape(batch, height + 2 * RING, width + 2 * RING, channels)
    return ringed[:, RING:-RING, RING:-RING].astype(image.dtype)


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
