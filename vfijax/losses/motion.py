"""A loss of the motion that a network finds, where the truth is known."""

from typing import Any

import jax
import jax.numpy as jnp

DECAY = 0.8  # of the weight, from a motion to the one before it
SOFT = 0.1  # pixels, below which an error counts by its square
FLAT = 16.0  # pixels, beyond which an error counts less and less


def motion(aux: dict[str, Any]) -> jax.Array:
    """The error of motion, in pixels, robust and averaged over where the truth is known.

    With e the length of the difference, smoothed below `SOFT`, an error counts 16 log(1 + e / 16).

    Args:
      aux: `motion`, a sequence of [B, 2, 2, H, W], each an improvement of the one before it, which counts
        0.8 times as much; `truth`, [B, 2, 2, H, W] or the part of it that lies inside padded frames, NaN
        where it is not known. Both in pixels.

    Raises:
      ValueError: the network finds no motion, or the data do not know it.
    """
    if "motion" not in aux or "truth" not in aux:
        raise ValueError("the loss 'motion' needs a network that finds motion, and data that know it")
    truth = aux["truth"]
    height, width = truth.shape[-2:]
    known = jnp.isfinite(truth).all(2)
    weight = known / jnp.maximum(known.sum(), 1)
    truth = jnp.where(known[:, :, None], truth, 0)
    total, share = jnp.float32(0), 1.0
    for found in reversed(aux["motion"]):
        square = jnp.square(found[..., :height, :width] - truth).sum(2)
        length = jnp.sqrt(square + SOFT**2) - SOFT
        total = total + share * jnp.sum(weight * FLAT * jnp.log1p(length / FLAT))
        share *= DECAY
    return total
