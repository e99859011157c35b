"""What a number was made with: versions, device, commit."""

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
import numpy as np

from vfijax import __version__


def environment() -> dict[str, str]:
    """Versions and device, which a score should be reported with."""
    device = jax.devices()[0]
    return {
        "vfijax": __version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": f"{device.platform}: {device.device_kind}",
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Package to version; None for one that is not installed."""

    def found(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    return {package: found(package) for package in packages}


def commit(folder: Path, digits: int = 40) -> str | None:
    """Commit of the checkout that a folder lies in, with `+` when files differ from it; None outside git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", f"--short={digits}", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
