"""Channel spaces, width tables and the channel graph of a network.

A *space* is a set of channels that must stay aligned: arrays that are added share a space, an
array made by concatenation lists several. A *width table* gives the size of every space. An *edge*
says which spaces a layer reads and writes. Together they describe every array shape of a network,
so that a compressed network is the same code with another table.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Widths(Mapping[str, int]):
    """An immutable, hashable table from channel space to width."""

    items_: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, table: Mapping[str, int]) -> "Widths":
        return cls(tuple((str(name), int(width)) for name, width in table.items()))

    def __getitem__(self, name: str) -> int:
        for key, width in self.items_:
            if key == name:
                return width
        raise KeyError(f"no channel space {name!r}; the table has {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.items_)

    def __len__(self) -> int:
        return len(self.items_)

    def __hash__(self) -> int:
        return hash(self.items_)

    def replace(self, changes: Mapping[str, int]) -> "Widths":
        """The same spaces with some widths changed; unknown names raise ValueError."""
        unknown = sorted(set(changes) - set(self))
        if unknown:
            raise ValueError(f"widths: no channel space {unknown}; the table has {', '.join(self)}")
        return Widths.of({**self, **changes})


NO_WIDTHS = Widths()


@dataclass(frozen=True)
class Edge:
    """One layer with weights: which spaces it reads (in concatenation order) and which it writes.

    A layer that treats every channel by itself (a PReLU or a normalisation with numbers per channel, a
    depthwise convolution) reads nothing, `inputs=()`, and stands at the space it passes on.

    Attributes:
      path: of the layer in the parameter tree.
      inputs: a space stands as often as its channels are repeated in the array that is read.
      output: the space of the array that is written.
      groups: of a grouped convolution; such a layer reads one space.
      repeat: every channel is written as so many neighbours (4 before a pixel shuffle by 2).
      tile: the space is written so often, one after another (4 for the gates of an LSTM).
      size: side of the kernel of a convolution with a bias; 0 for a normalisation, which has `scale`, `bias`,
        `mean` and `variance` per channel; None for a layer that is neither, or where it is not said.
    """

    path: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    groups: int = 1
    repeat: int = 1
    tile: int = 1
    size: int | None = None

    @property
    def name(self) -> str:
        return "/".join(self.path)

    def layer(self, tree: Any) -> Any:
        """The parameters of the layer in a tree: a dict from name to array."""
        for key in self.path:
            tree = tree[key]
        return tree


@dataclass(frozen=True)
class ChannelGraph:
    """All layers of a network by the channel spaces they join.

    Attributes:
      widths: the size of every space.
      edges: every layer whose parameters depend on a width.
      fixed: spaces whose width is part of the task (frames, taps, masks) and cannot be pruned.
      blocks: spaces that the network splits into so many equal parts (deformable groups); those of
        grouped convolutions need not be listed.
      nonzero: spaces that an activation leaves nonzero where their layers write zero (a sigmoid).
      slopes: paths of the layers with one number, `slope`, for all channels; they are no edges.
    """

    widths: Mapping[str, int]
    edges: tuple[Edge, ...]
    fixed: frozenset[str] = field(default_factory=frozenset)
    blocks: Mapping[str, int] = field(default_factory=dict)
    nonzero: frozenset[str] = field(default_factory=frozenset)
    slopes: tuple[tuple[str, ...], ...] = ()

    @property
    def free(self) -> tuple[str, ...]:
        """The spaces whose width may change."""
        return tuple(space for space in self.widths if space not in self.fixed)

    def block_count(self, space: str) -> int:
        """Widths of the space are multiples of it, and every block of channels shrinks by as much."""
        grouped = [e.groups for e in self.edges if space in (*e.inputs, e.output)]
        return math.lcm(self.blocks.get(space, 1), *grouped)

    def sizes(self, edge: Edge, widths: Mapping[str, int] | None = None) -> tuple[int, int]:
        """The last two sizes of the edge's kernel: channels that an output reads, and outputs."""
        widths = self.widths if widths is None else widths
        read = sum(widths[space] for space in edge.inputs) // edge.groups
        return read, widths[edge.output] * edge.repeat * edge.tile

    def shapes(self) -> dict[str, Any] | None:
        """The shape of every parameter, as a tree; None where an edge does not say its size.

        Raises:
          ValueError: `widths` lacks a space.
        """
        spaces = {space for edge in self.edges for space in (*edge.inputs, edge.output)}
        if missing := sorted(spaces - self.widths.keys()):
            raise ValueError(f"no channel space {missing[0]}")
        leaves: dict[tuple[str, ...], tuple[int, ...]] = {(*path, "slope"): (1,) for path in self.slopes}
        for edge in self.edges:
            read, written = self.sizes(edge)
            if edge.size is None:
                return None
            names = ("bias",) if edge.size else ("scale", "bias", "mean", "variance")
            leaves |= {(*edge.path, name): (written,) for name in names}
            if edge.size:
                leaves[*edge.path, "kernel"] = (edge.size, edge.size, read, written)
        tree: dict[str, Any] = {}
        for (*parents, name), shape in sorted(leaves.items()):
            layer = tree
            for parent in parents:
                layer = layer.setdefault(parent, {})
            layer[name] = shape
        return tree

    def check(self, tree: Any) -> None:
        """Raises ValueError unless every kernel (..., in, out) and vector (..., out) has its width."""
        problems = [problem for edge in self.edges for problem in self._problems(edge, edge.layer(tree))]
        if problems:
            raise ValueError("channel graph does not fit the parameters: " + "; ".join(problems))

    def _problems(self, edge: Edge, layer: Mapping[str, Any]) -> Iterator[str]:
        if edge.groups > 1 and (len(edge.inputs) != 1 or edge.tile != 1):
            yield f"{edge.name}: a grouped layer reads one space, once, and writes one, once"
        for space in {*edge.inputs, edge.output}:
            if self.widths[space] % edge.groups:
                yield f"{edge.name}: {edge.groups} groups do not divide {space} ({self.widths[space]})"
        wanted = self.sizes(edge)
        for name, leaf in layer.items():
            if edge.inputs and name == "kernel":
                if tuple(leaf.shape[-2:]) != wanted:
                    yield f"{edge.name}: {leaf.shape[-2:]} not {wanted}"
            elif leaf.size != 1 and leaf.shape[-1] != wanted[1]:
                yield f"{edge.name}: {name} {leaf.shape} does not end with {wanted[1]}"
