"""How a predicted frame becomes numbers: the protocols of CDFI and of AdaCoF."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.metrics import SSIM_WINDOW, mean_absolute_error, psnr, rmse, ssim
from vfijax.pairs import interpolate, to_float, to_uint8
from vfijax.params import ModelParams

MEASURES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "psnr": psnr,
    "ssim": ssim,
    "rmse": rmse,
    "mean_absolute_error": mean_absolute_error,
}


@dataclass(frozen=True)
class Protocol:
    """A way to score frames.

    Attributes:
      name: the entry of `PROTOCOLS`.
      describe: what is done, in words.
      eight_bit: whether the prediction is clipped and rounded to 8 bits before it is scored.
      measures: entries of `MEASURES`; each is taken per image and then averaged over the images.
      least: the smallest height and width that can be scored.
    """

    name: str
    describe: str
    eight_bit: bool
    measures: tuple[str, ...]
    least: int


PROTOCOLS = {
    "published": Protocol(
        "published",
        "prediction rounded to 8 bits; PSNR, SSIM (uniform 7x7 window), RMSE and mean absolute error "
        "in [0, 1], per image, then the mean over images (CDFI)",
        eight_bit=True,
        measures=("psnr", "ssim", "rmse", "mean_absolute_error"),
        least=SSIM_WINDOW,
    ),
    "upstream": Protocol(
        "upstream",
        "-10 log10 MSE of the prediction as it is, neither clipped nor rounded, per image, then the "
        "mean over images (AdaCoF)",
        eight_bit=False,
        measures=("psnr",),
        least=2,
    ),
}


def protocol_for(name: str) -> Protocol:
    """The entry of `PROTOCOLS`. Raises ValueError for other names."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is {name!r}; give one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


@jax.jit
def predict(params: ModelParams, first: jax.Array, last: jax.Array) -> jax.Array:
    """The middle frame as the network gives it: float32, not clipped, from two uint8 frames [H, W, 3]."""
    return interpolate(params, to_float(first), to_float(last))


def measure(prediction: jax.Array, truth: np.ndarray, protocol: Protocol, name: str) -> dict[str, float]:
    """Scores one frame.

    Args:
      prediction: [H, W, 3] float, as `predict` gives it.
      truth: [H, W, 3] uint8.
      protocol: an entry of `PROTOCOLS`.
      name: of the frame, for the error message.

    Raises:
      ValueError: the prediction holds NaN or infinite values.
    """
    scores, finite = jax.device_get(_measure(prediction, truth, protocol))
    if not finite:
        raise ValueError(
            f"{name}: the predicted frame holds NaN or infinite values; the model's parameters are "
            "damaged, or its training diverged"
        )
    return {measure: float(score) for measure, score in scores.items()}


@partial(jax.jit, static_argnames="protocol")
def _measure(
    prediction: jax.Array, truth: jax.Array, protocol: Protocol
) -> tuple[dict[str, jax.Array], jax.Array]:
    finite = jnp.isfinite(prediction).all()
    if protocol.eight_bit:
        prediction = to_float(to_uint8(prediction))
    return {name: MEASURES[name](prediction, to_float(truth)) for name in protocol.measures}, finite
