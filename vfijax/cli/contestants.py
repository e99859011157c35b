"""What `vfijax evaluate --zoom` compares: the ways to make a clip larger with the frames between."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from vfijax.clip_windows import WINDOW
from vfijax.clips import zoom
from vfijax.models import create
from vfijax.params import ModelParams
from vfijax.scoring import Method, two_stage


class Contestant(NamedTuple):
    """A row of the table: its name, the model and what `--model` calls it, and how it makes a clip."""

    name: str
    model: str
    params: ModelParams
    method: Method


def contestants(models: Mapping[str, ModelParams], published: bool) -> Iterator[Contestant]:
    """Networks that make clips larger as they are, all others, and blend, beside bicubic enlargement.

    Args:
      models: by their name on the command line.
      published: give the networks the windows of the published evaluation.
    """
    for name, params in models.items():
        if params.config.kind == "clip":
            yield Contestant(name, name, params, partial(zoom, params, window=WINDOW, published=published))
    two = {name: params for name, params in models.items() if params.config.kind == "pair"}
    if not any(params.config.architecture == "blend" for params in two.values()):
        two["blend"] = create("blend", 0)
    for name, params in two.items():
        yield Contestant(f"bicubic, then {name}", name, params, partial(two_stage, params, "bicubic"))
        yield Contestant(f"{name}, then bicubic", name, params, partial(two_stage, params, "model"))
