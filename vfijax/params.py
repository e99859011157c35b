"""Parameters that know their architecture."""

from dataclasses import dataclass, field
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
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
        return sum(leaf.size for leaf in jax.tree.leaves(self.tree))
