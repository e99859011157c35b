"""Video frame interpolation in JAX."""

import importlib
from typing import TYPE_CHECKING

__all__ = ["MODELS", "ModelParams", "create", "interpolate", "interpolate_n", "load", "save", "zoom"]
__version__ = "0.1.0"

if TYPE_CHECKING:  # the same names as in the tables below, for type checkers and editors
    from vfijax import checkpoint as checkpoint
    from vfijax import clips as clips
    from vfijax import convert as convert
    from vfijax import losses as losses
    from vfijax import media as media
    from vfijax import metrics as metrics
    from vfijax import models as models
    from vfijax import ops as ops
    from vfijax import optim as optim
    from vfijax import pairs as pairs
    from vfijax import perceptual as perceptual
    from vfijax import prune as prune
    from vfijax import scoring as scoring
    from vfijax import video as video
    from vfijax.checkpoint import load, save
    from vfijax.clips import zoom
    from vfijax.models import MODELS, create
    from vfijax.pairs import interpolate, interpolate_n
    from vfijax.params import ModelParams

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
_MODULES = (
    *("checkpoint", "clips", "convert", "losses", "media", "metrics", "models", "ops", "optim", "pairs"),
    *("perceptual", "prune", "scoring", "video"),
)

if not TYPE_CHECKING:  # a type checker would take any name for one that it gives out

    def __getattr__(name: str) -> object:
        """Imports on first use, so that `import vfijax` is quick and free of optional packages."""
        if name in _NAMES:
            return getattr(importlib.import_module(_NAMES[name]), name)
        if name in _MODULES:
            return importlib.import_module(f"vfijax.{name}")
        raise AttributeError(f"module 'vfijax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
