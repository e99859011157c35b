"""Layers written to match the published PyTorch networks exactly. NHWC images, HWIO kernels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def pad_to_multiple(x: jax.Array, multiple: int) -> jax.Array:
    """Pads H and W of [B, H, W, C] up to a multiple, at the bottom and on the right, by reflection.

    The edge pixel is not repeated. Sides shorter than the pad are reflected as often as needed
    (the published code refuses them); sides of at least two pixels are required.
    """
    pads = [(0, -size % multiple) for size in x.shape[1:3]]
    return jnp.pad(x, [(0, 0), *pads, (0, 0)], mode="reflect")


def pad_edges(x: jax.Array, pad: int) -> jax.Array:
    """Replicates the edge pixels of [B, H, W, C] on all four sides."""
    return jnp.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)], mode="edge")


class Conv(nn.Module):
    """A correlation with bias: `kernel` [size, size, in, out] and `bias` [out]; zero padding."""

    features: int
    size: int = 3
    stride: int = 1
    padding: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = nn.Conv(self.features, (self.size,) * 2, self.stride, self.padding, name="conv")
        nn.share_scope(self, conv)
        return conv(x)


class PReLU(nn.Module):
    """x where positive, else slope * x; one learned slope for all channels."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        slope = self.param("slope", nn.initializers.constant(0.25), (1,))
        return jnp.where(x >= 0, x, slope * x)


def mean_pool(x: jax.Array) -> jax.Array:
    """The mean of every 2x2 block of [B, H, W, C]; even sizes."""
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


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


def resize(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes [B, H, W, C] bilinearly to any size: half-pixel centres, edges clamped, no antialiasing."""
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
