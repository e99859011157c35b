"""Weights of PyTorch networks: reading, checking, turning them to our layout.

The only module that imports torch, and with `vfijax.convert`'s tables of names the only one that knows how
PyTorch lays out weights: kernels OIHW where ours are HWIO, everything else alike.
"""

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

OIHW = (3, 2, 0, 1)  # axes of one of our kernels in PyTorch's order
HWIO = (2, 3, 1, 0)  # and the way back
_LISTED = 20  # entries per kind in an error


def to_hwio(array: np.ndarray) -> np.ndarray:
    """One of PyTorch's arrays in our layout."""
    return array.transpose(HWIO) if array.ndim == 4 else array


def oihw_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that one of our arrays has in PyTorch."""
    return tuple(shape[i] for i in OIHW) if len(shape) == 4 else shape


def read(path: str | os.PathLike[str], who: str) -> Mapping[str, Any]:
    """The mapping in a `.pth` file, with tensors as NumPy arrays, or in a `.npz` with the same names.

    Files can hold tensors and plain containers (`weights_only=True`, `allow_pickle=False`), and no code of
    a file is ever run. `who` reads it, and begins the messages.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, it holds more than weights, or it is no `.npz` and torch is not
        installed.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{who}: no file {os.fspath(path)}")
    return _read_npz(path, who) if os.fspath(path).endswith(".npz") else _read_pth(path, who)


def _read_npz(path: str | os.PathLike[str], who: str) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{who}: {os.fspath(path)} is not readable as arrays ({error})") from None


def _read_pth(path: str | os.PathLike[str], who: str) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{who}: reading .pth files needs PyTorch; install it with `pip install -e '.[convert]'` in a "
            "checkout of vfijax, or give the weights as NumPy arrays (.npz) under the same names"
        ) from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged and for unsafe files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{who}: {os.fspath(path)} is not readable as weights ({reason})") from None
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{who}: {os.fspath(path)} is a {type(loaded).__name__}, not a table of weights")
    return _to_numpy(loaded)


def _to_numpy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _to_numpy(item) for name, item in value.items()}
    return value.detach().float().numpy() if hasattr(value, "detach") else value


def problems(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, np.ndarray]) -> str:
    """All that is wrong with arrays that are to have these names and shapes; empty where nothing is."""
    shared = {name: found[name] for name in wanted if name in found}
    fitting = [name for name, array in shared.items() if array.shape == wanted[name]]
    kinds = {
        "missing": [name for name in wanted if name not in found],
        "left over": [name for name in found if name not in wanted],
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
