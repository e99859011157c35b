"""Layers written to match the published PyTorch networks exactly. NHWC, float32."""

import jax
import jax.numpy as jnp


def pad_to_multiple(x: jax.Array, multiple: int) -> jax.Array:
    """Pads H and W of [B, H, W, C] up to a multiple, at the bottom and on the right, by reflection.

    The edge pixel is not repeated. Sides shorter than the pad are reflected as often as needed
    (the published code refuses them); sides of at least two pixels are required.
    """
    pads = [(0, -size % multiple) for size in x.shape[1:3]]
    return jnp.pad(x, [(0, 0), *pads, (0, 0)], mode="reflect")
