"""Trees of arrays on disk, by orbax, with checksums of its files."""

import logging
import os
import re
import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from vfijax.files import read_json, unwritable, write_json

_SUMS = "checksums.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written; the message says why and what to do."""


def write_tree(path: Path, tree: Any) -> None:
    """Writes arrays to a new directory, which has its name only when complete.

    Killed, it leaves what begins with that name and has `.tmp` in it.

    Raises:
      OSError: the system cannot write it.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _write_alone(unfinished, tree)
        write_json(unfinished / _SUMS, _checksums(unfinished))
        unfinished.rename(path)
    except ValueError as error:  # of tensorstore
        raise unwritable(path, _of_system(error) or OSError("orbax cannot write these arrays")) from error


def _of_system(error: Exception) -> OSError | None:
    """The system's error that a library has put into the text of its own."""
    number = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(number[1]), "") if number else None


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


@contextmanager
def _quiet() -> Iterator[None]:
    """orbax logs pages about what it also raises."""

    def silent(record: logging.LogRecord) -> bool:
        return False

    logging.getLogger("absl").addFilter(silent)
    try:
        yield
    finally:
        logging.getLogger("absl").removeFilter(silent)


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
        with context, _quiet():
            stored = ocp.metadata(path).metadata
            if wrong := differences(described(stored), described(like)):
                raise CheckpointError(wrong[0])
            return ocp.load(path, like)
    except CheckpointError:
        raise
    except Exception as error:  # orbax raises many kinds, with texts for its authors
        system = _of_system(error)
        reason = os.strerror(system.errno or 0) if system else f"orbax cannot read {path.name}"
        raise CheckpointError(reason) from error


def _checksums(path: Path) -> dict[str, int]:
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != _SUMS)
    return {str(file.relative_to(path)): zlib.crc32(file.read_bytes()) for file in files}


def _check_files(path: Path) -> None:
    """Before orbax reads: it reports a damaged file late, and leaves its other reads hanging."""
    if not path.is_dir():
        raise CheckpointError(f"{path.name} is missing")
    if not (path / _SUMS).is_file():
        raise CheckpointError(f"{path.name}/{_SUMS} is missing")
    sums, found = read_json(path / _SUMS), _checksums(path)
    if not isinstance(sums, dict) or not sums:
        raise CheckpointError(f"{path.name}/{_SUMS} is damaged")
    for name, checksum in sums.items():
        if found.get(name) != checksum:
            state = "has changed since it was written" if name in found else "is missing"
            raise CheckpointError(f"{path.name}/{name} {state}")


def described(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path to shape of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(at, simple=True, separator="/"): tuple(np.shape(leaf)) for at, leaf in leaves
    }


def differences(found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> list[str]:
    """What is other than the network has it."""
    return [
        f"{at} is {found.get(at, 'absent')}, the network has {wanted.get(at, 'no such array')}"
        for at in sorted({**found, **wanted})
        if found.get(at) != wanted.get(at)
    ]


def remove_tree(scratch: Path) -> None:
    """Removes what is unfinished, when orbax' threads, which go on after an error, no longer write there."""
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("orbax"):
            threading.Thread.join(thread, timeout=10)  # their own would raise the error again
    shutil.rmtree(scratch, ignore_errors=True)
