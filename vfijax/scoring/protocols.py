"""How a predicted frame becomes numbers: the protocols of the papers and reports, by name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from vfijax import perceptual
from vfijax.levels import rounded, to_float, truncated
from vfijax.media import MediaError
from vfijax.metrics import SSIM_WINDOW, mean_absolute_error, psnr, rmse, ssim, ssim_gaussian
from vfijax.pairs import find_motion, interpolate
from vfijax.params import ModelParams
from vfijax.perceptual import BACKBONES, Lpips


def rmse_255(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """`rmse` in 8-bit units, from 0 to 255."""
    return 255 * rmse(prediction, target)


MEASURES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "psnr": psnr,
    "ssim": ssim,
    "ssim_gaussian": ssim_gaussian,
    "rmse": rmse,
    "rmse_255": rmse_255,
    "mean_absolute_error": mean_absolute_error,
}


@dataclass(frozen=True)
class Protocol:
    """A way to score frames.

    Attributes:
      name: the entry of `PROTOCOLS`.
      describe: what is done, in words.
      levels: "raw", the prediction as it is; or that clipped and turned to 8 bits, "nearest" or
        "truncated".
      measures: entries of `MEASURES`, and "lpips"; each is taken per image and then averaged over the
        images.
      least: the smallest height and width that can be scored.
      target_peak: whether the peak of PSNR is the greatest value of the true frame, instead of 1.
      lpips: which LPIPS is among the measures, such as "LPIPS squeeze [0,1]"; empty for none.
    """

    name: str
    describe: str
    levels: Literal["raw", "nearest", "truncated"]
    measures: tuple[str, ...]
    least: int
    target_peak: bool = False
    lpips: str = ""

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
        levels="nearest",
        measures=("psnr", "ssim", "rmse", "mean_absolute_error"),
        least=SSIM_WINDOW,
    ),
    "upstream": Protocol(
        "upstream",
        "-10 log10 MSE of the prediction as it is, neither clipped nor rounded, per image, then the "
        "mean over images (AdaCoF)",
        levels="raw",
        measures=("psnr",),
        least=2,
    ),
    "target-max": Protocol(
        "target-max",
        "PSNR with the greatest value of the true frame as peak, and SSIM (Gaussian 11x11 window, zeros "
        "beyond the border), of the prediction as it is, neither clipped nor rounded, per image, then "
        "the mean over images (validation while the replication of SepConv is trained, and its row of "
        "linear interpolation)",
        levels="raw",
        measures=("psnr", "ssim_gaussian"),
        least=2,
        target_peak=True,
    ),
    "target-max-8bit": Protocol(
        "target-max-8bit",
        "the measures of target-max, of the prediction truncated to 8 bits (tables of the replication of "
        "SepConv)",
        levels="truncated",
        measures=("psnr", "ssim_gaussian"),
        least=2,
        target_peak=True,
    ),
    "sepconv": Protocol(
        "sepconv",
        "prediction truncated to 8 bits; PSNR with peak 255, and SSIM (uniform 7x7 window), per image, "
        "then the mean over images (benchmark of SepConv; EDSC truncates alike)",
        levels="truncated",
        measures=("psnr", "ssim"),
        least=SSIM_WINDOW,
    ),
    "sepconv-report": Protocol(
        "sepconv-report",
        "prediction rounded to 8 bits; PSNR with the greatest possible value, 255, as peak, SSIM (uniform "
        "7x7 window) and RMSE in 8-bit units, per image, then the mean over images (report on SepConv in "
        "PyTorch, which does not state window and rounding)",
        levels="nearest",
        measures=("psnr", "ssim", "rmse_255"),
        least=SSIM_WINDOW,
    ),
}


def protocol_for(name: str, lpips: Lpips | None = None) -> Protocol:
    """The entry of `PROTOCOLS`, with LPIPS of the same frames beside it if given.

    Raises:
      ValueError: another name.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is {name!r}; give one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    if lpips is None:
        return protocol
    return replace(
        protocol,
        describe=f"{protocol.describe}; {lpips.label}, version 0.1",
        measures=(*protocol.measures, "lpips"),
        least=max(protocol.least, BACKBONES[lpips.net].least),
        lpips=lpips.label,
    )


def predict(params: ModelParams, first: np.ndarray, last: np.ndarray) -> jax.Array:
    """The middle frame as the network gives it: float32, not clipped, from two uint8 frames [H, W, 3]."""
    return next(predict_at(params, first, last, (0.5,)))


def predict_at(
    params: ModelParams, first: np.ndarray, last: np.ndarray, times: Sequence[float]
) -> Iterator[jax.Array]:
    """The same for any times in (0, 1), one after the other."""
    first, last = to_float(first), to_float(last)
    motion = find_motion(params, first, last)
    return (interpolate(params, first, last, t=t, motion=motion) for t in times)


def measure(
    prediction: jax.Array, truth: np.ndarray, protocol: Protocol, name: str, lpips: Lpips | None = None
) -> dict[str, float]:
    """Scores one frame.

    Args:
      prediction: [H, W, 3] float, as `predict` gives it.
      truth: [H, W, 3] uint8.
      protocol: from `protocol_for`.
      name: of the frame, for the error message.
      lpips: what the protocol was made with.

    Raises:
      ValueError: the prediction holds NaN or infinite values, or a black frame has no peak.
    """
    if not bool(jnp.isfinite(prediction).all()):
        raise ValueError(
            f"{name}: the predicted frame holds NaN or infinite values; the model's parameters are "
            "damaged, or its training diverged"
        )
    if protocol.target_peak and not truth.any():
        raise ValueError(
            f"{name}: the true frame is black, and its greatest value cannot be the peak of PSNR; "
            "use the protocol 'published'"
        )
    # In NumPy: fused with the measures, equal frames would not give equal floats.
    scored = prediction if protocol.levels == "raw" else to_float(LEVELS[protocol.levels](prediction))
    scores = jax.device_get(_scores(scored, to_float(truth), lpips, protocol))
    return {measure: float(scores[measure]) for measure in protocol.measures}


LEVELS: dict[str, Callable[[jax.Array], np.ndarray]] = {"nearest": rounded, "truncated": truncated}


@partial(jax.jit, static_argnames="protocol")
def _scores(
    prediction: jax.Array, truth: jax.Array, lpips: Lpips | None, protocol: Protocol
) -> dict[str, jax.Array]:
    measures = dict(MEASURES)
    if protocol.target_peak:
        measures["psnr"] = partial(psnr, peak=truth.max())
    if lpips is not None:
        measures["lpips"] = partial(perceptual.lpips, lpips)
    return {name: measures[name](prediction, truth) for name in protocol.measures}
