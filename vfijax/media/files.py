"""File names: suffixes, natural order, and names for files that are not complete yet."""

import os
import re
import secrets
from pathlib import Path

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


def natural_key(path: Path) -> tuple[list[str | int], ...]:
    """Sort key by which frame2 comes before frame10, folder by folder, the stem before the suffix."""
    parts = [*path.parent.parts, path.stem, path.suffix]
    # split leaves text at even and digits at odd places, so that text never meets a number
    return tuple([int(p) if i % 2 else p for i, p in enumerate(re.split(r"(\d+)", part))] for part in parts)


def unwritable(path: Path, error: OSError) -> OSError:
    """The error of the system in terms of the file that was to be written."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return OSError(error.errno, f"cannot write {path}: {reason}")


def partial_name(path: Path) -> Path:
    """A hidden, unused name in the folder of `path`, with its suffix: what is written before the rename."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
