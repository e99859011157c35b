"""The state of a training run, and its checkpoints."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from orbax.checkpoint import v1 as ocp

from train.config import OptimConfig, TrainConfig, TrainError
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
    """

    step: jax.Array
    params: ModelParams
    opt_state: optax.OptState


def learning_rate(config: OptimConfig) -> optax.Schedule:
    """The rate at a step: halved every `halve_every` steps."""
    return optax.exponential_decay(config.lr, config.halve_every, 0.5, staircase=True)


def optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """Adamax (Kingma and Ba, 2015, algorithm 2) as the published networks were trained with."""
    return optax.adamax(learning_rate(config), config.b1, config.b2, config.eps)


def initial_state(config: TrainConfig) -> TrainState:
    """A freshly initialised network before its first step; raises TrainError for one without parameters."""
    fields = {f.name: getattr(config.net, f.name) for f in dataclasses.fields(config.net)}
    params = create(fields.pop("name"), config.seed, **fields)
    if not params.tree:
        raise TrainError(f"model {config.net.name!r} has no parameters to train; choose another --model")
    if config.start == "blend":
        params = ModelParams(config.net.near_blend(params.tree), config.net)
    state = TrainState(jnp.int32(0), params, optimizer(config.optim).init(params))
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
