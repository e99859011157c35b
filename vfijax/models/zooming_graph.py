"""The channel graph of Zooming Slow-Mo: every layer of every form of the network, by channel space.

One space, `features`, holds the features of all time steps, given or made, and both states of the
deformable LSTM: the same kernels read them all.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from vfijax.channels import Edge

Ablation = Literal["a", "b", "c", "d", "e"]
Alignment = Literal["fused", "warped"]

FEATURE_BLOCKS = 5
SIDES = ("first", "second")  # `first` aligns the first of two pyramids to the second, `second` the reverse
FIXED = ("rgb", "fields")
POINTWISE = ("fusion", "merge")  # convolutions of 1x1; all others are 3x3


def zooming_edges(ablation: Ablation, alignment: Alignment, blocks: int) -> tuple[Edge, ...]:
    """The layers of the network with so many residual blocks in its reconstruction."""
    recurrent = {"c": "hidden", "e": "trunk"}
    trunk = recurrent.get(ablation, "features")
    edges = [Edge(("first",), ("rgb",), "features")]
    edges += _block_edges("features", FEATURE_BLOCKS, "features")
    if ablation == "a":
        edges.append(Edge(("fusion",), ("features", "features"), "features"))
    else:
        edges += _pyramid_edges((), "frame") + _align_edges((), "frame", SIDES)
        edges.append(_fusion_edge((), "frame", "features"))
    if ablation == "c":
        edges.append(Edge(("conv_lstm", "gates"), ("features", "hidden"), "hidden", tile=4))
    if ablation in "de":
        path = ("deformable_lstm",) if ablation == "d" else ("bidirectional", "lstm")
        edges += _state_edges((*path, "hidden"), "hidden", "hidden_aligned", alignment)
        edges += _state_edges((*path, "cell"), "cell", "features", alignment)
        edges.append(Edge((*path, "gates"), ("features", "hidden_aligned"), "features", tile=4))
    if ablation == "e":
        edges.append(Edge(("bidirectional", "merge"), ("features", "features"), "trunk"))
    edges += [
        Edge(("frames", *edge.path), edge.inputs, edge.output)
        for edge in _block_edges("trunk", blocks, trunk)
    ]
    edges += [
        Edge(("frames", "up1"), (trunk,), "up1", repeat=4),
        Edge(("frames", "up2"), ("up1",), "up2", repeat=4),
        Edge(("frames", "hr"), ("up2",), "hr"),
        Edge(("frames", "last"), ("hr",), "rgb"),
    ]
    return tuple(replace(edge, size=1 if edge.path[-1] in POINTWISE else 3) for edge in edges)


def _block_edges(part: str, blocks: int, space: str) -> list[Edge]:
    edges = []
    for i in range(blocks):
        edges.append(Edge((part, f"block{i}", "conv_0"), (space,), f"{part}_block{i}"))
        edges.append(Edge((part, f"block{i}", "conv_1"), (f"{part}_block{i}",), space))
    return edges


def _pyramid_edges(path: tuple[str, ...], name: str) -> list[Edge]:
    layers = ("level2_0", "level2_1", "level3_0", "level3_1")
    spaces = ("features", *(f"{name}_{space}" for space in ("half", "level2", "quarter", "level3")))
    return [
        Edge((*path, "pyramid", layer), (source,), target)
        for layer, (source, target) in zip(layers, pairwise(spaces), strict=True)
    ]


def _align_edges(
    path: tuple[str, ...], name: str, sides: Sequence[str], aligned: str | None = None
) -> list[Edge]:
    """Both sides of an alignment; `aligned` is the space of the result where there is one side alone."""
    return [edge for side in sides for edge in _side_edges((*path, "align", side), name, side, aligned)]


def _side_edges(path: tuple[str, ...], name: str, side: str, aligned: str | None) -> list[Edge]:
    layers: list[tuple[str, tuple[str, ...], str]] = []
    for level in (3, 2, 1):
        image = "features" if level == 1 else f"{name}_level{level}"
        begun, joined, guide, sampled, result = (
            f"{name}_{side}_{kind}{level}" for kind in ("begun", "joined", "guide", "sampled", "aligned")
        )
        result = aligned if aligned and level == 1 else result
        layers += [(f"offset{level}_0", (image, image), begun)]
        if level == 3:
            layers += [(f"offset{level}_1", (begun,), guide)]
            layers += [(f"sample{level}", (image,), result)]
        else:
            coarser = [f"{name}_{side}_{kind}{level + 1}" for kind in ("guide", "aligned")]
            layers += [(f"offset{level}_1", (begun, coarser[0]), joined)]
            layers += [(f"offset{level}_2", (joined,), guide)]
            layers += [(f"sample{level}", (image,), sampled)]
            layers += [(f"merge{level}", (sampled, coarser[1]), result)]
        layers += [(f"fields{level}", (guide,), "fields")]
    return [Edge((*path, layer), inputs, output) for layer, inputs, output in layers]


def _fusion_edge(path: tuple[str, ...], name: str, output: str) -> Edge:
    return Edge((*path, "fusion"), tuple(f"{name}_{side}_aligned1" for side in SIDES), output)


def _state_edges(path: tuple[str, ...], name: str, output: str, alignment: Alignment) -> list[Edge]:
    edges = _pyramid_edges(path, name)
    if alignment == "warped":
        return edges + _align_edges(path, name, SIDES[1:], output)
    return [*edges, *_align_edges(path, name, SIDES), _fusion_edge(path, name, output)]


def free_spaces(edges: Sequence[Edge]) -> list[str]:
    """Every space whose width may change, in the order of the layers that write it."""
    return list(dict.fromkeys(edge.output for edge in edges if edge.output not in FIXED))
