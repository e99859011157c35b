"""How much the channels of a network matter: their strength, and which do not matter at all."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vfijax.channels import ChannelGraph, Edge

PerChannel = dict[str, np.ndarray]  # space: one value per channel


def strength(tree: Any, graph: ChannelGraph) -> PerChannel:
    """A score of every channel: the norm of what writes it times the norm of what reads it.

    The norms run over the kernels (and the biases, for what writes) of all layers that join in the
    space, so that a channel has one score in the whole network. The product does not change when a
    channel is scaled up where it is written and down where it is read, which a ReLU network cannot
    tell apart. Dead channels (see `alive`) score zero. In a space that no layer reads, where features are
    compared with one another, the norm of what writes alone counts.

    Returns:
      space to float64 [width], not negative.
    """
    written, read = (_zeros(graph) for _ in range(2))
    for edge in graph.edges:
        written[edge.output] += _bias_energy(edge, tree, graph)
        if edge.inputs:
            energy = _energy(edge, tree, graph)
            written[edge.output] += energy.sum(axis=0)
            for space, rows in _by_input(edge, energy, graph):
                read[space] += rows.sum(axis=1)
    for space in read.keys() - {space for edge in graph.edges for space in edge.inputs}:
        read[space] += 1
    living = alive(tree, graph)
    return {space: np.sqrt(written[space] * read[space]) * living[space] for space in graph.widths}


def alive(tree: Any, graph: ChannelGraph) -> PerChannel:
    """The channels that the output of a network may depend on.

    The others are *silent*, zero for every input because all layers that write them have zero kernels
    and biases there, or *unread*, because all layers that read them have zero kernels there. What only
    silent channels feed, or only dead ones read, is dead as well.

    Between its layers the network must keep zero at zero and channels apart: ReLU, PReLU, pooling,
    resizing, sums, warping and the gates of an LSTM do. Spaces where zero becomes something else are
    named by `ChannelGraph.nonzero`; a space that is normalised (a layer with a `scale`) is left alone.

    Returns:
      space to bool [width]; fixed spaces are alive.
    """
    mixing = [(edge, _energy(edge, tree, graph)) for edge in graph.edges if edge.inputs]
    held = graph.fixed | {edge.output for edge in graph.edges if "scale" in edge.layer(tree)}
    writable = {edge.output for edge, _ in mixing} - held - graph.nonzero
    readable = {space for edge, _ in mixing for space in edge.inputs} - held
    silent, unread = (_zeros(graph, bool) for _ in range(2))
    while True:
        written, read = (_zeros(graph) for _ in range(2))
        for edge in graph.edges:
            written[edge.output] += _bias_energy(edge, tree, graph)
        for edge, energy in mixing:
            written[edge.output] += np.concatenate([~silent[space] for space in edge.inputs]) @ energy
            living = ~(silent[edge.output] | unread[edge.output])
            for space, rows in _by_input(edge, energy, graph):
                read[space] += rows @ living
        now_silent = silent | {space: written[space] == 0 for space in writable}
        now_unread = unread | {space: read[space] == 0 for space in readable}
        if _same(now_silent, silent) and _same(now_unread, unread):
            return {space: ~(silent[space] | unread[space]) for space in graph.widths}
        silent, unread = now_silent, now_unread


def _zeros(graph: ChannelGraph, dtype: type = float) -> PerChannel:
    return {space: np.zeros(width, dtype) for space, width in graph.widths.items()}


def _same(a: PerChannel, b: PerChannel) -> bool:
    return all(np.array_equal(a[space], b[space]) for space in a)


def _energy(edge: Edge, tree: Any, graph: ChannelGraph) -> np.ndarray:
    """[channels read, width written]: the squares of a kernel, summed over all but its two channels."""
    kernel = np.asarray(edge.layer(tree)["kernel"], np.float64)
    energy = np.square(kernel).reshape(-1, *kernel.shape[-2:]).sum(axis=0)
    if edge.groups > 1:
        rows, columns = energy.shape[0], energy.shape[1] // edge.groups
        dense = np.zeros((edge.groups, rows, edge.groups, columns))
        for group, block in enumerate(np.split(energy, edge.groups, axis=1)):
            dense[group, :, group] = block
        energy = dense.reshape(edge.groups * rows, edge.groups * columns)
    return _fold(edge, energy)


def _bias_energy(edge: Edge, tree: Any, graph: ChannelGraph) -> np.ndarray:
    """[width written]: the squares of a bias; zeros where the layer has none."""
    bias = edge.layer(tree).get("bias")
    if bias is None:
        return np.zeros(graph.widths[edge.output])
    whole = np.broadcast_to(np.square(np.asarray(bias, np.float64)), graph.sizes(edge)[1])
    return _fold(edge, whole)


def _fold(edge: Edge, values: np.ndarray) -> np.ndarray:
    """Sums over the copies of every channel that the edge writes, along the last axis."""
    return values.reshape(*values.shape[:-1], edge.tile, -1, edge.repeat).sum(axis=(-3, -1))


def _by_input(edge: Edge, energy: np.ndarray, graph: ChannelGraph) -> Iterator[tuple[str, np.ndarray]]:
    """The rows of an energy for every space that the edge reads, in order."""
    ends = np.cumsum([graph.widths[space] for space in edge.inputs])
    yield from zip(edge.inputs, np.split(energy, ends[:-1], axis=0), strict=True)
