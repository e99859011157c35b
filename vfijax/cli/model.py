"""What `--model` means, for all commands."""

import difflib
from pathlib import Path

from vfijax.checkpoint import load, moved_aside
from vfijax.models import MODELS, ModelConfig, create
from vfijax.params import ModelParams

SHIPPED: dict[str, Path] = {}  # name: directory of weights that come with the package

_WAY = (
    "make a checkpoint with `vfijax convert` from published weights or with `python -m train.main`, "
    "and give its path"
)


def try_it(config: ModelConfig, path: Path) -> str:
    """The command that uses a checkpoint which was just written."""
    command = "interpolate" if config.scale == 1 else "zoom"
    return f"  vfijax {command} IN.mp4 OUT.mp4 --model {path}"


def resolve(model: str | None) -> ModelParams:
    """The model that `--model` names: the path of a checkpoint, else a shipped name, else `blend`.

    Raises:
      ValueError: nothing given, or nothing of that name; the message says how to get a model.
      CheckpointError: the checkpoint cannot be read.
    """
    names = [*SHIPPED, "blend"]
    if model is None:
        raise ValueError(
            f"--model is missing: {_WAY}; `--model blend` averages the frames beside and needs no checkpoint"
        )
    if Path(model).exists() or moved_aside(model):
        return load(model)
    if model in SHIPPED:
        return load(SHIPPED[model])
    if model == "blend":
        return create("blend", 0)
    if model in MODELS:
        raise ValueError(f"--model {model}: no weights of {model} come with vfijax; {_WAY}")
    near = difflib.get_close_matches(model, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"--model {model}: no such checkpoint, and no model of that name ({', '.join(names)}){hint}; {_WAY}"
    )
