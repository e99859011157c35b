"""Losses between a predicted frame and the true one, element by element."""

import jax
import jax.numpy as jnp

EPSILON = 0.001  # of the Charbonnier function (CDFI and AdaCoF code)


def charbonnier_mean(difference: jax.Array) -> jax.Array:
    """Mean over all elements of sqrt(x**2 + EPSILON**2), a smooth absolute value."""
    return jnp.mean(jnp.sqrt(jnp.square(difference) + EPSILON**2))


def charbonnier(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Charbonnier distance of two frames in [0, 1] (CDFI, eq. 8, per element as its code computes it)."""
    return charbonnier_mean(prediction - target)


def l1(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference."""
    return jnp.mean(jnp.abs(prediction - target))


def l2(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference."""
    return jnp.mean(jnp.square(prediction - target))
