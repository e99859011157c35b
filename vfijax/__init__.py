"""Video frame interpolation in JAX."""

import importlib
from typing import Any

__all__ = ["MODELS", "ModelParams", "create", "interpolate", "interpolate_n", "load", "save", "zoom"]
__version__ = "0.1.0"

_NAMES = {
    "MODELS": "vfijax.models",
    "create": "vfijax.models",
    "ModelParams": "vfijax.params",
    "interpolate": "vfijax.pairs",
    "interpolate_n": "vfijax.pairs",
    "load": "vfijax.checkpoint",
    "save": "vfijax.checkpoint",
    "zoom": "vfijax.clips",
}
_MODULES = ("checkpoint", "convert", "losses", "metrics", "models", "ops", "optim", "perceptual", "prune")


def __getattr__(name: str) -> Any:
    """Imports on first use, so that `import vfijax` is quick and free of optional packages."""
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"vfijax.{name}")
    raise AttributeError(f"module 'vfijax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
