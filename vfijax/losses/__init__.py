"""Training losses: named terms, and their weighted sum."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from vfijax.losses import perceptual
from vfijax.losses.motion import motion
from vfijax.losses.perceptual import Networks, vgg, vgg19
from vfijax.losses.pixel import (
    charbonnier,
    charbonnier_flip,
    charbonnier_sum,
    gradient,
    l1,
    l1_sum,
    l2,
    l2_sum,
    log_mse,
)
from vfijax.losses.smoothness import occlusion_smoothness, smoothness
from vfijax.losses.structure import laplacian, ssim

__all__ = [
    "LOSSES",
    "LossWeights",
    "charbonnier",
    "charbonnier_flip",
    "charbonnier_sum",
    "gradient",
    "l1",
    "l1_sum",
    "l2",
    "l2_sum",
    "laplacian",
    "load_networks",
    "log_mse",
    "motion",
    "needs_flip",
    "occlusion_smoothness",
    "smoothness",
    "ssim",
    "vgg",
    "vgg19",
    "weighted",
]

Aux = dict[str, Any]
Term = Callable[[jax.Array, jax.Array, Aux, Networks], jax.Array]


def _of_frames(loss: Callable[[jax.Array, jax.Array], jax.Array]) -> Term:
    return lambda prediction, target, aux, networks: loss(prediction, target)


LOSSES: dict[str, Term] = {
    "charbonnier": _of_frames(charbonnier),
    "charbonnier_sum": _of_frames(charbonnier_sum),
    "charbonnier_flip": lambda prediction, target, aux, networks: charbonnier_flip(prediction, target, aux),
    "l1": _of_frames(l1),
    "l1_sum": _of_frames(l1_sum),
    "l2": _of_frames(l2),
    "l2_sum": _of_frames(l2_sum),
    "log_mse": _of_frames(log_mse),
    "gradient": _of_frames(gradient),
    "ssim": _of_frames(ssim),
    "laplacian": _of_frames(laplacian),
    "vgg": lambda prediction, target, aux, networks: vgg(prediction, target, networks),
    "vgg19": lambda prediction, target, aux, networks: vgg19(prediction, target, networks),
    "motion": lambda prediction, target, aux, networks: motion(aux),
    "smoothness": lambda prediction, target, aux, networks: smoothness(aux),
    "occlusion_smoothness": lambda prediction, target, aux, networks: occlusion_smoothness(aux),
}


@dataclass(frozen=True)
class LossWeights:
    """The weight of every term of `LOSSES`; 0 leaves a term out."""

    charbonnier: float = 1.0
    """smooth absolute difference of the frames, mean (AdaCoF, CDFI)"""
    charbonnier_sum: float = 0.0
    """the same, summed over all elements (Zooming Slow-Mo)"""
    charbonnier_flip: float = 0.0
    """the same, mean, of the prediction and of the one from swapped inputs; costs a second pass (DSepConv)"""
    l1: float = 0.0
    """absolute difference of the frames, mean"""
    l1_sum: float = 0.0
    """the same, summed"""
    l2: float = 0.0
    """squared difference of the frames, mean"""
    l2_sum: float = 0.0
    """the same, summed"""
    log_mse: float = 0.0
    """logarithm of each image's mean squared difference: what a mean of PSNRs rewards"""
    gradient: float = 0.0
    """difference of the contrasts between neighbouring pixels (DSepConv)"""
    ssim: float = 0.0
    """minus the structural similarity, Gaussian 11x11 window"""
    laplacian: float = 0.0
    """difference of Laplacian pyramids"""
    vgg: float = 0.0
    """mean squared difference of VGG16 features, conv4_3; needs --perceptual.vgg16 (CDFI: 0.005)"""
    vgg19: float = 0.0
    """norm of the difference of VGG19 features, relu4_4; needs --perceptual.vgg19 (SepConv: 1e-5)"""
    motion: float = 0.0
    """error of the motion in pixels, where the data know it (coarse_motion on synthetic scenes)"""
    smoothness: float = 0.0
    """variation of the sampling offsets (AdaCoF family)"""
    occlusion_smoothness: float = 0.0
    """variation of the occlusion mask (AdaCoF family)"""


def needs_flip(weights: LossWeights) -> bool:
    """Whether a term reads `aux["flipped"]`, the prediction from swapped inputs: a second forward pass."""
    return weights.charbonnier_flip != 0


def load_networks(
    weights: LossWeights, *, vgg16: str | os.PathLike[str] | None, vgg19: str | os.PathLike[str] | None
) -> Networks:
    """The networks that the terms with a weight need: what `weighted` takes as `networks`.

    Args:
      weights: of the terms.
      vgg16, vgg19: files with the weights, see `vfijax.perceptual.load_vgg`; empty or None where there
        is none. Files that no term needs are not read.

    Raises:
      ValueError: a term has a weight but no file, or the file does not hold the weights.
      FileNotFoundError: there is no such file.
    """
    files = {"vgg": vgg16, "vgg19": vgg19}
    return perceptual.load({term: file for term, file in files.items() if getattr(weights, term)})


def weighted(
    weights: LossWeights,
    prediction: jax.Array,
    target: jax.Array,
    aux: Aux,
    networks: Networks = MappingProxyType({}),
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of the terms, and each term without its weight.

    Args:
      weights: of the terms; those with weight 0 are not computed.
      prediction, target: [B, H, W, 3] frames in [0, 1]; float64 is kept.
      aux: what `vfijax.models.forward` returns beside the prediction; where `needs_flip(weights)` also
        "flipped", the prediction from swapped inputs.
      networks: what `load_networks` returns: a pytree, to be passed through `jax.jit` as an argument.

    Raises:
      ValueError: all weights are 0, one is negative, or a term needs what the network, `aux` or
        `networks` does not have.
    """
    active = {name: weight for name, weight in dataclasses.asdict(weights).items() if weight}
    if not active:
        raise ValueError("all loss weights are 0; give at least one term a weight")
    if min(active.values()) < 0:
        raise ValueError(f"loss weights must not be negative, got {active}")
    terms = {name: LOSSES[name](prediction, target, aux, networks) for name in active}
    return sum((active[name] * term for name, term in terms.items()), start=jnp.float32(0)), terms
