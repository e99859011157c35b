"""Parameters that know their architecture."""

import os
from dataclasses import dataclass, field
from typing import Any

import flax.serialization
import jax
import numpy as np


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class ModelParams:
    """A parameter tree and the config of the network it belongs to.

    The config is static: `jax.jit` compiles once per config, `jax.grad` and optax see the tree
    alone, and a file, a gradient or a compressed network can never lose its architecture.

    It is a pytree, as optax, orbax and flax (`TrainState`, `flax.serialization`) take it; what wants a nested
    dict, such as `flax.traverse_util`, takes `tree`. Two are equal if they are the same object.

    Attributes:
      tree: nested dict of arrays, as the config's Flax module expects them.
      config: a frozen, hashable `vfijax.models.base.ModelConfig`.
    """

    tree: Any
    config: Any = field(metadata={"static": True})

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(getattr(leaf, "size", 1) for leaf in jax.tree.leaves(self.tree))

    def __repr__(self) -> str:
        name = getattr(self.config, "name", self.config)
        return f"ModelParams({name}, {self.size:,} parameters in {len(jax.tree.leaves(self.tree))} arrays)"

    def __contains__(self, name: object) -> bool:
        """Whether the tree has an entry of that name at its top; flax' `TrainState` asks."""
        return name in self.tree


def _to_state(params: ModelParams) -> dict[str, Any]:
    return {"tree": flax.serialization.to_state_dict(params.tree)}


def _from_state(params: ModelParams, state: dict[str, Any]) -> ModelParams:
    """The stored parameters, for the network of `params`; raises ValueError for those of another network."""
    if set(state) != {"tree"}:
        raise ValueError("ModelParams: the state holds no parameters of vfijax (no entry `tree`)")
    tree = flax.serialization.from_state_dict(params.tree, state["tree"], name="tree")
    before, after = jax.tree_util.tree_leaves_with_path(params.tree), jax.tree.leaves(tree)
    for (path, leaf), stored in zip(before, after, strict=True):
        if np.shape(leaf) != np.shape(stored):
            at = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(
                f"ModelParams: {at} is {np.shape(stored)} in the state, but {np.shape(leaf)} in "
                f"{getattr(params.config, 'name', 'the model')}; restore into the network that was stored"
            )
    return ModelParams(tree, params.config)


flax.serialization.register_serialization_state(ModelParams, _to_state, _from_state)


def check_params(user: str, params: Any) -> None:
    """Raises TypeError unless it is a `ModelParams`, and says how to get one."""
    if isinstance(params, ModelParams):
        return
    if isinstance(params, str | os.PathLike):
        given = f"{type(params).__name__} {os.fspath(params)!r}"
        way = f"vfijax.load({os.fspath(params)!r}), or vfijax.create(name, key) for a fresh network"
    elif isinstance(params, dict):
        given, way = "a dict", "vfijax.ModelParams(tree, config), with the config of the tree's network"
    else:
        given, way = type(params).__name__, "what vfijax.load or vfijax.create returns"
    raise TypeError(f"{user}: params is {given}; ModelParams are needed: give {way}")
