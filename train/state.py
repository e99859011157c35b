"""The state of a training run, and its checkpoints."""

import math
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from train.config import OptimConfig, TrainConfig, TrainError
from vfijax.checkpoint import load
from vfijax.models import ModelConfig, create
from vfijax.optim import obproxsg_with_dense, one_dimensional, running_statistics
from vfijax.params import ModelParams
from vfijax.trees import CheckpointError, read_tree, write_tree


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
    """Adamax or Adam (Kingma and Ba, 2015, algorithms 2 and 1) or OBProx-SG, with the config's schedule."""
    rate = learning_rate(config)
    if config.name != "obproxsg":
        return _OPTIMIZERS[config.name](rate, config.b1, config.b2, config.eps)
    options = (rate, config.l1, config.proximal_steps, None, config.zero_below)
    dense = one_dimensional if config.dense_biases else running_statistics
    return obproxsg_with_dense(*options, dense=dense)


def initial_params(config: TrainConfig) -> tuple[ModelParams, str]:
    """A freshly initialised network, and what of it comes from `config.init_from`, in words.

    Raises:
      TrainError: it has no parameters, or nothing of the checkpoint fits.
    """
    params = create(config.net, config.seed)
    if not params.tree:
        raise TrainError(f"model {config.net.name!r} has no parameters to train; choose another --model")
    if config.start == "blend":
        params = ModelParams(config.net.near_blend(params.tree), config.net)
    if config.start == "published":
        params = ModelParams(config.net.published(params.tree, config.seed), config.net)
    if config.start == "orthogonal":
        params = ModelParams(_orthogonal(params.tree, config.seed), config.net)
    return _warm(params, config.init_from) if config.init_from else (params, "")


def _orthogonal(tree: Any, seed: int) -> Any:
    """Kernels with orthonormal columns (or rows, the fewer) times the square root of 2; the rest stays."""
    draw = jax.nn.initializers.orthogonal(math.sqrt(2))

    def drawn(path: Any, leaf: jax.Array) -> jax.Array:
        place = jax.tree_util.keystr(path, simple=True, separator="/")
        if not place.endswith("/kernel"):
            return leaf
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(place.encode()))
        return draw(key, leaf.shape, leaf.dtype)

    return jax.tree_util.tree_map_with_path(drawn, tree)


def _warm(params: ModelParams, path: str) -> tuple[ModelParams, str]:
    """Parameters replaced by those of a checkpoint wherever path and shape agree."""
    stored = load(path)
    given = dict(jax.tree_util.tree_leaves_with_path(stored.tree))
    own = jax.tree_util.tree_leaves_with_path(params.tree)
    fits = [place in given and given[place].shape == leaf.shape for place, leaf in own]
    hint = _of_other_widths(stored.config, params.config, path)
    if not any(fits):
        raise TrainError(
            f"--init-from {path}: none of its {len(given)} arrays has place and shape of one here{hint}"
        )
    leaves = [given[place] if fit else leaf for (place, leaf), fit in zip(own, fits, strict=True)]
    tree = jax.tree.unflatten(jax.tree.structure(params.tree), leaves)
    note = f"starts from {path}: {sum(fits)} of {len(own)} arrays agree"
    places = (place for (place, _), fit in zip(own, fits, strict=True) if not fit)
    fresh = [jax.tree_util.keystr(place, simple=True, separator="/") for place in places]
    if fresh:
        note += f"; fresh: {', '.join(fresh[:5])}" + (f" and {len(fresh) - 5} more" if fresh[5:] else "")
        note += hint
    return ModelParams(tree, params.config), note


def _of_other_widths(stored: ModelConfig, own: ModelConfig, path: str) -> str:
    """What to say of a checkpoint of the same architecture whose arrays cannot all fit; else nothing."""
    if stored.architecture != own.architecture or stored == own:
        return ""
    return f"; it holds {stored.name} of other widths or settings, --net-from {path} trains that"


def initial_state(config: TrainConfig) -> TrainState:
    """The state before the first step of a run; errors as for `initial_params`."""
    return begin(initial_params(config)[0], config.optim)


def begin(params: ModelParams, optim: OptimConfig) -> TrainState:
    """The state before the first step."""
    mean = jax.tree.map(jnp.copy, params) if optim.ema else None  # the step takes over each one's memory
    state = TrainState(jnp.int32(0), params, optimizer(optim).init(params), mean)
    return jax.device_put(state, jax.local_devices()[0])


class Checkpoints:
    """Checkpoints of a run, `<directory>/<step>`; one that was not written to its end has another name.

    Of several processes one alone uses them; the state is the same on all. orbax's `training.Checkpointer`
    keeps the newest too, but removes one under its own name: what a kill leaves of it still counts as one.

    Args:
      directory: where they are.
      keep: so many of the newest stay.
    """

    def __init__(self, directory: Path, keep: int):
        self.directory, self.keep = directory, keep
        directory.mkdir(parents=True, exist_ok=True)

    def save(self, state: TrainState) -> None:
        """Writes the state under its step; done when it returns."""
        write_tree((self.directory / str(int(state.step))).absolute(), jax.device_get(state))
        for unfinished in self.directory.glob("*tmp*"):  # of this run when it was killed
            shutil.rmtree(unfinished)
        for step in self._steps()[: -self.keep]:
            leaving = self.directory / f"{step}.tmp"
            (self.directory / str(step)).rename(leaving)
            shutil.rmtree(leaving)

    def latest(self) -> int | None:
        """The step of the newest checkpoint, None when there is none."""
        return max(self._steps(), default=None)

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def load(self, fresh: TrainState) -> TrainState:
        """The newest checkpoint; `fresh`, which says what it must hold, when there is none yet.

        Raises:
          TrainError: it is damaged or of another network.
        """
        step = self.latest()
        if step is None:
            return fresh
        path = self.directory / str(step)
        try:
            return read_tree(path.absolute(), fresh)
        except CheckpointError as error:
            raise TrainError(
                f"{path} cannot be read ({error}); remove it to resume from an older one"
            ) from None
