"""How a predicted frame becomes numbers: the protocols of CDFI and of AdaCoF."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.media import MediaError
from vfijax.metrics import SSIM_WINDOW, mean_absolute_error, psnr, rmse, ssim
from vfijax.pairs import interpolate, to_float
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

    def check_size(self, place: object, height: int, width: int) -> None:
        """Raises MediaError, naming the place, for frames that are too small."""
        if min(height, width) < self.least:
            raise MediaError(
                f"{place}: frames of {width}x{height} are too small to score; "
                f"give {self.least}x{self.least} or more"
            )


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
    if not bool(jnp.isfinite(prediction).all()):
        raise ValueError(
            f"{name}: the predicted frame holds NaN or infinite values; the model's parameters are "
            "damaged, or its training diverged"
        )
    scored = _divided(eight_bit(prediction)) if protocol.eight_bit else prediction
    scores = jax.device_get(_scores(scored, _divided(truth), protocol.measures))
    return {measure: float(scores[measure]) for measure in protocol.measures}


def eight_bit(frame: jax.Array) -> np.ndarray:
    """A frame as the nearest 8-bit one, ties to even.

    The published code adds a half and drops the digits after the point, which is the same except for
    ties. A network meets none, but the average of two 8-bit frames is one in every second pixel, and
    float32 then decides by its last bit; the fourth decimal settles what is a tie.
    """
    levels = np.clip(np.asarray(frame, np.float64), 0, 1) * 255
    return np.rint(np.round(levels, 4)).astype(np.uint8)


def _divided(image: np.ndarray) -> np.ndarray:
    """To [0, 1] in NumPy: fused with the measures, equal frames would not give equal floats."""
    return image.astype(np.float32) / np.float32(255)


@partial(jax.jit, static_argnames="measures")
def _scores(prediction: jax.Array, truth: jax.Array, measures: tuple[str, ...]) -> dict[str, jax.Array]:
    return {measure: MEASURES[measure](prediction, truth) for measure in measures}
