"""Layers written to match the published PyTorch networks exactly. NHWC images, HWIO kernels.

What every network calls many times with few shapes is jitted: it is then traced once for each shape, and
lowered as a function, which the compiler reads sooner.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

PadMode = Literal["reflect", "edge", "constant"]
Array = TypeVar("Array", bound=jax.Array | np.ndarray)


def pad_to_multiple(x: Array, multiple: int, mode: PadMode = "reflect") -> Array:
    """Pads H and W of [..., H, W, C] up to a multiple, at the bottom and on the right.

    "reflect" does not repeat the edge pixel; sides shorter than the pad are reflected as often as needed
    (the published code refuses them), and sides of at least two pixels are required. "edge" replicates,
    "constant" puts zeros. NumPy arrays stay in NumPy.
    """
    height, width = ((0, -size % multiple) for size in x.shape[-3:-1])
    return _padded(x, height, width, mode)


def pad_edges(x: Array, pad: int) -> Array:
    """Replicates the edge pixels of [..., H, W, C] on all four sides; NumPy arrays stay in NumPy."""
    return _padded(x, (pad, pad), (pad, pad), "edge")


def _padded(x: Array, height: tuple[int, int], width: tuple[int, int], mode: PadMode) -> Array:
    pads = [(0, 0)] * (x.ndim - 3) + [height, width, (0, 0)]
    if not any(map(sum, pads)):
        return x
    library: Any = np if isinstance(x, np.ndarray) else jnp
    return library.pad(x, pads, mode=mode)


class Conv(nn.Module):
    """A correlation with bias: `kernel` [size, size, in / groups, out] and `bias` [out]; zero padding.

    Output group g reads input group g alone. Computes in the dtype of its parameters. Of several inputs
    (in one group) each has its own part of the kernel, as if concatenated: a CPU adds faster than it copies.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1
    dilation: int = 1

    @nn.compact
    def parameters(self, channels: int) -> tuple[jax.Array, jax.Array]:
        shape = (self.size, self.size, channels // self.groups, self.features)
        # Zeros: `vfijax.create` draws the values, and to trace random numbers for every shape takes long.
        kernel = self.param("kernel", nn.initializers.zeros_init(), shape)
        return kernel, self.param("bias", nn.initializers.zeros_init(), (self.features,))

    def __call__(self, *inputs: jax.Array) -> jax.Array:
        ends = np.cumsum([x.shape[-1] for x in inputs]).tolist()
        kernel, bias = self.parameters(ends[-1])
        window = (self.stride, self.padding, self.groups, self.dilation)
        parts = zip(inputs, jnp.split(kernel, ends[:-1], axis=2), strict=True)
        convolved = [convolve(x.astype(kernel.dtype), part, *window) for x, part in parts]
        return sum(convolved, start=bias.reshape(1, 1, 1, -1))


def side_by_side(convs: Sequence[Conv], x: jax.Array) -> list[jax.Array]:
    """Several convolutions of one input, computed as one, which a CPU does faster."""
    kernels, biases = zip(*(conv.parameters(x.shape[-1]) for conv in convs), strict=True)
    together = convolve(x.astype(kernels[0].dtype), jnp.concatenate(kernels, axis=-1))
    together = together + jnp.concatenate(biases).reshape(1, 1, 1, -1)
    ends = np.cumsum([conv.features for conv in convs])
    return jnp.split(together, ends[:-1].tolist(), axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def convolve(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 1, groups: int = 1, dilation: int = 1
) -> jax.Array:
    """[B, H, W, in] with [size, size, in / groups, out], zero padding; its gradients are fast on a CPU."""
    return _correlate(x, kernel, stride, padding, groups, dilation)


# XLA's CPU code works on so many output channels at a time: 51 of them take longer than 64.
_LANES = 16


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _correlate(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int, groups: int, dilation: int
) -> jax.Array:
    """The convolution itself; on a CPU, few and odd output channels are computed with zeros beside them."""

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(stride, stride),
            padding=((padding, padding), (padding, padding)),
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    def widened(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return plain(x, jnp.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, missing))))[..., :features]

    features = kernel.shape[-1]
    missing = -features % _LANES
    if groups == 1 and missing and _LANES // 2 < features < 4 * _LANES:
        return lax.platform_dependent(x, kernel, cpu=widened, default=plain)
    return plain(x, kernel)


def _convolve_forward(x: jax.Array, kernel: jax.Array, *window: int) -> tuple[jax.Array, Any]:
    return convolve(x, kernel, *window), (x, kernel)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _convolve_backward(
    stride: int, padding: int, groups: int, dilation: int, residuals: Any, cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    window = (stride, padding, groups, dilation)

    def by_convolution(x: jax.Array, cotangent: jax.Array) -> jax.Array:
        return jax.vjp(lambda k: _correlate(x, k, *window), kernel)[1](cotangent)[0]

    def by_image(x: jax.Array, cotangent: jax.Array) -> jax.Array:
        parts = zip(jnp.split(x, groups, axis=-1), jnp.split(cotangent, groups, axis=-1), strict=True)
        gradients = [_kernel_gradient_by_image(*part, kernel.shape[0], padding, dilation) for part in parts]
        return jnp.concatenate(gradients, axis=-1)

    cpu = by_image if stride == 1 else by_convolution
    d_kernel = lax.platform_dependent(x, cotangent, cpu=cpu, default=by_convolution)
    if stride > 1 or groups > 1:
        return jax.vjp(lambda x: _correlate(x, kernel, *window), x)[1](cotangent)[0], d_kernel
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    apron = (kernel.shape[0] - 1) * dilation - padding
    return _correlate(cotangent, turned, 1, apron, 1, dilation), d_kernel


convolve.defvjp(_convolve_forward, _convolve_backward)


def _kernel_gradient_by_image(
    x: jax.Array, cotangent: jax.Array, size: int, padding: int, dilation: int
) -> jax.Array:
    """One matrix product per kernel position and image, small enough for the cache of a CPU.

    XLA's own form, a convolution with the cotangent as a kernel as large as the image, was measured
    two to four times slower on a CPU.
    """
    _, height, width, features = cotangent.shape
    padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    places = dilation * np.indices((size, size)).reshape(2, -1).T

    def add(total: jax.Array, image_and_cotangent: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        image, d = image_and_cotangent
        d = d.reshape(-1, features)

        def at(place: jax.Array) -> jax.Array:
            seen = lax.dynamic_slice(image, (*place, 0), (height, width, image.shape[-1]))
            return seen.reshape(-1, image.shape[-1]).T @ d

        return total + lax.map(at, places), None  # a loop: nine products in a row take long to compile

    start = jnp.zeros((size * size, x.shape[-1], features), x.dtype)
    total, _ = lax.scan(add, start, (padded, cotangent))
    return total.reshape(size, size, x.shape[-1], features)


class HetConv(nn.Module):
    """A heterogeneous convolution: 3x3 in groups, plus 1x1 over all channels, minus 1x1 in groups (EDSC).

    Every group thus sees its own channels in a 3x3 window and the others at the centre alone. The three
    branches are computed as one convolution whose kernel is zero where a group does not look: three times
    the multiplications, but measured four times as fast on a CPU, where grouped convolutions are slow.
    """

    features: int
    groups: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def branch(name: str, size: int, groups: int) -> tuple[jax.Array, jax.Array]:
            return Conv(self.features, size, groups=groups, name=name).parameters(x.shape[-1])

        wide, bias = branch("grouped", 3, self.groups)
        dense, bias_1 = branch("pointwise", 1, 1)
        centre, bias_2 = branch("pointwise_grouped", 1, self.groups)
        wide = wide - jnp.pad(centre, ((1, 1), (1, 1), (0, 0), (0, 0)))
        own = np.kron(np.eye(self.groups), np.ones((wide.shape[2], self.features // self.groups)))
        kernel = jnp.tile(wide, (1, 1, self.groups, 1)) * own.astype(wide.dtype).reshape(1, 1, *own.shape)
        kernel = kernel + jnp.pad(dense, ((1, 1), (1, 1), (0, 0), (0, 0)))
        return convolve(x.astype(kernel.dtype), kernel) + (bias + bias_1 - bias_2).reshape(1, 1, 1, -1)


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-5) * scale + bias, all four stored per channel.

    `mean` and `variance` are the running statistics of the published training. They lie in the tree, so
    that files and pruning keep them, but training leaves them as they are: nothing is computed from the
    batch, and no gradient reaches them. Start from converted weights, or let `scale` and `bias` learn.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def vector(name: str, value: float) -> jax.Array:
            return self.param(name, nn.initializers.constant(value), x.shape[-1:])

        scale, bias = vector("scale", 1), vector("bias", 0)
        mean, variance = map(lax.stop_gradient, (vector("mean", 0), vector("variance", 1)))
        factor = scale * lax.rsqrt(variance + 1e-5)
        shift = bias - mean * factor
        return x * factor.reshape(1, 1, 1, -1) + shift.reshape(1, 1, 1, -1)


class PReLU(nn.Module):
    """x where positive, else slope * x; one learned slope for all channels."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        slope = self.param("slope", nn.initializers.constant(0.25), (1,))
        return jnp.where(x >= 0, x, slope.reshape((1,) * x.ndim) * x)


def mean_pool(x: jax.Array) -> jax.Array:
    """The mean of every 2x2 block of [B, H, W, C]; even sizes."""
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


@partial(jax.jit, static_argnames="align_corners")
def upsample(x: jax.Array, *, align_corners: bool) -> jax.Array:
    """Doubles H and W of [B, H, W, C] bilinearly.

    With aligned corners output row o reads row o*(n-1)/(2n-1), else row (o+0.5)/2 - 0.5 with the
    edges clamped. Either way an even output lies between its own source row and the one above, an odd
    one between its own and the one below, so that no gather is needed.
    """
    for axis in (1, 2):
        n = x.shape[axis]
        own = np.arange(n, dtype=np.float32)
        if align_corners:
            above, below = own / (2 * n - 1), (n - 1 - own) / (2 * n - 1)
        else:
            above = below = np.full(n, 0.25, np.float32)
        first, last = (jnp.take(x, jnp.asarray([i]), axis=axis) for i in (0, n - 1))
        rest = [jax.lax.slice_in_dim(x, start, start + n - 1, axis=axis) for start in (0, 1)]
        shape = [n if a == axis else 1 for a in range(4)]
        even = x + (jnp.concatenate([first, rest[0]], axis) - x) * above.reshape(shape)
        odd = x + (jnp.concatenate([rest[1], last], axis) - x) * below.reshape(shape)
        doubled = [2 * n if a == axis else size for a, size in enumerate(x.shape)]
        x = jnp.stack([even, odd], axis + 1).reshape(doubled)
    return x


@partial(jax.jit, static_argnames="size")
def resize(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes [B, H, W, C] bilinearly to any size: half-pixel centres, edges clamped, no antialiasing."""
    # jax.image.resize agrees to the last bits, but a frame of CDFI took 7 % longer with it on a CPU.
    rows, columns = (_resize_matrix(old, new) for old, new in zip(x.shape[1:3], size, strict=True))
    x = jnp.einsum("yh,bhwc->bywc", rows, x, precision="highest")
    return jnp.einsum("xw,bhwc->bhxc", columns, x, precision="highest")


def _resize_matrix(old: int, new: int) -> np.ndarray:
    """[new, old]: the share of every old row in every new one."""
    source = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
    low = np.minimum(source.astype(int), old - 1)
    high = np.minimum(low + 1, old - 1)
    matrix = np.zeros((new, old), np.float32)
    np.add.at(matrix, (np.arange(new), low), 1 - (source - low))
    np.add.at(matrix, (np.arange(new), high), source - low)
    return matrix
