"""What `--model` means, for all commands."""

from pathlib import Path

from vfijax.checkpoint import is_checkpoint, load
from vfijax.command import nearest
from vfijax.models import MODELS, ModelConfig, create
from vfijax.params import ModelParams
from vfijax.weights import SHIPPED

_WAY = (
    "make a checkpoint with `vfijax convert` from published weights, or with `python -m train.main` "
    "and give its path"
)


def try_it(config: ModelConfig, path: Path) -> str:
    """The command that uses a checkpoint which was just written."""
    command = {"pair": "interpolate", "clip": "zoom"}[config.kind]
    return f"  vfijax {command} IN.mp4 OUT.mp4 --model {path}"


def resolve(model: str) -> ModelParams:
    """The model that `--model` names: the path of a checkpoint, else one whose weights come with the package,
    or that has none.

    Raises:
      ValueError: nothing of that name; the message says how to get a model.
      CheckpointError: the checkpoint cannot be read.
    """
    if is_checkpoint(model) or model in SHIPPED:
        return load(model)
    if model in MODELS and not MODELS[model].learned:
        return create(model, 0)
    if Path(model).exists():
        return load(model)  # says what is wrong with it
    if model in MODELS:
        raise ValueError(f"--model {model}: no weights of {model} come with vfijax; {_WAY}")
    names = [name for name, config in MODELS.items() if name in SHIPPED or not config.learned]
    raise ValueError(
        f"--model {model}: no such checkpoint, and no model of that name ({', '.join(names)})"
        f"{nearest(model, names)}; {_WAY}"
    )
