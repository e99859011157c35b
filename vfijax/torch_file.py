"""`.pth` files to NumPy. The only module that imports torch."""

import os
from collections.abc import Mapping
from typing import Any


def read(path: str | os.PathLike[str], who: str) -> Mapping[str, Any]:
    """The mapping in a `.pth` file, with tensors as NumPy arrays.

    The file is loaded with `weights_only=True`: it can hold tensors and plain containers, and no code
    of a file is ever run. `who` reads it, and begins the messages.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: torch is not installed, the file is damaged, or it holds more than weights.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{who}: no file {os.fspath(path)}")
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{who}: reading .pth files needs PyTorch; install it with `pip install -e '.[convert]'` in a "
            "checkout of vfijax, or give the weights as NumPy arrays under the same names"
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
