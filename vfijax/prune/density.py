"""How much of every layer a sparse network uses: `density`, and its report for people and programs."""

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import numpy as np
from rich.table import Table

from vfijax.files import given_path, write_text
from vfijax.media.plot import bar_chart
from vfijax.models.base import declared_graph
from vfijax.params import ModelParams
from vfijax.prune.flops import leaf_multiply_adds, path_name

__all__ = ["DensityReport", "LayerDensity", "density", "read_csv"]

COLUMNS = ("name", "density", "inputs", "outputs", "zeros", "size", "multiply_adds")


@dataclass(frozen=True)
class LayerDensity:
    """The kernel of one layer.

    Attributes:
      name: its path, "unet/conv1_0"; of an array that is not called kernel, that of the array.
      zeros: how many of its numbers are exactly zero.
      size: how many there are.
      inputs, outputs: its last two sizes, the channels that an output reads and those written.
      multiply_adds: that it takes part in, for one frame; None where the network is not known.
    """

    name: str
    zeros: int
    size: int
    inputs: int
    outputs: int
    multiply_adds: int | None = None

    @property
    def density(self) -> float:
        """The share that is not zero, in [0, 1]."""
        return (self.size - self.zeros) / self.size


@dataclass(frozen=True)
class DensityReport:
    """What `density` returns.

    Attributes:
      layers: every kernel, in the order of the network's channel graph, or else of the tree.
      zeros, size: of all parameters, biases and slopes included.
      params: the network, where it was one; `widths` asks it for its graph, and for more with some rules.
    """

    layers: tuple[LayerDensity, ...]
    zeros: int
    size: int
    params: ModelParams | None = field(default=None, repr=False, compare=False)

    @property
    def density(self) -> float:
        """Of all parameters, as the published pruning prints it; 1 where there are none."""
        return (self.size - self.zeros) / self.size if self.size else 1.0

    @property
    def kernel_density(self) -> float:
        """Of all kernels together, without biases and slopes; 1 where there are none."""
        zeros, size = (sum(getattr(layer, name) for layer in self.layers) for name in ("zeros", "size"))
        return (size - zeros) / size if size else 1.0

    @property
    def densities(self) -> dict[str, float]:
        """Layer name to density; what the width rules read."""
        return {layer.name: layer.density for layer in self.layers}

    @property
    def shares(self) -> dict[str, float]:
        """Layer name to its share of the multiply-adds of all layers; empty where they are not known."""
        known = {layer.name: layer.multiply_adds for layer in self.layers}
        amounts = {name: amount for name, amount in known.items() if amount is not None}
        total = sum(amounts.values())
        return {name: amount / total for name, amount in amounts.items()} if total else {}

    def table(self) -> Table:
        """For people; `rich.print` or a `rich.console.Console` prints it."""
        table = Table(title=f"{self.density:.1%} of {self.size:,} parameters are not zero")
        table.add_column("layer")
        for column in ("zeros", "size", "density", "in", "out", "multiply-adds"):
            table.add_column(column, justify="right")
        shares = self.shares
        for layer in self.layers:
            numbers = (f"{layer.zeros:,}", f"{layer.size:,}", f"{layer.density:.3f}")
            share = f"{shares[layer.name]:.1%}" if layer.name in shares else "-"
            table.add_row(layer.name, *numbers, str(layer.inputs), str(layer.outputs), share)
        zeros, size = sum(layer.zeros for layer in self.layers), sum(layer.size for layer in self.layers)
        table.add_section()
        table.add_row("all kernels", f"{zeros:,}", f"{size:,}", f"{self.kernel_density:.3f}")
        table.add_row("all parameters", f"{self.zeros:,}", f"{self.size:,}", f"{self.density:.3f}")
        return table

    def to_json(self) -> dict[str, Any]:
        """For programs: totals, and a dict for every layer."""
        shares = self.shares
        return {
            "parameters": self.size,
            "zeros": self.zeros,
            "density": self.density,
            "kernel_density": self.kernel_density,
            "layers": [
                {**asdict(layer), "density": layer.density, "share": shares.get(layer.name)}
                for layer in self.layers
            ],
        }

    def to_csv(self) -> str:
        """One line per layer below a line of names; densities with all digits, for `read_csv`."""
        rows = [[_cell(getattr(layer, column)) for column in COLUMNS] for layer in self.layers]
        return "".join(",".join(row) + "\n" for row in [list(COLUMNS), *rows])

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_csv`; the file appears under its name only when complete."""
        write_text(path, self.to_csv())

    def picture(self) -> np.ndarray:
        """A bar per layer, as long as the layer is dense: uint8 [H, W, 3], RGB."""
        title = f"density of every layer; {self.density:.1%} of {self.size:,} parameters"
        return bar_chart(self.densities, title=title, x_label="share that is not zero", x_max=1.0)


def density(params: ModelParams | Any, height: int = 256, width: int = 448) -> DensityReport:
    """Counts the zeros of every kernel: of all arrays with at least two axes.

    Args:
      params: a model, or a bare tree of arrays, of which multiply-adds are not known.
      height, width: of the frames for which multiply-adds are counted, in pixels.
    """
    known = isinstance(params, ModelParams)
    tree = params.tree if known else params
    graph = declared_graph(params.config) if known else None
    order = {edge.name: i for i, edge in enumerate(graph.edges)} if graph else {}
    amounts = leaf_multiply_adds(params, height, width) if known else {}
    zeros = size = 0
    layers = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        leaf = np.asarray(leaf)
        empty = leaf.size - int(np.count_nonzero(leaf))
        zeros, size = zeros + empty, size + leaf.size
        if leaf.ndim >= 2 and leaf.size:
            place = path_name(path)
            name, amount = place.removesuffix("/kernel"), amounts.get(place)
            inputs, outputs = leaf.shape[-2:]
            layers.append(LayerDensity(name, empty, leaf.size, inputs, outputs, amount))
    layers.sort(key=lambda layer: order.get(layer.name, len(order)))  # stable: others stay as they are
    return DensityReport(tuple(layers), zeros, size, params if known else None)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def read_csv(path: str | os.PathLike[str]) -> dict[str, float]:
    """Layer name to density, from a file of `DensityReport.write_csv`.

    Any CSV with the columns `name` and `density` will do.

    Raises:
      ValueError: a column is missing, or a density is not a number in [0, 1] or stands for two layers.
      OSError: the file cannot be read.
    """
    found: dict[str, float] = {}
    for line, row in _rows(path):
        name, text = row["name"], row["density"] or ""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ValueError(f"{path}, line {line}: density of {name!r} is {text!r}; give a number in [0, 1]")
        if name in found:
            raise ValueError(f"{path}, line {line}: {name!r} stands there a second time; keep one")
        found[name] = value
    return found


def _rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with the number of their line."""
    with open(given_path(path, "read_csv"), newline="") as file:
        reader = csv.DictReader(file)
        missing = {"name", "density"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                f"{path}: no column {' and '.join(sorted(missing))}; give a file as DensityReport.write_csv "
                "writes it, with the columns name and density"
            )
        for row in reader:
            yield reader.line_num, row
