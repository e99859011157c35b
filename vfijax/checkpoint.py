"""Models on disk: a directory with `config.json` and, for networks with parameters, an orbax tree."""

import dataclasses
import json
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import Widths
from vfijax.files import given_path, hidden_name, read_json, write_json, writing
from vfijax.models import ARCHITECTURES, DEFAULT, MODELS, ModelConfig, create, shapes
from vfijax.models.base import declared_graph
from vfijax.params import ModelParams
from vfijax.trees import CheckpointError, described, differences, read_tree, remove_tree, write_tree

__all__ = [
    "FORMAT",
    "CheckpointError",
    "check_target",
    "config_from_json",
    "config_to_json",
    "find",
    "is_checkpoint",
    "load",
    "load_config",
    "load_notes",
    "moved_aside",
    "put_back",
    "save",
]

FORMAT = 1  # raise when the layout of the directory or the meaning of a config field changes
_CONFIG, _TREE = "config.json", "tree"
_RESULTS = ("model", "compressed")  # where a run of train.main, or of train.compress, has its checkpoint


def config_to_json(config: ModelConfig) -> dict[str, Any]:
    """The fields of a config, and its architecture, as JSON can hold them."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    fields = {name: dict(value) if isinstance(value, Widths) else value for name, value in fields.items()}
    return {"architecture": config.architecture, **fields}


def config_from_json(stored: Any) -> ModelConfig:
    """What `config_to_json` described; raises CheckpointError for an unknown network, or fields that are
    missing, unknown or of another type."""
    if not isinstance(stored, dict):
        raise CheckpointError(f"config is {_json_type(stored)}; an object with an architecture is needed")
    fields = dict(stored)
    architecture = fields.pop("architecture", None)
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise CheckpointError(f"architecture {architecture!r} is unknown (known: {', '.join(ARCHITECTURES)})")
    kind = ARCHITECTURES[architecture]
    own, types = dataclasses.fields(kind), get_type_hints(kind)
    needed = {f.name for f in own if f.default is dataclasses.MISSING or f.name == "widths"}
    wrong = [f"{name} is missing" for name in sorted(needed - set(fields))]
    wrong += [f"{name} is unknown" for name in sorted(set(fields) - {f.name for f in own})]
    for name in sorted(set(fields) & {f.name for f in own}):
        if reason := _misfit(fields[name], types[name]):
            wrong.append(f"{name} is {json.dumps(fields[name])[:80]}, {reason}")
    if wrong:
        raise CheckpointError(f"config does not fit {architecture}: {'; '.join(wrong)}")
    values: dict[str, Any] = {
        name: Widths.of(value) if types[name] is Widths else value for name, value in fields.items()
    }
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:  # of the config itself
        raise CheckpointError(f"config does not fit {architecture}: {error}") from None


def _misfit(value: Any, kind: Any) -> str:
    """Why a value from JSON cannot be that of a field of some type; empty where it can."""
    if get_origin(kind) is Literal:
        return "" if value in get_args(kind) else f"not one of {', '.join(map(str, get_args(kind)))}"
    if kind is Widths:
        table = isinstance(value, dict) and all(type(width) is int and width > 0 for width in value.values())
        return "" if table else "not an object from channel space to width, 1 or more"
    if kind is int:
        return "" if type(value) is int and value >= 0 else "not a whole number, 0 or more"
    if kind in (bool, str):
        return "" if type(value) is kind else f"not {'true or false' if kind is bool else 'a string'}"
    return ""


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def check_target(path: str | os.PathLike[str]) -> None:
    """Raises what `save` would for this path, before the work whose result is to be saved.

    Raises:
      CheckpointError: something else is at `path`, or it is empty.
    """
    place = _place(path, "save")
    if place.exists() and not (place / _CONFIG).is_file():
        raise CheckpointError(f"{place} exists and is no checkpoint; give another path")


def _place(path: str | os.PathLike[str], who: str) -> Path:
    """The path that a user gave, absolute and without symbolic links: what is at the end of a link is read
    and replaced, never the link."""
    given = given_path(path, who, CheckpointError)
    try:
        return given.resolve()
    except (OSError, RuntimeError):
        raise CheckpointError(f"{given} is a symbolic link that leads back to itself; remove it") from None


def save(path: str | os.PathLike[str], params: ModelParams, **notes: Any) -> None:
    """Writes a model; an older one at `path` is replaced only when the new one is complete.

    Killed at any moment, it leaves the older model or the new one, where `load` finds it; what else it left
    is removed by the next call.

    Args:
      path: the directory to write; where it is a symbolic link, what the link names is written.
      params: the model; its parameters may be of any floating-point type, and are read as float32.
      **notes: values for `config.json` that say where the model comes from.

    Raises:
      CheckpointError: the path is empty, something else is there, or the parameters are not those of the
        config's network.
      TypeError: what is given is no model, or a note is nothing that JSON knows.
      OSError: it cannot be written.
    """
    check_target(path)
    path = _place(path, "save")
    _check_model(params)
    described = {"format": FORMAT, "config": config_to_json(params.config), "notes": notes}
    try:
        json.dumps(notes)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"save: the notes cannot be written as JSON ({error}); give numbers and text"
        ) from None
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    put_back(path)
    for left in _left_behind(path, "(partial|older)"):
        shutil.rmtree(left)
    scratch = hidden_name(path, f".{secrets.token_hex(4)}.partial")
    try:
        with writing(path):
            scratch.mkdir()
            if params.tree:  # orbax refuses empty trees
                write_tree(scratch / _TREE, params.tree)
            write_json(scratch / _CONFIG, described)
            if path.exists():
                older = scratch.with_suffix(".older")
                path.rename(older)
                scratch.rename(path)
                older.rename(scratch)  # removed below
            else:
                scratch.rename(path)
    finally:
        remove_tree(scratch)


def _check_model(params: Any) -> None:
    """Raises TypeError or CheckpointError unless this is a model that `load` would read again."""
    if not isinstance(params, ModelParams):
        raise TypeError(
            f"save: params is {type(params).__name__}; give ModelParams(tree, config), as create and load do"
        )
    config: ModelConfig = params.config
    if ARCHITECTURES.get(getattr(config, "architecture", "")) is not type(config):
        raise CheckpointError(
            f"save: {type(config).__name__} is not in vfijax.models.ARCHITECTURES, where load would look for "
            "it; enter it there under its architecture"
        )
    found, wanted = described(params.tree), described(_shapes(config, "save: the config"))
    if wrong := differences(found, wanted):
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"save: the parameters are not those of {config.name}: {'; '.join(wrong[:3])}{more}"
        )
    for at, leaf in jax.tree_util.tree_leaves_with_path(params.tree):
        is_array = isinstance(leaf, np.ndarray | jax.Array) and not isinstance(leaf, jax.core.Tracer)
        if not is_array or not jnp.issubdtype(leaf.dtype, jnp.floating):
            kind = leaf.dtype if is_array else type(leaf).__name__
            place = jax.tree_util.keystr(at, simple=True, separator="/")
            raise TypeError(f"save: {place} is {kind}; an array of floating-point numbers is needed")


def _shapes(config: ModelConfig, what: str) -> Any:
    """`shapes`, with whatever a config that cannot be built raises as CheckpointError."""
    try:
        return shapes(config)
    except Exception as error:
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        first = (str(reason).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{what} describes no network of vfijax ({first})") from error


def moved_aside(path: str | os.PathLike[str]) -> Path | None:
    """Where the checkpoint `path` is if `save` was killed after it had moved it and before the newer one had
    its name; None if there is none, or something is at `path`."""
    path = _place(path, "checkpoint")
    return None if path.exists() else next(iter(_left_behind(path, "older")), None)


def find(path: str | os.PathLike[str]) -> Path | None:
    """Where the checkpoint is that a path names, or that of the training run in it, or else that of the
    published weights that were fetched under this name; None if there is none."""
    place = _place(path, "checkpoint")
    for candidate in (place, *(place / name for name in _RESULTS)):
        if (candidate / _CONFIG).is_file():
            return candidate
        if aside := moved_aside(candidate):
            return aside
    from vfijax.weights.published import fetched

    return fetched(os.fspath(path))


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether `find` finds one; a directory that only has the name of a model is none."""
    return find(path) is not None


def put_back(path: str | os.PathLike[str]) -> None:
    """Gives such a checkpoint its name again. For those who write there; `load` finds it without."""
    if aside := moved_aside(path):
        aside.rename(_place(path, "checkpoint"))


def _left_behind(path: Path, suffix: str) -> list[Path]:
    """What a killed `save` of `path` left beside it; newest first."""
    if not path.parent.is_dir():
        return []
    begin = hidden_name(path, ".00000000.partial").name.removesuffix(".00000000.partial")
    pattern = re.compile(rf"{re.escape(begin)}\.[a-z0-9_]{{8}}\.{suffix}")
    found = [place for place in path.parent.iterdir() if pattern.fullmatch(place.name) and place.is_dir()]
    return sorted(found, key=lambda place: place.stat().st_mtime, reverse=True)


def load(path: str | os.PathLike[str] | None = None) -> ModelParams:
    """Reads a model that `save` wrote; without a path, the model that works out of the box.

    Args:
      path: the directory, or that of a training run, whose `model` is read; or a name: of published weights
        that `vfijax fetch` has fetched ("cdfi"), of a model whose weights come with the package ("guided"),
        or that has none ("flow"). None gives `vfijax.models.DEFAULT`, which needs no file.

    Raises:
      CheckpointError: no checkpoint there, one of another format version, or a damaged one; an empty path.
    """
    if path is None:
        return create(DEFAULT, 0)
    from vfijax import weights  # which stores configs as this module does

    if name := _own_name(path):
        return weights.read(name) if name in weights.SHIPPED else create(name, 0)
    place, config, _ = _opened(path)
    like = shapes(config)
    if not like:
        return ModelParams({}, config)
    try:
        return ModelParams(read_tree(place / _TREE, like), config)
    except CheckpointError as error:
        raise CheckpointError(f"{place} is incomplete or damaged and cannot be read ({error})") from error


def _own_name(path: str | os.PathLike[str]) -> str:
    """The name of the model where a path stands for one that comes with vfijax; empty where it does not."""
    from vfijax.weights import SHIPPED

    name = os.fspath(given_path(path, "load", CheckpointError))
    known = name in SHIPPED or (name in MODELS and not MODELS[name].learned)
    return name if known and not is_checkpoint(path) else ""


def load_config(path: str | os.PathLike[str]) -> ModelConfig:
    """The network of what `load` would read, without its parameters; raises CheckpointError as that does."""
    from vfijax import weights

    if name := _own_name(path):
        return weights.read_config(name) if name in weights.SHIPPED else MODELS[name]
    return _opened(path)[1]


def load_notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `save` was told beside the model; raises CheckpointError as `load` does."""
    return _opened(path)[2]


def _opened(path: str | os.PathLike[str]) -> tuple[Path, ModelConfig, dict[str, Any]]:
    """Where the checkpoint of a path is, and what its `config.json` says: the network, and the notes."""
    place = find(path)
    if place is None:
        from vfijax.weights.resolve import hint

        there = _place(path, "load")
        raise CheckpointError(f"no checkpoint at {there} {_why_none(there, hint(os.fspath(path)))}")
    file = place / _CONFIG
    described = read_json(file)
    if not isinstance(described, dict) or not {"format", "config"} <= set(described):
        raise CheckpointError(f"{file} is damaged; the checkpoint cannot be read")
    version, notes = described["format"], described.get("notes", {})
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(
            f"{place} has checkpoint format {version}, this version of vfijax reads format {FORMAT}; "
            "use the version that wrote it, or convert or train the model again"
        )
    try:
        config = config_from_json(described["config"])
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    _shapes(config, f"{file}")
    if unknown := sorted(set(getattr(config, "widths", {})) - _spaces(config)):
        raise CheckpointError(f"{file}: {config.name} has no channel space {', '.join(unknown)}")
    return place, config, notes if isinstance(notes, dict) else {}


def _spaces(config: ModelConfig) -> set[str]:
    """The channel spaces that a table of widths may have: of the layers, or of variants with more."""
    graph, own = declared_graph(config), set(getattr(config, "widths", {}))
    if graph is None:
        return own
    layers = {space for edge in graph.edges for space in (*edge.inputs, edge.output)}
    variants = (model for model in MODELS.values() if type(model) is type(config))
    return layers.union(*(getattr(model, "widths", {}) for model in variants))


def _why_none(place: Path, hint: str) -> str:
    """What is wrong with a path at which there is no checkpoint, and where one might be; `hint` is what the
    name alone says about that."""
    if (place.parent / _CONFIG).is_file():
        return f"(it is a part of one); give {place.parent}"
    if place.is_file():
        return (
            "(it is a file); a checkpoint is a directory, and `vfijax convert MODEL FILE CHECKPOINT` makes "
            "one of published weights"
        )
    inner = [
        file.parent for depth in ("*", "*/*", "*/*/*") for file in sorted(place.glob(f"{depth}/{_CONFIG}"))
    ]
    if inner:
        more = f" and {len(inner) - 3} more" if len(inner) > 3 else ""
        return f"(no {_CONFIG}); inside of it are {', '.join(map(str, inner[:3]))}{more}: give one of them"
    if (place / "run.json").is_file():
        return f"(no {_CONFIG}); it is a training run that has no model yet"
    way = "make one with `vfijax convert` from published weights, or with `python -m train.main`"
    return f"(no {_CONFIG}){hint}; {way}"
