"""Weights that come with the package: `vfijax.load(name)`, and `--model NAME` of every command.

`NAME.npz` holds the parameters in float16, one array per leaf by its path, and `NAME.json` the config of the
network and where they come from. README.md here is the model card.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.checkpoint import CheckpointError, config_from_json, config_to_json
from vfijax.files import write_arrays, write_json
from vfijax.models import ModelConfig
from vfijax.params import ModelParams

HERE = Path(__file__).parent

# name: SHA-256 of its NAME.npz
SHIPPED = {"guided": "a24edcd7ba175e643c12a339458f7d509abfe6b1f42feb5d872aaf5a3bcb63b0"}


def read(name: str) -> ModelParams:
    """The shipped model of that name, an entry of `SHIPPED`; float32.

    Raises:
      CheckpointError: the file is not the one that was shipped.
    """
    data = (HERE / f"{name}.npz").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHIPPED[name]:
        raise CheckpointError(f"{HERE / name}.npz is damaged; install vfijax again")
    tree: dict[str, Any] = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for path, array in arrays.items():
            *parents, leaf = path.split("/")
            place = tree
            for parent in parents:
                place = place.setdefault(parent, {})
            place[leaf] = jnp.asarray(array, jnp.float32)
    return ModelParams(tree, read_config(name))


def read_config(name: str) -> ModelConfig:
    """The network of the shipped model of that name."""
    return config_from_json(json.loads((HERE / f"{name}.json").read_text())["config"])


def write(name: str, params: ModelParams, **notes: Any) -> str:
    """Stores a model to be shipped, and returns the hash that belongs into `SHIPPED`."""
    leaves = jax.tree_util.tree_leaves_with_path(params.tree)
    arrays: dict[str, Any] = {
        jax.tree_util.keystr(at, simple=True, separator="/"): np.asarray(leaf, np.float16)
        for at, leaf in leaves
    }
    write_arrays(HERE / f"{name}.npz", arrays)
    write_json(HERE / f"{name}.json", {"config": config_to_json(params.config), "notes": notes})
    return hashlib.sha256((HERE / f"{name}.npz").read_bytes()).hexdigest()
