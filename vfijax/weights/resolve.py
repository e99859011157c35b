"""What `--model` means, for all commands."""

from pathlib import Path

from vfijax.checkpoint import is_checkpoint, load
from vfijax.command import nearest
from vfijax.models import MODELS, ModelConfig
from vfijax.params import ModelParams
from vfijax.weights import SHIPPED
from vfijax.weights.published import OTHER_NAMES, PUBLISHED, fetched, how_to_get

_WAY = (
    "make a checkpoint with `vfijax convert` from published weights, or with `python -m train.main` "
    "and give its path"
)


def ready() -> list[str]:
    """The names that `--model` takes at once: models without weights, shipped ones, fetched ones."""
    own = [name for name, config in MODELS.items() if name in SHIPPED or not config.learned]
    return [*own, *filter(fetched, PUBLISHED)]


def hint(name: str) -> str:
    """What to say of a name or path at which no model is, after the message; empty where nothing helps."""
    if name in PUBLISHED or name in OTHER_NAMES:
        return f"; {how_to_get(name)}"
    return nearest(name, [*ready(), *PUBLISHED])


def try_it(config: ModelConfig, path: Path | str) -> str:
    """The command that uses a checkpoint which was just written, or fetched weights by their name."""
    command = {"pair": "interpolate", "clip": "zoom"}[config.kind]
    return f"  vfijax {command} IN.mp4 OUT.mp4 --model {path}"


def resolve(model: str) -> ModelParams:
    """The model that `--model` names, as `vfijax.load` understands it.

    Raises:
      ValueError: nothing of that name; the message says how to get a model.
      CheckpointError: the checkpoint cannot be read.
    """
    if not model:
        raise ValueError("--model is an empty string; give a checkpoint or the name of a model")
    if is_checkpoint(model) or model in ready() or Path(model).exists():
        return load(model)  # or says what is wrong with it
    if model in PUBLISHED or model in OTHER_NAMES:
        raise ValueError(f"--model {model}: it is not here yet{hint(model)}")
    if model in MODELS:
        raise ValueError(f"--model {model}: no weights of {model} come with vfijax; {_WAY}")
    raise ValueError(
        f"--model {model}: no such checkpoint, and no model of that name ({', '.join(ready())}; "
        f"`vfijax models` lists those to be fetched){hint(model)}; {_WAY}"
    )
