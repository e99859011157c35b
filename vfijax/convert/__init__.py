"""Published PyTorch weights to `ModelParams`."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax import torch_weights
from vfijax.command import nearest
from vfijax.convert.names import NAMES, OLDER
from vfijax.models import MODELS, ModelConfig, config_for, shapes
from vfijax.params import ModelParams

__all__ = ["CONVERTIBLE", "from_torch", "official_shapes"]

CONVERTIBLE = tuple(name for name, config in MODELS.items() if config.architecture in NAMES)

# architecture: changes of its configs under which weights were published, besides none
_GRIDS: tuple[dict[str, Any], ...] = ({"taps": 5, "dilation": 1}, {"taps": 11, "dilation": 2})
_VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "adacof": _GRIDS,
    "cdfi": _GRIDS,
    "dsepconv": tuple({"taps": taps, "masks": masks} for taps in (1, 3, 5, 7) for masks in (True, False)),
}


def from_torch(
    name: str,
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    entry: str | None = None,
    **changes: Any,
) -> ModelParams:
    """Converts published weights.

    Args:
      name: the entry of `MODELS` that the weights belong to.
      source: the path of a `.pth` file (read with weights-only loading; needs the `convert` extra), of a
        `.safetensors` file or of a `.npz`, or a mapping of official names to arrays or tensors in PyTorch
        layout. Where in it the weights are is found by their names: in nested dicts of any name
        (`state_dict`, `model_state`, `params_ema`, ...), under any prefix (`module.`, `net.`, `_orig_mod.`,
        ...), beside numbers. SepConv's older names (`module` for `net`) are known.
      entry: where they are, if there are several that fit: the names of the nested dicts and the prefix,
        joined by dots; "." is the source itself.
      **changes: fields of the config, such as `taps`. `rounding` is "trunc" unless given, because the
        published networks were trained with it.

    Raises:
      ValueError: entries are missing, left over, misshapen or not finite (all are listed, with the model
        whose table would fit), several tables fit and `entry` names none of them, the file is damaged or its
        path empty, or the model is unknown.
      TypeError: the source is neither a path nor a mapping.
      FileNotFoundError: there is no such file.
    """
    config = _published_config(name, changes)
    if isinstance(source, Mapping):
        content, about = torch_weights.arrays(source), "convert"
    else:
        content, about = torch_weights.read(source, "convert"), f"convert: {os.fspath(source)}"
    where, weights = _chosen(content, config, entry, about)
    wanted = official_shapes(config)
    if problems := torch_weights.problems(wanted, weights):
        fits = _shapes(weights) == wanted
        advice = "" if fits else f". {_better(name, content, len(weights))}"
        raise ValueError(f"{about}: the weights{where} do not fit {name}: {problems}{advice}")

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


def _tables(content: Mapping[str, Any], config: ModelConfig) -> dict[str, dict[str, Any]]:
    """Where in a file weights of this network may be, and what is there, by the names of present files."""
    old, new = OLDER.get(config.architecture, ("", ""))
    present = official_shapes(config)
    found: dict[str, dict[str, Any]] = {}
    for begin in dict.fromkeys((new, old)):  # the spellings of the names
        names = {begin + name.removeprefix(new): name for name in present}
        for place, table in torch_weights.tables(content, names.keys()).items():
            found[place] = {names.get(key, key): value for key, value in table.items()}
    return found


def _chosen(
    content: Mapping[str, Any], config: ModelConfig, entry: str | None, about: str
) -> tuple[str, dict[str, Any]]:
    """The table to convert, after words that say where it is; if none has all names, that which has most."""
    found, wanted = _tables(content, config), official_shapes(config)
    if entry is not None:
        if entry not in found:
            there = f"; it has {', '.join(found)}" if found else ""
            raise ValueError(f"{about}: no weights at the entry {entry!r}{there}{nearest(entry, found)}")
        found = {entry: found[entry]}
    whole = {place: table for place, table in found.items() if wanted.keys() <= table.keys()}
    fitting = {place: table for place, table in whole.items() if wanted.items() <= _shapes(table).items()}
    whole = fitting or whole
    if len(whole) > 1:
        raise ValueError(
            f"{about}: {len(whole)} tables of weights fit {config.name}: {', '.join(whole)}; choose with "
            f"`--entry {next(reversed(whole))}` (in Python, entry=...)"
        )
    place, table = next(iter((whole or torch_weights.nearest_table(found, wanted.keys())).items()), (".", {}))
    return f" in {place}" if whole and place != "." else "", table


def _shapes(table: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in table.items()}


def _better(name: str, content: Mapping[str, Any], count: int) -> str:
    """A sentence that says which model the weights would fit."""
    plain: list[tuple[str, dict[str, Any]]] = [(other, {}) for other in CONVERTIBLE]
    others = [(o, changes) for o, _ in plain for changes in _VARIANTS.get(MODELS[o].architecture, ())]
    for other, changes in plain + others:
        config = config_for(other, **changes)
        wanted = official_shapes(config)
        if any(_shapes(table) == wanted for table in _tables(content, config).values()):
            settings = "".join(f", {key}={value}" for key, value in changes.items())
            return f"They are the weights of {other}{settings}"
    wanted_count = len(official_shapes(config_for(name)))
    return f"No model fits; {name} has {wanted_count} entries, these are {count}"
