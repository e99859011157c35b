"""From a network and a table of smaller widths to the smaller network."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves_with_path as leaves_with_path

from vfijax.channels import ChannelGraph, Edge
from vfijax.models import create, traced_shapes
from vfijax.models.base import graph_of
from vfijax.params import ModelParams
from vfijax.prune.strength import PerChannel, strength

Init = Literal["slice", "fresh"]


def shrink(
    params: ModelParams, widths: Mapping[str, int], init: Init = "slice", key: jax.Array | int = 0
) -> ModelParams:
    """A network like `params` with fewer channels. `params` stays as it is.

    Args:
      params: a network whose config declares a channel graph and has a table `widths`.
      widths: channel space to width, as `vfijax.prune.widths` makes them; spaces left out keep theirs.
      init: "slice" keeps the strongest channels of every space (`vfijax.prune.strength.strength`) in
        their order, with their weights, so that dead channels go first; "fresh" draws new parameters.
      key: the seed of "fresh".

    Returns:
      The smaller network; its config is that of `params` with the new table.

    Raises:
      ValueError: no channel graph; an unknown or fixed space; a width below 1, above the present one, or
        not a multiple of the space's blocks; parameters that do not fit the graph.
    """
    graph = graph_of(params.config)
    changes = check_widths(graph, widths)
    if not changes:
        return params if init == "slice" else create(params.config, key)
    config = params.config.replace(widths=params.config.widths.replace(changes))
    if init == "fresh":
        return create(config, key)
    if init != "slice":
        raise ValueError(f"shrink: init is {init!r}; it is slice or fresh")
    tree = shrink_tree(params.tree, graph, changes)
    _compare(tree, traced_shapes(config), type(config).__name__)
    return ModelParams(tree, config)


def shrink_tree(tree: Any, graph: ChannelGraph, widths: Mapping[str, int]) -> Any:
    """The strongest channels of any Flax parameters (nested dicts) that a channel graph describes.

    Layers that the graph does not list are passed on. For `widths` and errors see `shrink`.
    """
    graph.check(tree)
    widths = {**graph.widths, **check_widths(graph, widths)}
    scores = strength(tree, graph)
    kept = {
        space: _strongest(score, widths[space], graph.block_count(space)) for space, score in scores.items()
    }
    return _with_layers(tree, {edge.path: _sliced(edge, tree, graph, kept) for edge in graph.edges})


def shrunk_shapes(tree: Any, graph: ChannelGraph, widths: Mapping[str, int]) -> Any:
    """What `shrink_tree` returns, as `jax.ShapeDtypeStruct`: nothing is sliced or scored."""
    widths = {**graph.widths, **widths}

    def resized(edge: Edge, name: str, leaf: Any) -> jax.ShapeDtypeStruct:
        sizes = graph.sizes(edge, widths)
        if edge.inputs and name == "kernel":
            return jax.ShapeDtypeStruct((*leaf.shape[:-2], *sizes), leaf.dtype)
        return jax.ShapeDtypeStruct((*leaf.shape[:-1], sizes[1]) if leaf.size > 1 else leaf.shape, leaf.dtype)

    layers = {
        edge.path: {name: resized(edge, name, leaf) for name, leaf in edge.layer(tree).items()}
        for edge in graph.edges
    }
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
    return _with_layers(abstract, layers)


def check_widths(graph: ChannelGraph, widths: Mapping[str, int]) -> dict[str, int]:
    """The entries of a table that differ from the graph's; ValueError for those that cannot be."""
    fixed = [space for space in widths if space in graph.fixed and widths[space] != graph.widths[space]]
    if fixed:
        raise ValueError(f"widths: {', '.join(fixed)} is fixed by the task and cannot change")
    unknown = [space for space in widths if space not in graph.widths]
    if unknown:
        raise ValueError(f"widths: no channel space {', '.join(unknown)}; there are {', '.join(graph.free)}")
    for space, width in widths.items():
        full, blocks = graph.widths[space], graph.block_count(space)
        whole = isinstance(width, int | np.integer) and not isinstance(width, bool)
        if not whole or not 1 <= width <= full or width % blocks:
            step = f", in multiples of {blocks}" if blocks > 1 else ""
            raise ValueError(f"widths: {space} is {width!r}; give a whole number from 1 to {full}{step}")
    return {space: int(width) for space, width in widths.items() if width != graph.widths[space]}


def _strongest(score: np.ndarray, width: int, blocks: int) -> np.ndarray:
    """Indices of the `width` best channels in their order, as many of every block; the first of equals."""
    size = score.size // blocks
    order = np.argsort(-score.reshape(blocks, size), axis=1, kind="stable")[:, : width // blocks]
    return (np.sort(order, axis=1) + size * np.arange(blocks)[:, None]).ravel()


def _sliced(edge: Edge, tree: Any, graph: ChannelGraph, kept: PerChannel) -> dict[str, jax.Array]:
    def sliced(name: str, leaf: Any) -> jax.Array:
        if edge.inputs and name == "kernel":
            return jnp.asarray(_sliced_kernel(edge, np.asarray(leaf), graph, kept))
        return leaf if leaf.size == 1 else jnp.asarray(np.asarray(leaf)[..., _written(edge, graph, kept)])

    return {name: sliced(name, leaf) for name, leaf in edge.layer(tree).items()}


def _sliced_kernel(edge: Edge, kernel: np.ndarray, graph: ChannelGraph, kept: PerChannel) -> np.ndarray:
    starts = np.cumsum([0, *(graph.widths[space] for space in edge.inputs)])
    read = np.concatenate([kept[space] + start for space, start in zip(edge.inputs, starts, strict=False)])
    written = _written(edge, graph, kept)
    if edge.groups == 1:
        return kernel[..., read, :][..., written]
    # An output reads the channels of its own group alone, which are counted from the group's first.
    blocks = [
        kernel[..., inputs % kernel.shape[-2], :][..., outputs]
        for inputs, outputs in zip(np.split(read, edge.groups), np.split(written, edge.groups), strict=True)
    ]
    return np.concatenate(blocks, axis=-1)


def _written(edge: Edge, graph: ChannelGraph, kept: PerChannel) -> np.ndarray:
    """Where the kept channels lie along the last axis of the layer's arrays."""
    place = np.arange(graph.sizes(edge)[1]).reshape(edge.tile, -1, edge.repeat)
    return place[:, kept[edge.output]].ravel()


def _with_layers(tree: Any, layers: Mapping[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> Any:
    """A nested dict with the layers at some paths replaced."""
    if path in layers:
        return layers[path]
    if not isinstance(tree, Mapping):
        return tree
    return {key: _with_layers(value, layers, (*path, key)) for key, value in tree.items()}


def _compare(tree: Any, wanted: Any, kind: str) -> None:
    """Raises ValueError, naming the first array, where a sliced tree is not what the config makes."""
    found, expected = ({_name(p): leaf.shape for p, leaf in leaves_with_path(t)} for t in (tree, wanted))
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"{kind}: its graph does not describe {name}, which is {found.get(name)} after slicing; "
                f"the narrow network has {expected.get(name)}"
            )


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
