"""Published PyTorch weights to `ModelParams`."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vfijax import torch_weights
from vfijax.convert.names import NAMES, OLDER
from vfijax.models import MODELS, ModelConfig, config_for, shapes
from vfijax.params import ModelParams

__all__ = ["CONVERTIBLE", "from_torch", "official_shapes"]

CONVERTIBLE = tuple(name for name, config in MODELS.items() if config.architecture in NAMES)

T = TypeVar("T")

# architecture: changes of its configs under which weights were published, besides none
_GRIDS: tuple[dict[str, Any], ...] = ({"taps": 5, "dilation": 1}, {"taps": 11, "dilation": 2})
_VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "adacof": _GRIDS,
    "cdfi": _GRIDS,
    "dsepconv": tuple({"taps": taps, "masks": masks} for taps in (1, 3, 5, 7) for masks in (True, False)),
}

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # entries under which files nest the weights
_PREFIXES = ("module.", "model.")  # left by parallel and by wrapping modules
_COUNTER = ".num_batches_tracked"  # of a batch normalisation; has no part in its result


def from_torch(name: str, source: str | os.PathLike[str] | Mapping[str, Any], **changes: Any) -> ModelParams:
    """Converts published weights.

    Args:
      name: the entry of `MODELS` that the weights belong to.
      source: the path of a `.pth` file (read with weights-only loading; needs the `convert` extra) or of a
        `.npz` with the same names, or a mapping of official names to NumPy arrays in PyTorch layout. A
        nested `state_dict`, the prefixes `module.` and `model.`, and SepConv's older names (`module` for
        `net`) are seen through.
      **changes: fields of the config, such as `taps`. `rounding` is "trunc" unless given, because the
        published networks were trained with it.

    Raises:
      ValueError: entries are missing, left over, misshapen or not finite (all are listed, with the
        model whose table would fit), the file is damaged, or the model is unknown.
      FileNotFoundError: there is no such file.
    """
    config = _published_config(name, changes)
    weights = source if isinstance(source, Mapping) else torch_weights.read(source, "convert")
    given = {key: np.asarray(value) for key, value in _unwrap(weights).items()}
    weights = _renamed(given, config.architecture)
    wanted = official_shapes(config)
    if problems := torch_weights.problems(wanted, weights):
        fits = {key: value.shape for key, value in weights.items()} == wanted
        advice = "" if fits else f". {_better(name, {key: value.shape for key, value in given.items()})}"
        raise ValueError(f"convert: the weights do not fit {name}: {problems}{advice}")

    official = NAMES[config.architecture]

    def pick(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        keys = tuple(entry.key for entry in path)
        return jnp.asarray(torch_weights.to_hwio(weights[official(keys)]), leaf.dtype)

    return ModelParams(jax.tree_util.tree_map_with_path(pick, shapes(config)), config)


def official_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape, in PyTorch layout, of every entry in a published file of this network."""
    official = NAMES[config.architecture]
    table = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes(config)):
        keys = tuple(entry.key for entry in path)
        table[official(keys)] = torch_weights.oihw_shape(leaf.shape)
    return table


def _published_config(name: str, changes: dict[str, Any]) -> ModelConfig:
    config = config_for(name, **changes)
    if config.architecture not in NAMES:
        raise ValueError(f"convert: {name} has no published weights; those of {', '.join(CONVERTIBLE)} exist")
    if hasattr(config, "rounding") and "rounding" not in changes:
        config = config.replace(rounding="trunc")
    return config


def _unwrap(weights: Mapping[str, Any]) -> dict[str, Any]:
    for wrapper in _WRAPPERS:
        if isinstance(weights.get(wrapper), Mapping):
            return _unwrap(weights[wrapper])
    for prefix in _PREFIXES:
        if weights and all(key.startswith(prefix) for key in weights):
            return _unwrap({key.removeprefix(prefix): value for key, value in weights.items()})
    return {key: value for key, value in weights.items() if not key.endswith(_COUNTER)}


def _renamed(entries: Mapping[str, T], architecture: str) -> dict[str, T]:
    """Entries of an older file by the names of the present one."""
    old, new = OLDER.get(architecture, ("", ""))
    return {new + key.removeprefix(old) if key.startswith(old) else key: v for key, v in entries.items()}


def _better(name: str, found: dict[str, tuple[int, ...]]) -> str:
    """A sentence that says which model the weights would fit."""
    plain: list[tuple[str, dict[str, Any]]] = [(other, {}) for other in CONVERTIBLE]
    others = [(o, changes) for o, _ in plain for changes in _VARIANTS.get(MODELS[o].architecture, ())]
    for other, changes in plain + others:
        config = config_for(other, **changes)
        if official_shapes(config) == _renamed(found, config.architecture):
            settings = "".join(f", {key}={value}" for key, value in changes.items())
            return f"They are the weights of {other}{settings}"
    wanted = len(official_shapes(config_for(name)))
    return f"No model fits; {name} has {wanted} entries, these are {len(found)}"
