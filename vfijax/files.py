"""Files: their names and suffixes, natural order, and writing that is complete or not there at all."""

import hashlib
import json
import math
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
VIDEO_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".wmv",
    ".flv",
)
NAME_BYTES = 255  # the longest name of a file on the usual file systems


def natural_key(path: Path) -> tuple[list[str | int], ...]:
    """Sort key by which frame2 comes before frame10, folder by folder, the stem before the suffix."""
    parts = [*path.parent.parts, path.stem, path.suffix]
    # split leaves text at even and digits at odd places, so that text never meets a number
    return tuple([int(p) if i % 2 else p for i, p in enumerate(re.split(r"(\d+)", part))] for part in parts)


def cache_folder() -> Path:
    """Where vfijax keeps what it can get or make again: VFIJAX_CACHE, else the platform's folder for such.

    Raises:
      ValueError: it is not known which folder is the user's.
    """
    if given := os.environ.get("VFIJAX_CACHE"):
        return Path(os.path.expanduser(given)).absolute()
    where = {
        "darwin": ("", "~/Library/Caches/vfijax"),
        "win32": (os.environ.get("LOCALAPPDATA", ""), "~/AppData/Local/vfijax"),
    }
    base, usual = where.get(sys.platform, (os.environ.get("XDG_CACHE_HOME", ""), "~/.cache/vfijax"))
    folder = Path(base, "vfijax") if os.path.isabs(base) else Path(os.path.expanduser(usual))
    if not folder.is_absolute():
        raise ValueError("there is no home folder to keep files in; name a folder in VFIJAX_CACHE")
    return folder


def given_path(path: str | os.PathLike[str], who: str, error: type[ValueError] = ValueError) -> Path:
    """The path that a user gave to `who`, which begins the messages.

    Raises:
      error: it is empty, which `Path` would take for the present directory.
      TypeError: it is no path.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{who}: the path is {type(path).__name__}; give a str or a pathlib.Path")
    if not os.fspath(path):
        raise error(f"{who}: the path is an empty string; name a file or folder ('.' is the present one)")
    if "\0" in os.fspath(path):
        raise error(f"{who}: the path {os.fspath(path)!r} has a null character in it, which no name has")
    return Path(path)


def behind_link(path: Path) -> Path:
    """What a symbolic link names, which is written in its place; any other path as it is.

    Raises:
      OSError: the link leads back to itself.
    """
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError):
        raise OSError(f"cannot write {path}: it is a symbolic link that leads back to itself") from None


def unwritable(path: Path, error: OSError) -> OSError:
    """The error of the system in terms of the file that was to be written."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return OSError(error.errno, f"cannot write {path}: {reason}")


def hidden_name(path: Path, end: str) -> Path:
    """The name of `path`, hidden and with an `end`, in the same folder; legal wherever `path` is.

    What a long name has too much is left out, and eight digits of its hash tell it from others like it.
    """
    name, room = os.fsencode(path.name), NAME_BYTES - 1 - len(os.fsencode(end))
    if len(name) <= room:
        return path.with_name(f".{path.name}{end}")
    kept = name[: room - 9].decode(errors="ignore")
    return path.with_name(f".{kept}~{hashlib.sha256(name).hexdigest()[:8]}{end}")


def partial_name(path: Path) -> Path:
    """A hidden, unused name in the folder of `path`, with its suffix: what is written before the rename."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    suffix = path.suffix if len(path.suffix) < 16 else ""  # a longer one is part of a name
    return hidden_name(
        path.with_name(path.name.removesuffix(suffix)), f".{secrets.token_hex(4)}.partial{suffix}"
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the system in the block, as OSError in terms of the file that is written."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields the name to write to; the file gets the name `path` when the block ends without an error.

    Raises:
      OSError: it cannot be written; it says which file and why, and what was begun is removed.
    """
    path = behind_link(given_path(path, "write"))
    partial = partial_name(path)
    try:
        with writing(path):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file, UTF-8, that appears under its name only when complete."""
    with complete(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes JSON that appears under its name only when complete; numbers that are not finite become text."""
    write_text(path, json.dumps(_strict(content), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file of ours holds; None if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed `.npz` that appears under its name only when complete."""
    with complete(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle


def _strict(content: Any) -> Any:
    """JSON knows no infinity, but PSNR does."""
    if isinstance(content, Mapping):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_strict(value) for value in content]
    return str(content) if isinstance(content, float) and not math.isfinite(content) else content
