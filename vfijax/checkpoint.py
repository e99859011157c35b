"""Models on disk: a directory with `config.json` and, for networks with parameters, an orbax tree."""

import dataclasses
import json
import logging
import os
import re
import secrets
import shutil
import threading
import zlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from vfijax.channels import Widths
from vfijax.files import hidden_name, unwritable, write_json, writing
from vfijax.models import ARCHITECTURES, DEFAULT, ModelConfig, create, shapes
from vfijax.params import ModelParams

FORMAT = 1  # raise when the layout of the directory or the meaning of a config field changes
_CONFIG, _TREE, _SUMS = "config.json", "tree", "checksums.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read; the message says why and what to do."""


def config_to_json(config: ModelConfig) -> dict[str, Any]:
    """The fields of a config, and its architecture, as JSON can hold them."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    fields = {name: dict(value) if isinstance(value, Widths) else value for name, value in fields.items()}
    return {"architecture": config.architecture, **fields}


def config_from_json(stored: dict[str, Any]) -> ModelConfig:
    """What `config_to_json` described; raises CheckpointError for an unknown network or field."""
    stored = dict(stored)
    architecture = stored.pop("architecture", None)
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"architecture {architecture!r} is unknown (known: {', '.join(ARCHITECTURES)})")
    fields: dict[str, Any] = {
        name: Widths.of(value) if isinstance(value, dict) else value for name, value in stored.items()
    }
    try:
        return ARCHITECTURES[architecture](**fields)
    except TypeError as error:
        raise CheckpointError(f"config does not fit {architecture}: {error}") from None


def save(path: str | os.PathLike[str], params: ModelParams, **notes: Any) -> None:
    """Writes a model; an older one at `path` is replaced only when the new one is complete.

    Killed at any moment, it leaves the older model or the new one, where `load` finds it; what else it left
    is removed by the next call.

    Args:
      path: the directory to write.
      params: the model.
      **notes: values for `config.json` that say where the model comes from.

    Raises:
      CheckpointError: something else is at `path`.
      OSError: it cannot be written.
    """
    path = Path(path).absolute()
    if path.exists() and not (path / _CONFIG).exists():
        raise CheckpointError(f"{path} exists and is no checkpoint; give another path")
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
            described = {"format": FORMAT, "config": config_to_json(params.config), "notes": notes}
            write_json(scratch / _CONFIG, described)
            if path.exists():
                older = scratch.with_suffix(".older")
                path.rename(older)
                scratch.rename(path)
                older.rename(scratch)  # removed below
            else:
                scratch.rename(path)
    finally:
        _remove(scratch)


def _remove(scratch: Path) -> None:
    """Removes what is unfinished, when orbax' threads, which go on after an error, no longer write there."""
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("orbax"):
            threading.Thread.join(thread, timeout=10)  # their own would raise the error again
    shutil.rmtree(scratch, ignore_errors=True)


def moved_aside(path: str | os.PathLike[str]) -> Path | None:
    """Where the checkpoint `path` is if `save` was killed after it had moved it and before the newer one had
    its name; None if there is none, or something is at `path`."""
    path = Path(path).absolute()
    return None if path.exists() else next(iter(_left_behind(path, "older")), None)


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether `save` wrote something there; a directory that only has the name of a model is none."""
    return (Path(path) / _CONFIG).is_file() or moved_aside(path) is not None


def put_back(path: str | os.PathLike[str]) -> None:
    """Gives such a checkpoint its name again. For those who write there; `load` finds it without."""
    aside = moved_aside(path)
    if aside:
        aside.rename(path)


def _left_behind(path: Path, suffix: str) -> list[Path]:
    """What a killed `save` of `path` left beside it; newest first."""
    if not path.parent.is_dir():
        return []
    begin = hidden_name(path, ".00000000.partial").name.removesuffix(".00000000.partial")
    pattern = re.compile(rf"{re.escape(begin)}\.[a-z0-9_]{{8}}\.{suffix}")
    found = [place for place in path.parent.iterdir() if pattern.fullmatch(place.name) and place.is_dir()]
    return sorted(found, key=lambda place: place.stat().st_mtime, reverse=True)


def write_tree(path: Path, tree: Any) -> None:
    """Writes arrays to a new directory, which has its name only when complete.

    Raises:
      OSError: the system cannot write it.
    """
    try:
        _write_alone(path, tree)
    except ValueError as error:  # of tensorstore, with the system's number in its text
        if number := re.search(r"os_error_code='(\d+)'", str(error)):
            raise unwritable(path, OSError(int(number[1]), "")) from error
        raise
    write_json(path / _SUMS, _checksums(path))


def _write_alone(path: Path, tree: Any) -> None:
    """Of several processes the one that calls this writes alone; orbax's newer interface would wait for
    the others, and its older one, which the newer reads, can be told not to."""
    ocp = _orbax()
    if jax.process_count() == 1:
        ocp.save(path, tree)
        return
    import orbax.checkpoint as classic

    own = jax.process_index()
    options = classic.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    )
    handler = classic.PyTreeCheckpointHandler(multiprocessing_options=options)
    with classic.Checkpointer(handler, multiprocessing_options=options) as writer:
        writer.save(path, jax.device_get(tree))


@cache
def _orbax() -> ModuleType:
    """The library, imported when it is needed; its threads log what they raise, with pages of traceback, and
    whoever called them gets the same error."""
    from orbax.checkpoint import v1 as ocp

    logging.getLogger("absl").addFilter(lambda record: "_SignalingThread" not in str(record.msg))
    return ocp


def read_tree(path: Path, like: Any) -> Any:
    """The arrays that `write_tree` wrote, on the first device of this process, which reads alone.

    Args:
      path: the directory.
      like: the tree with the shapes and dtypes of its leaves.

    Raises:
      CheckpointError: it is missing, incomplete, damaged or of other shapes; the message is the reason.
    """
    ocp = _orbax()
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device), like)
    _check_files(path)
    own, context = jax.process_index(), ocp.Context()
    context.multiprocessing.primary_host = own
    context.multiprocessing.active_processes = {own}
    context.multiprocessing.barrier_sync_key_prefix = f"process_{own}"
    try:
        with context:
            _check_shapes(ocp.metadata(path).metadata, like)
            return ocp.load(path, like)
    except CheckpointError:
        raise
    except Exception as error:  # orbax raises many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(reason) from error


def _checksums(path: Path) -> dict[str, int]:
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != _SUMS)
    return {str(file.relative_to(path)): zlib.crc32(file.read_bytes()) for file in files}


def _check_files(path: Path) -> None:
    """Before orbax reads: it reports a damaged file late, and leaves its other reads hanging."""
    if not path.is_dir():
        raise CheckpointError(f"{path.name} is missing")
    if not (path / _SUMS).exists():
        return  # written before there were checksums, or killed just before them
    found = _checksums(path)
    for name, checksum in json.loads((path / _SUMS).read_text()).items():
        if found.get(name) != checksum:
            state = "has changed since it was written" if name in found else "is missing"
            raise CheckpointError(f"{path.name}/{name} {state}")


def _check_shapes(stored: Any, wanted: Any) -> None:
    described = [
        {
            jax.tree_util.keystr(at, simple=True, separator="/"): tuple(leaf.shape)
            for at, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (stored, wanted)
    ]
    for at in sorted(set().union(*described)):
        shapes_there = [shapes_of.get(at, "absent") for shapes_of in described]
        if shapes_there[0] != shapes_there[1]:
            raise CheckpointError(f"{at} is {shapes_there[0]}, the network has {shapes_there[1]}")


def load(path: str | os.PathLike[str] | None = None) -> ModelParams:
    """Reads a model that `save` wrote; without a path, the model that works out of the box.

    Args:
      path: the directory, or the name of a model whose weights come with the package (`vfijax.weights`); None
        gives `vfijax.models.DEFAULT`, which needs no file.

    Raises:
      CheckpointError: no checkpoint there, one of another format version, or an incomplete one.
    """
    if path is None:
        return create(DEFAULT, 0)
    from vfijax import weights  # which stores configs as this module does

    if os.fspath(path) in weights.SHIPPED and not is_checkpoint(path):
        return weights.read(os.fspath(path))
    path = moved_aside(path) or Path(path).absolute()
    config = load_config(path)
    like = shapes(config)
    if not like:
        return ModelParams({}, config)
    try:
        return ModelParams(read_tree(path / _TREE, like), config)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is incomplete or damaged and cannot be read ({error})") from error


def load_config(path: str | os.PathLike[str]) -> ModelConfig:
    """The network of a checkpoint, without its parameters; raises CheckpointError as `load` does."""
    path = moved_aside(path) or Path(path).absolute()
    if not (path / _CONFIG).is_file():
        raise CheckpointError(
            f"no checkpoint at {path} (no {_CONFIG}); make one with `vfijax convert` from published "
            "weights, or with `python -m train.main`"
        )
    try:
        stored = json.loads((path / _CONFIG).read_text())
        version = stored["format"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path / _CONFIG} is damaged; the checkpoint cannot be read") from None
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, this version of vfijax reads format {FORMAT}; "
            "use the version that wrote it, or convert or train the model again"
        )
    return config_from_json(stored["config"])
