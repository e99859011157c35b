"""Weights of PyTorch networks: reading, finding them in a file, checking, turning them to our layout.

The only module that imports torch, and with `vfijax.convert`'s tables of names the only one that knows how
PyTorch lays out weights: kernels OIHW where ours are HWIO, everything else alike.
"""

import errno
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # tells NumPy of bfloat16, which safetensors files may hold
import numpy as np

from vfijax.files import given_path

OIHW = (3, 2, 0, 1)  # axes of one of our kernels in PyTorch's order
HWIO = (2, 3, 1, 0)  # and the way back
_LISTED = 20  # entries per kind in an error


def to_hwio(array: np.ndarray) -> np.ndarray:
    """One of PyTorch's arrays in our layout."""
    return array.transpose(HWIO) if array.ndim == 4 else array


def oihw_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that one of our arrays has in PyTorch."""
    return tuple(shape[i] for i in OIHW) if len(shape) == 4 else shape


# ------------------------------------------------------------------------------------------- files


def read(path: str | os.PathLike[str], who: str) -> dict[str, Any]:
    """What `arrays` gives of a `.safetensors` or `.npz` file, or, with other suffixes, of one of PyTorch's.

    Files can hold tensors, numbers and plain containers (`weights_only=True`, `allow_pickle=False`), and no
    code of a file is ever run. `who` reads it, and begins the messages. `tables` finds weights in the result.

    Raises:
      FileNotFoundError, IsADirectoryError: there is no such file.
      ValueError: an empty path, the file is damaged, it holds more than weights, or the package that reads it
        (torch, safetensors) is not installed.
      OSError: the system cannot read it.
    """
    path = given_path(path, who)
    if path.is_dir():
        raise IsADirectoryError(f"{who}: {path} is a directory; give the file with the weights")
    if not path.is_file():
        raise FileNotFoundError(f"{who}: no file {path}")
    kind = path.suffix.lower()
    try:
        loaded = _READERS.get(kind, _read_pth)(path)
    except ImportError as error:
        package, extra = _PACKAGES.get(kind, "PyTorch"), "pip install -e '.[convert]'"
        raise ValueError(
            f"{who}: {path}: reading {kind or 'such'} files needs {package}; install it with `{extra}` in a "
            "checkout of vfijax, or give the weights as NumPy arrays (.npz) under the same names"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # of many kinds for damaged and for unsafe files
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{who}: {path} is not readable as weights ({_reason(error, kind)})") from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{who}: {path} is a {type(loaded).__name__}, not a table of weights")
    return arrays(loaded)


def _read_npz(path: Path) -> Any:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def _read_safetensors(path: Path) -> Any:
    from safetensors.numpy import load_file

    return load_file(path)


def _read_pth(path: Path) -> Any:
    import torch

    with warnings.catch_warnings(), torch.serialization.safe_globals(_numbers()):
        warnings.simplefilter("ignore")  # of what torch itself will change
        return torch.load(path, map_location="cpu", weights_only=True)


_READERS: dict[str, Callable[[Path], Any]] = {".npz": _read_npz, ".safetensors": _read_safetensors}
_PACKAGES = {".safetensors": "the package safetensors"}


def _numbers() -> list[Any]:
    """What NumPy's numbers, such as a score beside the weights, are made of in a file; none runs code."""
    scalar = np.float64(0).__reduce__()[0]
    types = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
    return [np.dtype, *types, scalar, (scalar, "numpy.core.multiarray.scalar")]


def _reason(error: Exception, kind: str) -> str:
    """Why a file is not readable; what the libraries say goes over pages, or is meant for their authors."""
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"it holds {found[1]}, which is code and not run; in PyTorch, save the weights alone with "
            "`torch.save(model.state_dict(), FILE)`"
        )
    if "Object arrays cannot be loaded" in str(error):
        return "it holds pickled objects, which can run code and are not read; save plain arrays"
    if "TorchScript" in str(error):
        return (
            "it is a TorchScript program; in PyTorch, save its weights with "
            "`torch.save(torch.jit.load(FILE).state_dict(), OTHER)`"
        )
    return f"it is damaged, cut off or no {kind if kind in _READERS else 'PyTorch'} file"


# ------------------------------------------------------------------------------------------ tables


def arrays(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Names to float32 arrays, or to a value that holds other than real numbers; mappings stay nested."""
    return {
        str(name): arrays(value) if isinstance(value, Mapping) else _array(value)
        for name, value in content.items()
    }


def _array(value: Any) -> Any:
    if hasattr(value, "detach") and not (value.is_complex() or value.is_quantized):
        value = value.detach().cpu().float() if value.device.type != "meta" else None
    if not hasattr(value, "__array__") and not isinstance(value, int | float):
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # of a sparse tensor
        return value
    if not np.can_cast(array.dtype, np.float32, "same_kind"):
        return value
    with np.errstate(over="ignore"):  # what is too large is infinite, and `problems` says so
        return array.astype(np.float32, copy=False)


def _is_real(value: Any) -> bool:
    """Whether `arrays` found real numbers."""
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def tables(content: Mapping[str, Any], names: Set[str]) -> dict[str, dict[str, Any]]:
    """The tables of weights in what a file holds, by where they are.

    Weights may be nested in dicts ("state_dict", "model_state", "ema.params", ...) and their names may have a
    prefix ("module.", "net._orig_mod.", ...), which is the same to us: it is the place, and is left out of
    the names. The place of weights that have neither is ".". A prefix counts where most of the `names` have
    it; only places where some of the `names` stand are given, or all where none does.

    Args:
      content: of `arrays`.
      names: those that the weights should have.

    Returns:
      Place to table. Single numbers, texts and the like that are not among the names are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, entries in _levels(content, ""):
        counts = Counter(p for key in entries if (p := _prefix(key, names)) is not None)
        prefixes = [p for p, count in counts.items() if 2 * count > len(names)] or [""]  # fewer is by chance
        for key, value in entries.items():
            prefix = max((p for p in prefixes if key.startswith(p)), key=len, default=None)
            if prefix is None:  # beside weights that all have a prefix
                continue
            name = key.removeprefix(prefix)
            if name in names or (_is_real(value) and value.ndim):
                found.setdefault((place + prefix).strip(".") or ".", {})[name] = value
    return {place: table for place, table in found.items() if names & table.keys()} or found


def _levels(content: Mapping[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping in a nest of them, with where it is: ("", ...), ("state_dict.", ...)."""
    yield place, {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _levels(value, f"{place}{key}.")


def _prefix(key: str, names: Set[str]) -> str | None:
    """What stands before one of the names in a key; the shortest such, None if it ends in none of them."""
    starts = (0, *(match.end() for match in re.finditer(r"\.", key)))
    return next((key[:start] for start in starts if key[start:] in names), None)


def nearest_table(found: Mapping[str, dict[str, Any]], wanted: Set[str]) -> dict[str, dict[str, Any]]:
    """Of some `tables` the one with the most of the wanted names; empty if there is none."""
    place = max(found, key=lambda place: len(wanted & found[place].keys()), default=None)
    return {} if place is None else {place: found[place]}


def problems(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Any]) -> str:
    """All that is wrong with a table that is to have these names and shapes; empty where nothing is."""
    there = {name: found[name] for name in wanted if name in found}
    shared = {name: value for name, value in there.items() if _is_real(value)}
    fitting = [name for name, array in shared.items() if array.shape == wanted[name]]
    kinds = {
        "missing": [name for name in wanted if name not in found],
        "left over": [name for name in found if name not in wanted],
        "not an array of real numbers": [name for name in there if name not in shared],
        "misshapen": [
            f"{name} is {array.shape}, not {wanted[name]}"
            for name, array in shared.items()
            if name not in fitting
        ],
        "NaN or infinite": [name for name in fitting if not np.isfinite(found[name]).all()],
    }
    return "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
