"""Convolution with kernels of its own at every pixel: separable (SepConv) and full (AdaConv).

    sepconv        out[i, j] = sum over k, l of  vertical[k, i, j] * horizontal[l, i, j] * image[i + k, j + l]
    adaptive_conv  out[i, j] = sum over k, l of  kernel[k*n + l, i, j] * image[i + k, j + l]

with an image padded by n//2 on each side, so that the taps are centred on the pixel (Niklaus et al.: "Video
frame interpolation via adaptive separable convolution", ICCV 2017, eq. 2; "... via adaptive convolution",
CVPR 2017; `docs/maths.md`). Nothing is flipped or normalised; all channels share the kernels.

Contents: the public ops, the references, and the XLA implementations with their gradients.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vfijax.inputs import floats
from vfijax.ops.dispatch import check_without_kernel
from vfijax.ops.tap_sum import accumulator


def sepconv(
    image: jax.Array, vertical: jax.Array, horizontal: jax.Array, *, implementation: str = "auto"
) -> jax.Array:
    """Filters every pixel with the outer product of two kernels of its own.

    Differentiable in all three arrays, exactly. The gradient of the image is left out where nothing
    asks for it. Numbers are finite: one that is not, in the image or a kernel, reaches the outputs of up to
    `TILE` columns beside it, since zeros of a banded matrix are multiplied too. Memory beside the arguments
    and results is a few images, never n of them.

    Args:
      image: [B, H, W, C] with any C, whose edges are replicated (odd n only); or already padded,
        [B, H + n-1, W + n-1, C]. Any value range; float16 to float64.
      vertical, horizontal: [B, n, H, W], the kernels along rows and columns, top and left tap first.
      implementation: "auto" and "xla" are the same here, "reference" is the equation, slow and large;
        there is no Pallas kernel.

    Returns:
      [B, H, W, C] in the dtype of `image`, summed up in float32 or wider.

    Raises:
      ValueError: shapes that do not fit each other, an axis of length 0, an implementation that does not
        exist.
      TypeError: what is no NumPy or JAX array of floating point.
    """
    check_without_kernel("sepconv", implementation)
    arrays = {"image": image, "vertical": vertical, "horizontal": horizontal}
    image, vertical, horizontal = floats("sepconv", axes=4, **arrays)
    if vertical.shape != horizontal.shape:
        shapes = (vertical.shape, horizontal.shape)
        raise ValueError(f"sepconv: vertical and horizontal have shapes {shapes}; they must be equal")
    _check_image("sepconv", image, vertical, vertical.shape[1])
    op = _sepconv_reference if implementation == "reference" else _sepconv
    return _run(op, vertical.shape[1], image, vertical, horizontal)


def adaptive_conv(image: jax.Array, kernel: jax.Array, *, implementation: str = "auto") -> jax.Array:
    """Filters every pixel with an n x n kernel of its own.

    Differentiable in both arrays, exactly. The gradient of the image is left out where nothing asks
    for it. The kernels are by far the largest array, n*n numbers per pixel; nothing else is as large
    but their gradient.

    Args:
      image: [B, H, W, C] with any C, whose edges are replicated (odd n only); or already padded,
        [B, H + n-1, W + n-1, C]. Any value range; float16 to float64.
      kernel: [B, n*n, H, W], tap-major: row, then column.
      implementation: "auto" and "xla" are the same here, "reference" is the equation, slow and large;
        there is no Pallas kernel.

    Returns:
      [B, H, W, C] in the dtype of `image`, summed up in float32 or wider.

    Raises:
      ValueError: shapes that do not fit each other, an axis of length 0, an implementation that does not
        exist.
      TypeError: what is no NumPy or JAX array of floating point.
    """
    check_without_kernel("adaptive_conv", implementation)
    image, kernel = floats("adaptive_conv", axes=4, image=image, kernel=kernel)
    n = math.isqrt(kernel.shape[1])
    if n * n != kernel.shape[1]:
        raise ValueError(
            f"adaptive_conv: {kernel.shape[1]} taps are no square; kernel must be [B, n*n, H, W], tap-major"
        )
    _check_image("adaptive_conv", image, kernel, n)
    op = _adaptive_reference if implementation == "reference" else _adaptive_conv
    return _run(op, n, image, kernel)


def _check_image(op: str, image: jax.Array, kernel: jax.Array, n: int) -> None:
    batch, _, height, width = kernel.shape
    padded = (height + n - 1, width + n - 1)
    if image.shape[0] != batch or image.shape[1:3] not in ((height, width), padded):
        raise ValueError(
            f"{op}: image is {image.shape} but kernels of n={n} over {batch}x{height}x{width} need "
            f"[{batch}, {height}, {width}, C], or padded [{batch}, {padded[0]}, {padded[1]}, C]"
        )
    if n % 2 == 0 and image.shape[1:3] != padded:
        raise ValueError(
            f"{op}: n={n} is even, so that no tap is the centre; pad the image to "
            f"[{batch}, {padded[0]}, {padded[1]}, C] on the sides you want"
        )


def _run(op: Callable[..., jax.Array], n: int, image: jax.Array, *kernels: jax.Array) -> jax.Array:
    """Calls an op in float32 or wider, on a padded image; both steps have exact gradients of their own."""
    accumulate = accumulator(image, *kernels)
    padded = image.astype(accumulate)
    if image.shape[1:3] == kernels[0].shape[2:]:
        padded = jnp.pad(padded, [(0, 0), (n // 2, n // 2), (n // 2, n // 2), (0, 0)], mode="edge")
    return op(padded, *(kernel.astype(accumulate) for kernel in kernels)).astype(image.dtype)


# --------------------------------------------------------------------------- reference
#
# From here on images are padded and all arrays have one dtype.


def _sepconv_reference(image: jax.Array, vertical: jax.Array, horizontal: jax.Array) -> jax.Array:
    patches = _patches(image, vertical.shape[1], *vertical.shape[2:])
    return jnp.einsum("bykxlc,bkyx,blyx->byxc", patches, vertical, horizontal, precision="highest")


def _adaptive_reference(image: jax.Array, kernel: jax.Array) -> jax.Array:
    n = math.isqrt(kernel.shape[1])
    kernel = kernel.reshape(kernel.shape[0], n, n, *kernel.shape[2:])
    patches = _patches(image, n, *kernel.shape[3:])
    return jnp.einsum("bykxlc,bklyx->byxc", patches, kernel, precision="highest")


def _patches(image: jax.Array, n: int, height: int, width: int) -> jax.Array:
    """What every tap of every pixel reads, all at once: [B, H, n, W, n, C]."""
    rows, columns = (jnp.arange(size)[:, None] + jnp.arange(n)[None] for size in (height, width))
    return image[:, rows][:, :, :, columns]


# --------------------------------------------------------------------------- gradients


def _differentiable(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., jax.Array]:
    """A function of (image, *kernels) with the gradients of `backward(image_grad, *arrays, cotangent)`."""
    forward, backward = jax.jit(forward), jax.jit(backward, static_argnums=0)

    @jax.custom_vjp
    def op(*arrays: jax.Array) -> jax.Array:
        return forward(*arrays)

    def keep(*arrays: Any) -> tuple[jax.Array, Any]:
        values = tuple(array.value for array in arrays)
        # An empty tuple or None, so that a pytree can carry the flag: the image is often plain data.
        return forward(*values), (values, () if arrays[0].perturbed else None)

    def gradients(kept: Any, cotangent: Any) -> tuple[jax.Array | None, ...]:
        values, image_grad = kept
        if isinstance(cotangent, SymbolicZero):
            return (None,) * len(values)
        return backward(image_grad is not None, *values, cotangent)

    op.defvjp(keep, gradients, symbolic_zeros=True)
    return op


# --------------------------------------------------------------------------- sepconv
#
# One row of the output after the other, as matrix products. The columns are cut into tiles of N pixels.
# In a tile the horizontal kernels of the row, each shifted to its pixel, are the rows of a banded matrix
# [N, N + n-1], the same for all n image rows and all channels:
#
#     filtered[(k, c), j] = sum over s of  patch[(k, c), s] * band[j, s],  band[j, j + l] = horizontal[l, j]
#     out[c, j]           = sum over k of  vertical[k, j] * filtered[(k, c), j]
#
# Of the products (N + n-1)/n times as many are done as needed, at the speed of a matrix product, and the
# row's operands stay in a cache. `docs/performance.md` has the figures.

TILE = 32


def _sepconv_forward(image: jax.Array, vertical: jax.Array, horizontal: jax.Array) -> jax.Array:
    n, height, width = vertical.shape[1:]
    channels, tile = image.shape[-1], min(TILE, width)
    tiles = _cut(tile, width, n, image)

    def row(y: jax.Array) -> jax.Array:
        filtered = _filter(_patch(tiles, y, n), _band(tile, _row(horizontal, y)), channels)
        weights = _tiled(_row(vertical, y), tile)
        return _total(filtered[:, :, k] * weights[:, :, k, None] for k in range(n))

    out = lax.map(row, jnp.arange(height))  # [H, B, tiles, C, N]
    out = out.transpose(1, 0, 2, 4, 3).reshape(out.shape[1], height, -1, channels)
    return out[:, :, :width]


def _sepconv_backward(
    image_grad: bool, image: jax.Array, vertical: jax.Array, horizontal: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array | None, ...]:
    """The transposes of the products above, row by row; nothing but the arguments is kept."""
    n, height, width = vertical.shape[1:]
    channels, tile = image.shape[-1], min(TILE, width)
    cut = partial(_cut, tile, width, n)
    tiles, cotangent = cut(image), cotangent.transpose(0, 3, 1, 2)

    def row(y: jax.Array, grads: Any) -> Any:
        d_tiles, d_vertical, d_horizontal = grads
        band, unband = jax.vjp(partial(_band, tile), _row(horizontal, y))
        weights, g = (_tiled(_row(array, y), tile) for array in (vertical, cotangent))
        patch = _patch(tiles, y, n)
        filtered = _filter(patch, band, channels)
        d_weights = _total(filtered[:, :, :, c] * g[:, :, None, c] for c in range(channels))
        d_filtered = (weights[:, :, :, None] * g[:, :, None]).reshape(*patch.shape[:3], tile)
        (d_taps,) = unband(_product(d_filtered, patch, 2, 2))
        if image_grad:
            d_patch = _product(d_filtered, band, 3, 2).reshape(*tiles.shape[:2], n, *tiles.shape[3:])
            d_tiles = _put(d_tiles, _rows(d_tiles, y, n) + d_patch, y)
        d_vertical = _put(d_vertical, _untiled(d_weights, width)[:, :, None], y)
        return d_tiles, d_vertical, _put(d_horizontal, d_taps[:, :, None], y)

    grads = (jnp.zeros_like(tiles) if image_grad else None, *map(jnp.zeros_like, (vertical, horizontal)))
    d_tiles, d_vertical, d_horizontal = lax.fori_loop(0, height, row, grads)
    d_image = jax.linear_transpose(cut, image)(d_tiles)[0] if image_grad else None
    return d_image, d_vertical, d_horizontal


_sepconv = _differentiable(_sepconv_forward, _sepconv_backward)


def _cut(tile: int, width: int, n: int, image: jax.Array) -> jax.Array:
    """What the pixels of each tile read, [B, tiles, H + n-1, C, tile + n-1]: neighbours overlap."""
    count, pieces = -(-width // tile), -(-(tile + n - 1) // tile)
    blocks = count + pieces - 1
    image = jnp.pad(image, [(0, 0), (0, 0), (0, blocks * tile - image.shape[2]), (0, 0)])
    image = image.reshape(*image.shape[:2], blocks, tile, -1).transpose(0, 2, 1, 4, 3)
    parts = [image[:, piece : piece + count] for piece in range(pieces)]
    return jnp.concatenate(parts, axis=-1)[..., : tile + n - 1]


def _row(field: jax.Array, y: jax.Array) -> jax.Array:
    return lax.dynamic_index_in_dim(field, y, 2, keepdims=False)


def _rows(tiles: jax.Array, y: jax.Array, n: int) -> jax.Array:
    return lax.dynamic_slice_in_dim(tiles, y, n, 2)


def _put(array: jax.Array, part: jax.Array, y: jax.Array) -> jax.Array:
    return lax.dynamic_update_slice_in_dim(array, part, y, 2)


def _patch(tiles: jax.Array, y: jax.Array, n: int) -> jax.Array:
    """The n rows of all tiles that output row y reads, as matrices [B, tiles, n*C, tile + n-1]."""
    return _rows(tiles, y, n).reshape(*tiles.shape[:2], -1, tiles.shape[-1])


def _tiled(row: jax.Array, tile: int) -> jax.Array:
    """[B, n, W] to [B, tiles, n, tile], with zeros beyond the last column."""
    row = jnp.pad(row, [(0, 0), (0, 0), (0, -row.shape[2] % tile)])
    return row.reshape(*row.shape[:2], -1, tile).transpose(0, 2, 1, 3)


def _untiled(tiled: jax.Array, width: int) -> jax.Array:
    """Undoes `_tiled`."""
    row = tiled.transpose(0, 2, 1, 3)
    return row.reshape(*row.shape[:2], -1)[..., :width]


def _band(tile: int, row: jax.Array) -> jax.Array:
    """The horizontal kernels of a row, [B, n, W], as banded matrices [B, tiles, tile, tile + n-1].

    Matrix rows that are stored one number too long and read with the right length shift by one each.
    """
    taps = _tiled(row, tile).swapaxes(2, 3)
    batch, tiles, _, n = taps.shape
    span = tile + n - 1
    taps = jnp.pad(taps, [(0, 0), (0, 0), (0, 0), (0, span + 1 - n)])
    return taps.reshape(batch, tiles, -1)[..., : tile * span].reshape(batch, tiles, tile, span)


def _filter(patch: jax.Array, band: jax.Array, channels: int) -> jax.Array:
    """The rows of the patch, filtered along the columns: [B, tiles, n, C, tile]."""
    filtered = _product(patch, band, 3, 3)
    return filtered.reshape(*patch.shape[:2], -1, channels, filtered.shape[-1])


def _product(a: jax.Array, b: jax.Array, axis_a: int, axis_b: int) -> jax.Array:
    """Matrix products over two leading axes, summed over the given one of the last two."""
    dimensions = (((axis_a,), (axis_b,)), ((0, 1), (0, 1)))
    return lax.dot_general(a, b, dimensions, precision=lax.Precision.HIGHEST)


def _total(terms: Iterable[jax.Array]) -> jax.Array:
    """A sum term by term, which XLA's CPU code vectorises over the pixels; a reduction it does not."""
    return reduce(jnp.add, terms)


# --------------------------------------------------------------------------- adaptive_conv
#
# Nothing is shared between pixels: every number of the kernels is read once, and the op is as fast as memory
# is. One tap after the other, as products of planes [H, W] whose columns are next to each other.


def _adaptive_forward(image: jax.Array, kernel: jax.Array) -> jax.Array:
    batch, taps, height, width = kernel.shape
    n = math.isqrt(taps)
    planes = image.transpose(0, 3, 1, 2)

    def add(t: jax.Array, total: jax.Array) -> jax.Array:
        seen = lax.dynamic_slice(planes, (0, 0, t // n, t % n), total.shape)
        return total + _tap(kernel, t) * seen

    total = jnp.zeros((batch, planes.shape[1], height, width), image.dtype)
    return lax.fori_loop(0, taps, add, total).transpose(0, 2, 3, 1)


def _adaptive_backward(
    image_grad: bool, image: jax.Array, kernel: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array | None, ...]:
    taps = kernel.shape[1]
    n = math.isqrt(taps)
    planes, g = (array.transpose(0, 3, 1, 2) for array in (image, cotangent))
    batch, channels, height, width = g.shape

    def add(t: jax.Array, grads: Any) -> Any:
        d_planes, d_kernel = grads
        y, x = t // n, t % n
        # A slice per channel: one slice of all of them, taken apart again, is not vectorised.
        seen = (lax.dynamic_slice(planes, (0, c, y, x), (batch, 1, height, width)) for c in range(channels))
        d_tap = _total(g[:, c, None] * plane for c, plane in enumerate(seen))
        d_kernel = lax.dynamic_update_slice_in_dim(d_kernel, d_tap, t, 1)
        if image_grad:
            total = lax.dynamic_slice(d_planes, (0, 0, y, x), g.shape) + _tap(kernel, t) * g
            d_planes = lax.dynamic_update_slice(d_planes, total, (0, 0, y, x))
        return d_planes, d_kernel

    grads = (jnp.zeros_like(planes) if image_grad else None, jnp.zeros_like(kernel))
    d_planes, d_kernel = lax.fori_loop(0, taps, add, grads)
    return d_planes.transpose(0, 2, 3, 1) if image_grad else None, d_kernel


_adaptive_conv = _differentiable(_adaptive_forward, _adaptive_backward)


def _tap(kernel: jax.Array, t: jax.Array) -> jax.Array:
    return lax.dynamic_slice_in_dim(kernel, t, 1, 1)
