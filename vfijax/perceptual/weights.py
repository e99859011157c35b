"""Files with the weights of feature networks, checked name by name and shape by shape."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax import torch_weights
from vfijax.perceptual.networks import NETWORKS, shapes

PathLike = str | os.PathLike[str]

FILES = {  # as torchvision publishes them
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "alexnet": "alexnet-owt-7be5be79.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
}


def way_to_get(net: str) -> str:
    """Where the weights of an entry of `NETWORKS` come from, for error messages."""
    return f"torchvision's {FILES[net]} (https://download.pytorch.org/models/{FILES[net]})"


def load_features(net: str, last: int, path: PathLike) -> Any:
    """The parameters of a network up to a layer, from a file with torchvision's names.

    Later layers and the classifier may be in the file or not.

    Raises:
      FileNotFoundError, ValueError: as for `torch_weights.read`; ValueError too for weights that are missing,
        misshapen, left over or not finite.
    """
    known = _official(shapes(net, len(NETWORKS[net]) - 1))
    found = read(path, known)
    used = shapes(net, last)
    names = set(_official(used))
    wanted = {name: shape for name, shape in known.items() if name in names or name in found}
    extra = {name for name in found if name.startswith("classifier.")}
    arrays = checked(path, wanted, found, f"the weights of {net}", way_to_get(net), extra)

    def pick(keys: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.asarray(torch_weights.to_hwio(arrays[_name(keys)]), leaf.dtype)

    return jax.tree_util.tree_map_with_path(pick, used)


def read(path: PathLike, names: Mapping[str, Any]) -> dict[str, Any]:
    """The table in a file that has the most of some names, wherever in it; errors of `torch_weights.read`."""
    content = torch_weights.read(path, "perceptual")
    found = torch_weights.nearest_table(torch_weights.tables(content, names.keys()), names.keys())
    return next(iter(found.values()), {})


def checked(
    path: PathLike,
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, Any],
    what: str,
    way: str,
    extra: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The wanted arrays, or a ValueError that lists all that is wrong with them."""
    arrays = {name: array for name, array in found.items() if name not in extra}
    if problems := torch_weights.problems(wanted, arrays):
        raise ValueError(f"perceptual: {os.fspath(path)} does not hold {what}: {problems}. Give {way}")
    return arrays


def _official(tree: Any) -> dict[str, tuple[int, ...]]:
    """torchvision's names and shapes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(keys): torch_weights.oihw_shape(leaf.shape) for keys, leaf in leaves}


def _name(path: Any) -> str:
    *layer, leaf = (entry.key for entry in path)
    return ".".join(["features", *layer, "weight" if leaf == "kernel" else "bias"])
