"""Losses on neighbourhoods: structural similarity and the Laplacian pyramid."""

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.losses.pixel import absolute, of_frames
from vfijax.metrics import ssim_gaussian_map
from vfijax.window_sums import apply, window_matrix

LEVELS = 5
_BELL = np.exp(-np.square(np.arange(5) - 2) / 4)


@of_frames
def ssim(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Minus the mean SSIM of frames [..., H, W, C] in [0, 1], so -1 at best.

    Gaussian 11x11 window, sigma 1.5, zeros beyond the border, as the replication of SepConv trains
    with; see `vfijax.metrics.ssim_gaussian`.
    """
    return -jnp.mean(ssim_gaussian_map(prediction, target))


@of_frames
def laplacian(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference of Laplacian pyramids, summed over levels (option of Zooming Slow-Mo's code).

    Five levels and the remainder. A level is the image minus its 5x5 blur; the next one is the blur's
    mean over 2x2 blocks, an odd last row or column left out. Frames [..., H, W, C].

    Raises:
      ValueError: a side is shorter than 32 pixels.
    """
    if min(prediction.shape[-3:-1]) < 2**LEVELS:
        raise ValueError(
            f"the loss 'laplacian' needs frames of {2**LEVELS}x{2**LEVELS} or more, got "
            f"{prediction.shape[-3]}x{prediction.shape[-2]}"
        )
    image, total = prediction - target, jnp.float32(0)  # the pyramid is linear
    for _ in range(LEVELS):
        blurred = _blur(image)
        total = total + jnp.mean(absolute(image - blurred))
        image = _halve(blurred)
    return total + jnp.mean(absolute(image))


def _blur(image: jax.Array) -> jax.Array:
    """A 5x5 window of weights bell(y) + bell(x), a sum where a Gaussian has a product; edges repeated."""
    height, width = image.shape[-3:-1]
    bell, flat = _BELL / (2 * 5 * _BELL.sum()), np.ones(5)
    rows, columns = ([window_matrix(n, w, "edge") for w in (bell, flat)] for n in (height, width))
    return apply(rows[0], image, columns[1]) + apply(rows[1], image, columns[0])


def _halve(image: jax.Array) -> jax.Array:
    *batch, height, width, channels = image.shape
    image = image[..., : height // 2 * 2, : width // 2 * 2, :]
    return image.reshape(*batch, height // 2, 2, width // 2, 2, channels).mean(axis=(-4, -2))
