"""Losses that ask neighbouring pixels for similar offsets and similar masks.

Both take the intermediate results of a network (`aux` of `vfijax.models.forward`) at padded size.
"""

from typing import Any

import jax
import jax.numpy as jnp

from vfijax.losses.pixel import charbonnier_mean


def variation(field: jax.Array) -> jax.Array:
    """Charbonnier mean of the vertical plus that of the horizontal differences of [B, H, W]."""
    return charbonnier_mean(jnp.diff(field, axis=1)) + charbonnier_mean(jnp.diff(field, axis=2))


def smoothness(aux: dict[str, Any]) -> jax.Array:
    """Variation of the offsets: `g_Spatial` of the CDFI and AdaCoF code.

    For both frames and both directions, the variation of the mean over taps of weight times offset
    (a mean, not the sum, so its size falls with the number of taps), added up. Both factors are
    [B, T, H, W] in pixels.

    Raises:
      ValueError: the network has no sampling offsets.
    """
    if not aux["offsets"]:
        raise ValueError("the loss 'smoothness' needs a network with sampling offsets; set its weight to 0")
    return sum(
        (
            variation(jnp.mean(taps.weight * offset, axis=1))
            for taps in aux["offsets"]
            for offset in (taps.offset_y, taps.offset_x)
        ),
        start=jnp.float32(0),
    )


def occlusion_smoothness(aux: dict[str, Any]) -> jax.Array:
    """Variation of the occlusion mask [B, H, W, 1]: `g_Occlusion` of the AdaCoF code.

    Raises:
      ValueError: the network has no occlusion mask.
    """
    if "occlusion" not in aux["masks"]:
        raise ValueError(
            "the loss 'occlusion_smoothness' needs a network with an occlusion mask; set its weight to 0"
        )
    return variation(aux["masks"]["occlusion"][..., 0])
