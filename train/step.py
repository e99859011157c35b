"""One step of training and of evaluation, as pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from train.config import OptimConfig, TrainConfig
from train.state import TrainState, learning_rate, optimizer
from train.tasks import Batch, task_of
from vfijax.losses import LossWeights, needs_flip, weighted
from vfijax.params import ModelParams

Networks = Mapping[str, Any]  # parameters of the networks behind perceptual losses
SUMMED = ("charbonnier_sum", "l1_sum", "l2_sum")  # terms that add up over the parts of a batch
INSEPARABLE = ("vgg19", "motion")  # terms that cannot be had from those of the parts; all others are means


@dataclass(frozen=True)
class Objective:
    """What is minimised, and how it is computed; static under jit.

    Attributes:
      losses: weights of the terms.
      reference_grads: use the gradients of the published CDFI code, see `vfijax.models.forward`.
      precision: of the convolutions.
    """

    losses: LossWeights
    reference_grads: bool = False
    precision: str = "float32"

    @classmethod
    def of(cls, config: TrainConfig) -> "Objective":
        return cls(config.losses, config.reference_grads, config.precision)


def loss(
    params: ModelParams, batch: Batch, objective: Objective, networks: Networks
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The training loss of a batch, and its terms without their weights.

    Args:
      params: the network.
      batch: as the network's task has it (`train.tasks`), uint8 or float: `first`, `middle` and `last`
        [B, H, W, 3], the middle one is the target; or `inputs` [B, N, H, W, 3] and `targets`
        [B, 2N-1, 4H, 4W, 3].
      objective: what is asked for.
      networks: of the perceptual terms, by name.
    """
    predicted = task_of(params.config).predict(
        params,
        batch,
        flip=needs_flip(objective.losses),
        reference_grads=objective.reference_grads,
        precision=objective.precision,
    )
    return weighted(objective.losses, *predicted, networks)


def loss_of_part(
    params: ModelParams, batch: Batch, objective: Objective, networks: Networks, parts: int
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`loss` of one of `parts` equal parts of a batch; the mean over all parts is that of the whole."""
    weights = objective.losses
    scaled = replace(weights, **{name: parts * getattr(weights, name) for name in SUMMED})
    total, terms = loss(params, batch, replace(objective, losses=scaled), networks)
    return total, {name: parts * term if name in SUMMED else term for name, term in terms.items()}


def gradients(
    params: ModelParams, batch: Batch, objective: Objective, networks: Networks, accumulate: int, shares: int
) -> tuple[tuple[jax.Array, dict[str, jax.Array]], ModelParams]:
    """((loss, terms), gradients) of one of `shares` of a batch, taken in `accumulate` parts in turn."""
    parts = accumulate * shares
    of_part = jax.value_and_grad(partial(loss_of_part, parts=parts), has_aux=True)
    if accumulate == 1:
        return of_part(params, batch, objective, networks)

    def add(sums: Any, part: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, of_part(params, part, objective, networks)), None

    turns = {role: array.reshape(accumulate, -1, *array.shape[1:]) for role, array in batch.items()}
    first = {role: array[0] for role, array in turns.items()}
    shapes = jax.eval_shape(lambda: of_part(params, first, objective, networks))
    sums, _ = jax.lax.scan(add, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes), turns)
    return jax.tree.map(lambda total: total / accumulate, sums)


def train_step(
    state: TrainState,
    batch: Batch,
    networks: Networks,
    *,
    objective: Objective,
    optim: OptimConfig,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The state after one optimizer step, and scalars: `loss`, its terms, `grad_norm`, `learning_rate`.

    With `axis_name`, that of `jax.shard_map` or `jax.pmap`, the batch is one device's share, and all devices
    get the same; without, it is the whole batch.
    """
    shares = jax.lax.axis_size(axis_name) if axis_name else 1
    found = gradients(state.params, batch, objective, networks, optim.accumulate, shares)
    (total, terms), grads = jax.lax.pmean(found, axis_name) if axis_name else found
    updates, opt_state = optimizer(optim).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    scalars = {"loss": total, **terms, "grad_norm": optax.tree.norm(grads)}
    scalars["learning_rate"] = jnp.asarray(learning_rate(optim)(state.step))
    mean = state.mean
    if mean is not None:  # at first it forgets faster, so that the start does not linger in it
        fresh = jnp.maximum(1 - optim.ema, 9 / (10 + state.step))
        mean = optax.incremental_update(params, mean, fresh)
    return TrainState(state.step + 1, params, opt_state, mean), scalars


jitted_train_step = jax.jit(train_step, static_argnames=("objective", "optim"), donate_argnames="state")


@jax.jit
def eval_step(params: ModelParams, batch: Batch) -> dict[str, Any]:
    """What the network makes of some sequences of its task, uint8.

    Returns:
      `prediction`: uint8, rounded as in the published evaluation; [B, H, W, 3], or whole clips.
      `psnr`: [B] in decibels, of that; a frame without any error counts as 100 dB. Of clips it is the mean
        over the frames, and `psnr_interpolated` and `psnr_original` are those over some of them.
      For pairs also
      `masks`: name to [B, H, W, 1], for networks that have masks.
      `displacements`: a tuple of [B, 2, H, W], for networks with sampling offsets, see
        `train.tasks.displacement`.
    """
    return task_of(params.config).see(params, batch)
