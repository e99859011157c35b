"""Parameters that know their architecture."""

import os
from dataclasses import dataclass, field
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class ModelParams:
    """A parameter tree and the config of the network it belongs to.

    The config is static: `jax.jit` compiles once per config, `jax.grad` and optax see the tree
    alone, and a file, a gradient or a compressed network can never lose its architecture.

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
