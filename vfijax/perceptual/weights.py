"""Files with the weights of feature networks, checked name by name and shape by shape."""

import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax import torch_file
from vfijax.perceptual.networks import NETWORKS, shapes

PathLike = str | os.PathLike[str]

FILES = {  # as torchvision publishes them
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "alexnet": "alexnet-owt-7be5be79.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
}
_LISTED = 6  # names per kind in an error


def way_to_get(net: str) -> str:
    """Where the weights of an entry of `NETWORKS` come from, for error messages."""
    return f"torchvision's {FILES[net]} (https://download.pytorch.org/models/{FILES[net]})"


def read(path: PathLike) -> Mapping[str, Any]:
    """Names to arrays of a `.npz` or `.pth` file; pickled objects are refused.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file cannot be read, or it is a `.pth` and torch is not installed.
    """
    if Path(path).suffix != ".npz":
        return torch_file.read(path, "perceptual")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"perceptual: no file {os.fspath(path)}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"perceptual: {os.fspath(path)} is not readable as arrays ({error})") from None


def load_features(net: str, last: int, path: PathLike) -> Any:
    """The parameters of a network up to a layer, from a file with torchvision's names.

    Later layers and the classifier may be in the file or not.

    Raises:
      FileNotFoundError, ValueError: as for `read`; ValueError too for weights that are missing,
        misshapen, left over or not finite.
    """
    found = read(path)
    known = _official(shapes(net, len(NETWORKS[net]) - 1))
    used = shapes(net, last)
    names = set(_official(used))
    wanted = {name: shape for name, shape in known.items() if name in names or name in found}
    extra = {name for name in found if name.startswith("classifier.")}
    arrays = checked(path, wanted, found, f"the weights of {net}", way_to_get(net), extra)

    def pick(keys: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        array = arrays[_name(keys)]
        return jnp.asarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array, leaf.dtype)

    return jax.tree_util.tree_map_with_path(pick, used)


def checked(
    path: PathLike,
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, Any],
    what: str,
    way: str,
    extra: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The wanted arrays, or a ValueError that lists all that is wrong with them."""
    arrays = {name: np.asarray(array) for name, array in found.items() if name not in extra}
    fitting = {name: array.shape == wanted.get(name) for name, array in arrays.items()}
    kinds = {
        "missing": [name for name in wanted if name not in arrays],
        "left over": [name for name in arrays if name not in wanted],
        "misshapen": [
            f"{name} is {arrays[name].shape}, not {wanted[name]}"
            for name, fits in fitting.items()
            if name in wanted and not fits
        ],
        "NaN or infinite": [n for n, fits in fitting.items() if fits and not np.isfinite(arrays[n]).all()],
    }
    problems = [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise ValueError(
            f"perceptual: {os.fspath(path)} does not hold {what}: {'; '.join(problems)}. Give {way}"
        )
    return arrays


def _official(tree: Any) -> dict[str, tuple[int, ...]]:
    """torchvision's names and shapes, kernels as (out, in, height, width)."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        _name(keys): tuple(leaf.shape[i] for i in (3, 2, 0, 1)) if leaf.ndim == 4 else leaf.shape
        for keys, leaf in leaves
    }


def _name(path: Any) -> str:
    *layer, leaf = (entry.key for entry in path)
    return ".".join(["features", *layer, "weight" if leaf == "kernel" else "bias"])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
