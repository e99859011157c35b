"""Training losses: named terms, and their weighted sum."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vfijax.losses.pixel import charbonnier, l1, l2
from vfijax.losses.smoothness import occlusion_smoothness, smoothness

__all__ = [
    "LOSSES",
    "LossWeights",
    "charbonnier",
    "l1",
    "l2",
    "occlusion_smoothness",
    "smoothness",
    "weighted",
]

Aux = dict[str, Any]

LOSSES: dict[str, Callable[[jax.Array, jax.Array, Aux], jax.Array]] = {
    "charbonnier": lambda prediction, target, aux: charbonnier(prediction, target),
    "l1": lambda prediction, target, aux: l1(prediction, target),
    "l2": lambda prediction, target, aux: l2(prediction, target),
    "smoothness": lambda prediction, target, aux: smoothness(aux),
    "occlusion_smoothness": lambda prediction, target, aux: occlusion_smoothness(aux),
}


@dataclass(frozen=True)
class LossWeights:
    """The weight of every term of `LOSSES`; 0 leaves a term out."""

    charbonnier: float = 1.0
    """smooth absolute difference of the frames"""
    l1: float = 0.0
    """absolute difference of the frames"""
    l2: float = 0.0
    """squared difference of the frames"""
    smoothness: float = 0.0
    """variation of the sampling offsets (AdaCoF family)"""
    occlusion_smoothness: float = 0.0
    """variation of the occlusion mask (AdaCoF family)"""


def weighted(
    weights: LossWeights, prediction: jax.Array, target: jax.Array, aux: Aux
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of the terms, and each term without its weight.

    Args:
      weights: of the terms; those with weight 0 are not computed.
      prediction, target: [B, H, W, 3] frames in [0, 1].
      aux: what `vfijax.models.forward` returns beside the prediction.

    Raises:
      ValueError: all weights are 0, one is negative, or a term needs what the network does not have.
    """
    active = {name: weight for name, weight in dataclasses.asdict(weights).items() if weight}
    if not active:
        raise ValueError("all loss weights are 0; give at least one term a weight")
    if min(active.values()) < 0:
        raise ValueError(f"loss weights must not be negative, got {active}")
    terms = {name: LOSSES[name](prediction, target, aux) for name in active}
    return sum((active[name] * term for name, term in terms.items()), start=jnp.float32(0)), terms
