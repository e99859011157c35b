"""What compression brings: a network before and after, side by side."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import jax
import numpy as np
from rich.table import Table

from vfijax.params import ModelParams
from vfijax.prune.flops import frame, model_counts, xla_flops

__all__ = ["Costs", "Summary", "summary"]

RUNS = 5  # timed runs of each network, after one that is not


@dataclass(frozen=True)
class Costs:
    """What a network costs, for one frame between two where it depends on them.

    Attributes:
      parameters: how many numbers it has.
      bytes: that they take up.
      multiply_adds: of all kinds, see `vfijax.prune.flops`.
      convolutions: multiply-adds of the convolutions alone, at the padded size.
      xla_flops: XLA's own count, about two per multiply-add, and those on zeros that a CPU computes beside
        odd channels (`layers.convolve`); bodies of loops counted once.
      seconds: median time of a frame, on the first device; None where it was not measured.
      memory: bytes that the compiled program needs for parameters, frames and everything between; None
        where it was not compiled or the device does not tell.
    """

    parameters: int
    bytes: int
    multiply_adds: int
    convolutions: int
    xla_flops: float
    seconds: float | None = None
    memory: int | None = None


# Name and unit in the table, by field, and how many of it make a unit.
UNITS = {
    "parameters": ("parameters, M", 1e6),
    "bytes": ("parameters, MB", 1e6),
    "multiply_adds": ("multiply-adds, G", 1e9),
    "convolutions": ("of convolutions, G", 1e9),
    "xla_flops": ("operations by XLA, G", 1e9),
    "seconds": ("time per frame, ms", 1e-3),
    "memory": ("peak memory, MB", 1e6),
}


@dataclass(frozen=True)
class Summary:
    """What `summary` returns; `height` and `width` are those of the frames, in pixels."""

    before: Costs
    after: Costs
    height: int
    width: int

    @property
    def ratios(self) -> dict[str, float | None]:
        """Before divided by after, by field of `Costs`; None where one is not known or nothing is left."""
        pairs = {f.name: (getattr(self.before, f.name), getattr(self.after, f.name)) for f in fields(Costs)}
        return {name: None if a is None or not b else a / b for name, (a, b) in pairs.items()}

    def table(self) -> Table:
        """For people; `rich.print` or a `rich.console.Console` prints it."""
        table = Table(title=f"Before and after, frames of {self.width}x{self.height}")
        table.add_column("")
        for column in ("before", "after", "ratio"):
            table.add_column(column, justify="right")
        for name, (label, unit) in UNITS.items():
            values = (getattr(self.before, name), getattr(self.after, name))
            if values == (None, None):
                continue
            ratio = self.ratios[name]
            cells = ("-" if value is None else _digits(value / unit) for value in values)
            table.add_row(label, *cells, "-" if ratio is None else f"{ratio:.2f}x")
        return table

    def to_json(self) -> dict[str, Any]:
        """For programs: `height`, `width`, and by field of `Costs` `before`, `after` and `ratio`."""
        sides = {"before": asdict(self.before), "after": asdict(self.after), "ratio": self.ratios}
        return {"height": self.height, "width": self.width, **sides}


def summary(
    before: ModelParams, after: ModelParams, height: int, width: int, measure: bool = True
) -> Summary:
    """Compares what two networks cost.

    Args:
      before, after: the networks.
      height, width: of the frames, in pixels, at least 2.
      measure: compile both and run them in turn, which tells time and memory; it takes a while.

    Raises:
      ValueError: the frames are too small.
    """
    networks = (before, after)
    measured = _measure(networks, height, width) if measure else [{}, {}]
    first, second = (
        Costs(**_static(params, height, width), **extra)
        for params, extra in zip(networks, measured, strict=True)
    )
    return Summary(first, second, height, width)


def _static(params: ModelParams, height: int, width: int) -> dict[str, Any]:
    counts = model_counts(params, height, width)
    return {
        "parameters": params.size,
        "bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params.tree)),
        "multiply_adds": sum(counts.values()),
        "convolutions": counts["convolutions"],
        "xla_flops": xla_flops(params, height, width),
    }


def _measure(networks: tuple[ModelParams, ...], height: int, width: int) -> list[dict[str, Any]]:
    """Time and memory of each; they run in turn, so that load that comes and goes meets all of them."""
    frames = np.random.default_rng(0).uniform(0, 1, (2, 1, height, width, 3)).astype(np.float32)
    device = jax.devices()[0]
    arguments = [jax.device_put((params, *frames), device) for params in networks]
    compiled = [jax.jit(frame).lower(*args).compile() for args in arguments]
    times: list[list[float]] = [[] for _ in networks]
    for _ in range(1 + RUNS):
        for program, args, seen in zip(compiled, arguments, times, strict=True):
            seen.append(_seconds(program, *args))
    return [
        {"seconds": statistics.median(seen[1:]), "memory": _memory(program)}
        for program, seen in zip(compiled, times, strict=True)
    ]


def _seconds(program: Callable[..., Any], *args: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - start


def _memory(program: Any) -> int | None:
    sizes = program.memory_analysis()
    if sizes is None:
        return None
    return sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes


def _digits(value: float) -> str:
    """At least three significant digits, and thousands apart."""
    return f"{value:,.3g}" if value < 100 else f"{value:,.1f}"
