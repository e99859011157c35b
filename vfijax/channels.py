"""Channel spaces, width tables and the channel graph of a network.

A *space* is a set of channels that must stay aligned: arrays that are added share a space, an
array made by concatenation lists several. A *width table* gives the size of every space. An *edge*
says which spaces a layer reads and writes. Together they describe every array shape of a network,
so that a compressed network is the same code with another table.
"""

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
    """One layer with weights: which spaces it reads (in concatenation order) and which it writes."""

    path: tuple[str, ...]  # of the layer in the parameter tree
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class ChannelGraph:
    """All layers of a network by the channel spaces they join.

    Attributes:
      widths: the size of every space.
      edges: every layer that mixes channels.
      fixed: spaces whose width is part of the task (frames, taps, masks) and cannot be pruned.
    """

    widths: Mapping[str, int]
    edges: tuple[Edge, ...]
    fixed: frozenset[str] = field(default_factory=frozenset)

    def check(self, tree: Any) -> None:
        """Raises ValueError unless every kernel (H, W, in, out) and bias in `tree` has its width."""
        problems = []
        for edge in self.edges:
            layer = tree
            for key in edge.path:
                layer = layer[key]
            wanted = (sum(self.widths[s] for s in edge.inputs), self.widths[edge.output])
            if tuple(layer["kernel"].shape[-2:]) != wanted:
                problems.append(f"{'/'.join(edge.path)}: {layer['kernel'].shape[-2:]} not {wanted}")
        if problems:
            raise ValueError("channel graph does not fit the parameters: " + "; ".join(problems))
