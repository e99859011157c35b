"""One step of training and of evaluation, as pure functions."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from train.config import OptimConfig
from train.state import TrainState, learning_rate, optimizer
from vfijax.losses import LossWeights, weighted
from vfijax.metrics import psnr
from vfijax.models import forward
from vfijax.pairs import to_float, to_uint8
from vfijax.params import ModelParams

Batch = dict[str, Any]
MAX_PSNR = 100.0  # decibels, for frames predicted without error, so that means stay finite


def loss(
    params: ModelParams, batch: Batch, weights: LossWeights, reference_grads: bool = False
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The training loss of a batch, and its terms without their weights.

    Args:
      params: the network.
      batch: `first`, `middle` and `last`, uint8 or float [B, H, W, 3]; the middle one is the target.
      weights: of the terms.
      reference_grads: use the gradients of the published CDFI code, see `vfijax.models.forward`.
    """
    first, middle, last = (to_float(jnp.asarray(batch[role])) for role in ("first", "middle", "last"))
    frame, aux = forward(params, first, last, reference_grads=reference_grads)
    return weighted(weights, frame, middle, aux)


def train_step(
    state: TrainState, batch: Batch, *, losses: LossWeights, optim: OptimConfig, reference_grads: bool
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The state after one optimizer step, and scalars: `loss`, its terms, `grad_norm`, `learning_rate`."""
    objective = jax.value_and_grad(loss, has_aux=True)
    (total, terms), grads = objective(state.params, batch, losses, reference_grads)
    updates, opt_state = optimizer(optim).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    scalars = {"loss": total, **terms, "grad_norm": optax.tree.norm(grads)}
    scalars["learning_rate"] = jnp.asarray(learning_rate(optim)(state.step))
    return TrainState(state.step + 1, params, opt_state), scalars


jitted_train_step = jax.jit(
    train_step, static_argnames=("losses", "optim", "reference_grads"), donate_argnames="state"
)


@jax.jit
def eval_step(params: ModelParams, batch: Batch) -> dict[str, Any]:
    """What the network makes of some triplets.

    Args:
      params: the network.
      batch: `first`, `middle` and `last`, uint8 [B, H, W, 3].

    Returns:
      `prediction`: uint8 [B, H, W, 3], rounded as in the published evaluation.
      `psnr`: [B] in decibels, of that; a frame without any error counts as 100 dB.
      `masks`: name to [B, H, W, 1], for networks that have masks.
      `displacements`: a tuple of [B, 2, H, W], for networks with sampling offsets, see `displacement`.
    """
    height, width = batch["first"].shape[1:3]
    frame, aux = forward(params, to_float(batch["first"]), to_float(batch["last"]))
    prediction = to_uint8(frame)
    fields = (displacement(taps, params.config.dilation) for taps in aux["offsets"])
    return {
        "prediction": prediction,
        "psnr": jnp.minimum(psnr(to_float(prediction), to_float(batch["middle"])), MAX_PSNR),
        "masks": {name: mask[:, :height, :width] for name, mask in aux["masks"].items()},
        "displacements": tuple(field[..., :height, :width] for field in fields),
    }


def displacement(taps: Any, dilation: int) -> jax.Array:
    """Where a pixel is taken from on average: [B, 2, H, W] in pixels, rows and columns.

    The mean, by weight, of the place of a tap in its grid plus the tap's offset.
    """
    side = math.isqrt(taps.weight.shape[1])
    axis = (jnp.arange(side) - (side - 1) / 2) * dilation
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij")).reshape(2, -1, 1, 1)
    places = grid + jnp.stack([taps.offset_y, taps.offset_x], axis=1)
    weight = taps.weight[:, None]
    return (weight * places).sum(2) / weight.sum(2)
