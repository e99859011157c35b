"""What `vfijax evaluate --zoom` compares: the ways to make a clip larger with the frames between."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vfijax.clip_windows import published_windows, windows
from vfijax.clips import zoom
from vfijax.models import create
from vfijax.params import ModelParams
from vfijax.scoring import Method, two_stage
from vfijax.video.zooming import OVERLAP, WINDOW


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
    plan: Callable[..., Any] = partial(published_windows, window=WINDOW)
    if not published:
        plan = partial(windows, window=WINDOW, overlap=OVERLAP)
    for name, params in models.items():
        if params.config.scale > 1:
            yield Contestant(name, name, params, partial(_zoomed, params, plan))
    two = {name: params for name, params in models.items() if params.config.scale == 1}
    if not any(params.config.architecture == "blend" for params in two.values()):
        two["blend"] = create("blend", 0)
    for name, params in two.items():
        yield Contestant(f"bicubic, then {name}", name, params, partial(two_stage, params, "bicubic"))
        yield Contestant(f"{name}, then bicubic", name, params, partial(two_stage, params, "model"))


def _zoomed(params: ModelParams, plan: Callable[..., Any], frames: np.ndarray) -> np.ndarray:
    """A whole clip, window by window, as `vfijax zoom` makes it of small frames."""
    parts = [np.asarray(zoom(params, np.stack(held)))[used.start : used.stop] for held, used in plan(frames)]
    return np.concatenate(parts)
