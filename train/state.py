"""The state of a training run, and its checkpoints."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from orbax.checkpoint import v1 as ocp

from train.config import OptimConfig, TrainConfig, TrainError
from vfijax.checkpoint import load
from vfijax.models import create
from vfijax.params import ModelParams


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a run needs, beside its config, to go on as if it had not stopped.

    Attributes:
      step: optimizer steps taken, int32; also the number of the next batch.
      params: the network.
      opt_state: of `optimizer`.
      mean: running mean of the parameters, None where the run keeps none.
    """

    step: jax.Array
    params: ModelParams
    opt_state: optax.OptState
    mean: ModelParams | None = None

    @property
    def best(self) -> ModelParams:
        """What is scored and kept: the running mean where there is one."""
        return self.params if self.mean is None else self.mean


def learning_rate(config: OptimConfig) -> optax.Schedule:
    """The rate at a step (0 is the first)."""

    def rate(step: jax.Array) -> jax.Array:
        return _SCHEDULES[config.schedule](config)(step) * jnp.minimum(1, (step + 1) / (config.warmup + 1))

    return rate


def _cosine(config: OptimConfig) -> optax.Schedule:
    """Cosine annealing with restarts at the full rate (Loshchilov and Hutter, 2017, eq. 5)."""

    def rate(step: jax.Array) -> jax.Array:
        turn = (step % config.period) / config.period
        return config.lr_end + (config.lr - config.lr_end) * (1 + jnp.cos(jnp.pi * turn)) / 2

    return rate


_SCHEDULES: dict[str, Callable[[OptimConfig], optax.Schedule]] = {
    "halving": lambda config: optax.exponential_decay(config.lr, config.halve_every, 0.5, staircase=True),
    "constant": lambda config: optax.constant_schedule(config.lr),
    "cosine": _cosine,
}
_OPTIMIZERS = {"adamax": optax.adamax, "adam": optax.adam}


def optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """Adamax or Adam (Kingma and Ba, 2015, algorithms 2 and 1) with the schedule of the config."""
    return _OPTIMIZERS[config.name](learning_rate(config), config.b1, config.b2, config.eps)


def initial_params(config: TrainConfig) -> tuple[ModelParams, str]:
    """A freshly initialised network, and what of it comes from `config.init_from`, in words.

    Raises:
      TrainError: it has no parameters, or nothing of the checkpoint fits.
    """
    fields = {f.name: getattr(config.net, f.name) for f in dataclasses.fields(config.net)}
    params = create(fields.pop("name"), config.seed, **fields)
    if not params.tree:
        raise TrainError(f"model {config.net.name!r} has no parameters to train; choose another --model")
    if config.start == "blend":
        params = ModelParams(config.net.near_blend(params.tree), config.net)
    return _warm(params, config.init_from) if config.init_from else (params, "")


def _warm(params: ModelParams, path: str) -> tuple[ModelParams, str]:
    """Parameters replaced by those of a checkpoint wherever path and shape agree."""
    given = dict(jax.tree_util.tree_leaves_with_path(load(path).tree))
    own = jax.tree_util.tree_leaves_with_path(params.tree)
    fits = [place in given and given[place].shape == leaf.shape for place, leaf in own]
    if not any(fits):
        raise TrainError(
            f"--init-from {path}: none of its {len(given)} arrays has place and shape of one here"
        )
    leaves = [given[place] if fit else leaf for (place, leaf), fit in zip(own, fits, strict=True)]
    tree = jax.tree.unflatten(jax.tree.structure(params.tree), leaves)
    note = f"starts from {path}: {sum(fits)} of {len(own)} arrays agree"
    places = (place for (place, _), fit in zip(own, fits, strict=True) if not fit)
    fresh = [jax.tree_util.keystr(place, simple=True, separator="/") for place in places]
    if fresh:
        note += f"; fresh: {', '.join(fresh[:5])}" + (f" and {len(fresh) - 5} more" if fresh[5:] else "")
    return ModelParams(tree, params.config), note


def initial_state(config: TrainConfig) -> TrainState:
    """The state before the first step of a run; errors as for `initial_params`."""
    return begin(initial_params(config)[0], config.optim)


def begin(params: ModelParams, optim: OptimConfig) -> TrainState:
    """The state before the first step."""
    mean = jax.tree.map(jnp.copy, params) if optim.ema else None  # the step takes over each one's memory
    state = TrainState(jnp.int32(0), params, optimizer(optim).init(params), mean)
    return jax.device_put(state, jax.devices()[0])  # placed like a loaded one, so that both compile alike


class Checkpoints:
    """Checkpoints of a run by step; one that was not written to its end is never seen."""

    def __init__(self, directory: Path, keep: int):
        newest = ocp.training.preservation_policies.LatestN(keep)
        self.directory = directory
        self._checkpointer = ocp.training.Checkpointer(directory.absolute(), preservation_policy=newest)

    def save(self, state: TrainState) -> None:
        """Writes the state under its step; done when it returns."""
        self._checkpointer.save(int(state.step), state)

    def latest(self) -> int | None:
        """The step of the newest checkpoint, None when there is none."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def load(self, fresh: TrainState) -> TrainState:
        """The newest checkpoint; `fresh`, which says what it must hold, when there is none yet.

        Raises:
          TrainError: it is damaged or of another network.
        """
        step = self.latest()
        if step is None:
            return fresh
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), fresh)
        try:
            return self._checkpointer.load(step, like)
        except Exception as error:  # orbax raises many kinds for files that are missing or cut off
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TrainError(
                f"{self.directory / str(step)} cannot be read ({reason}); "
                "remove it to resume from an older one"
            ) from error

    def close(self) -> None:
        self._checkpointer.close()
