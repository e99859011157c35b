"""What `vfijax evaluate --zoom` compares, and its tables."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from vfijax.models import create
from vfijax.params import ModelParams
from vfijax.scoring import KINDS, ClipReport, Method, two_stage
from vfijax.spacetime import zoom
from vfijax.video.windows import published_windows, windows
from vfijax.video.zooming import OVERLAP, WINDOW

CLIPS_SHOWN = 24  # of larger sets the means alone are shown
HEADINGS = {"psnr": "PSNR dB", "psnr_y": "PSNR Y dB", "ssim": "SSIM", "ssim_y": "SSIM Y"}


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


def summary(results: list[tuple[str, str, ClipReport]]) -> Table:
    """The means of every set and method: over all frames, the interpolated, and the original ones."""
    table = _table("Mean over the frames of a clip, then over clips", "data", "method", "frames")
    for data, method, report in results:
        for kind in KINDS:
            count = len(report.chosen(kind))
            table.add_row(data, method, f"{count} {kind}", *_cells(report.means(kind)))
    return table


def by_clip(title: str, report: ClipReport) -> Table | None:
    """The means of every clip; None for sets of many."""
    if len(report.clips) > CLIPS_SHOWN:
        return None
    table = _table(title, "clip", "frames")
    for clip in report.clips:
        for kind in KINDS:
            count = len(report.chosen(kind, clip))
            table.add_row(clip, f"{count} {kind}", *_cells(report.clip_means(kind, clip)))
    return table


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, overflow="fold")
    for heading in HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _cells(scores: Mapping[str, float]) -> list[str]:
    return [f"{scores[m]:.3f}" if m.startswith("psnr") else f"{scores[m]:.5f}" for m in HEADINGS]
