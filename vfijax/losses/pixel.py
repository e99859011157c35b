"""Losses between a predicted frame and the true one, element by element or between neighbours.

Frames are float [..., H, W, C] in [0, 1]; every loss raises TypeError or ValueError for what is no such
frame, and for two that do not agree (`of_frames`).
"""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import jax
import jax.numpy as jnp

from vfijax.inputs import check_images, check_scale, extremes, known

EPSILON = 0.001  # of the Charbonnier function (CDFI, AdaCoF and Zooming Slow-Mo)
LOG_FLOOR = 1e-5  # added to a mean square before its logarithm: a PSNR of 50 dB
FLIP_EPSILON = 1e-6  # the same for DSepConv, which does not say what it uses


Others = ParamSpec("Others")
Loss = Callable[Concatenate[jax.Array, jax.Array, Others], jax.Array]


def of_frames(loss: Loss[Others]) -> Loss[Others]:
    """A loss of a prediction, a target and maybe more, that checks both frames first. Only the target has to
    have the scale of [0, 1]: a network may have diverged."""

    @functools.wraps(loss)
    def checked(
        prediction: jax.Array, target: jax.Array, *others: Others.args, **named: Others.kwargs
    ) -> jax.Array:
        user = f"the loss {loss.__name__!r}"
        check_images(user, prediction, target)
        if known(target):
            check_scale(user, "target", *extremes(target))
        return loss(jnp.asarray(prediction), jnp.asarray(target), *others, **named)

    return checked


def absolute(x: jax.Array) -> jax.Array:
    """|x| with derivative 0 at 0, as the published networks were trained with; `jnp.abs` has 1 there."""
    return jnp.sign(x) * x


def charbonnier_mean(difference: jax.Array, epsilon: float = EPSILON) -> jax.Array:
    """Mean over all elements of sqrt(x**2 + epsilon**2), a smooth absolute value."""
    return jnp.mean(jnp.sqrt(jnp.square(difference) + epsilon**2))


@of_frames
def charbonnier(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Charbonnier distance of two frames in [0, 1] (CDFI, eq. 8, per element as its code computes it)."""
    return charbonnier_mean(prediction - target)


@of_frames
def charbonnier_sum(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Charbonnier distance summed over all elements, the batch too (Zooming Slow-Mo, eq. 7)."""
    return jnp.sum(jnp.sqrt(jnp.square(prediction - target) + EPSILON**2))


@of_frames
def charbonnier_flip(
    prediction: jax.Array, target: jax.Array, aux: dict[str, Any], epsilon: float = FLIP_EPSILON
) -> jax.Array:
    """Charbonnier distance of the prediction plus that of the prediction from swapped inputs (DSepConv).

    The second prediction is `aux["flipped"]`, of the shape of the first; see `needs_flip`.

    Raises:
      ValueError: it is not there.
    """
    if "flipped" not in aux:
        raise ValueError(
            "the loss 'charbonnier_flip' needs aux['flipped'], the prediction from swapped inputs; "
            "add it, or set the weight to 0"
        )
    check_images("the loss 'charbonnier_flip'", aux["flipped"], target)
    both = (prediction, aux["flipped"])
    return sum((charbonnier_mean(frame - target, epsilon) for frame in both), start=jnp.float32(0))


@of_frames
def l1(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference."""
    return jnp.mean(absolute(prediction - target))


@of_frames
def l2(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference."""
    return jnp.mean(jnp.square(prediction - target))


@of_frames
def l1_sum(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Absolute differences summed over all elements, the batch too (option of the Zooming Slow-Mo code)."""
    return jnp.sum(absolute(prediction - target))


@of_frames
def l2_sum(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Squared differences summed over all elements, the batch too (option of the Zooming Slow-Mo code)."""
    return jnp.sum(jnp.square(prediction - target))


@of_frames
def log_mse(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over images of log(mean squared difference + 1e-5): minus 4.34 of it is their mean PSNR in dB, but
    that images with less than about one level of error count less."""
    return jnp.mean(jnp.log(jnp.mean(jnp.square(prediction - target), axis=(-3, -2, -1)) + LOG_FLOOR))


@of_frames
def gradient(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """How much the contrasts between neighbouring pixels differ (DSepConv).

    The mean of ||p - p'| - |t - t'|| over pairs of vertical neighbours, plus that over horizontal
    ones. The paper counts four directions; up and down are the same pairs, so twice the weight is
    the same loss.
    """
    return sum(
        (jnp.mean(absolute(_contrast(prediction, axis) - _contrast(target, axis))) for axis in (-3, -2)),
        start=jnp.float32(0),
    )


def _contrast(frame: jax.Array, axis: int) -> jax.Array:
    return absolute(jnp.diff(frame, axis=axis))
