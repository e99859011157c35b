"""Where the training of Zooming Slow-Mo starts: the published start, and one near a bilinear enlargement.

Published: residual blocks begin at a tenth (no block matters much), and offsets at zero with masks of a
half. On top of it the first three channels of every space on the way carry the colours from the frames
to the result, so that the fresh network gives the bilinearly enlarged clip with averages between its
frames, and all else is learned as a departure from that.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import ChannelGraph

CARRIED = 3  # channels
RESIDUAL = 0.1
# The features enter the gates at a quarter, where tanh is nearly straight; the two gates that are passed
# are a half each. 1% more makes up for the bend.
THROUGH_GATES = 0.25 * 0.5 * 0.5 / 1.01
FORGET = -6.0  # before the sigmoid: nothing carried remains

# The rows that an output row of a doubling reads: a quarter of the further, three of the nearer one.
_PHASES = np.array([[0.25, 0.75, 0], [0, 0.75, 0.25]])


def published(tree: Any, graph: ChannelGraph, seed: int) -> Any:
    """Fresh parameters of any form of the network as its published training starts.

    Offsets are zero and masks a half; kernels of residual blocks are a tenth of He-normal and their
    biases zero; all else stays as it is.
    """
    for edge in graph.edges:
        layer = edge.layer(tree)
        if edge.path[-1].startswith("fields"):
            layer = jax.tree.map(jnp.zeros_like, layer)
        elif edge.path[-1] in ("conv_0", "conv_1"):
            rng = np.random.default_rng([seed, zlib.crc32("/".join(edge.path).encode())])
            shape = layer["kernel"].shape
            spread = RESIDUAL * np.sqrt(2 / np.prod(shape[:-1]))
            kernel = jnp.asarray(rng.normal(0, spread, shape), layer["kernel"].dtype)
            layer = {"kernel": kernel, "bias": jnp.zeros_like(layer["bias"])}
        tree = _with_layer(tree, edge.path, layer)
    return tree


def near_bilinear(tree: Any, graph: ChannelGraph, masks: bool) -> Any:
    """Fresh parameters of any form of the network, changed as said above.

    A network with fewer than three channels somewhere cannot carry the colours and stays as it is.
    """
    if min(graph.widths.values()) < CARRIED:
        return tree
    recurrent = any(edge.tile == 4 for edge in graph.edges)
    merged = any(edge.path[-1] == "merge" for edge in graph.edges)
    gain = 1 / THROUGH_GATES if recurrent else 1.0
    changed = tree
    for edge in graph.edges:
        layer = {name: np.array(leaf) for name, leaf in edge.layer(tree).items()}
        name, second = edge.path[-1], graph.widths[edge.inputs[0]]
        if name.startswith("fields"):
            layer = {key: np.zeros_like(leaf) for key, leaf in layer.items()}
        elif name == "conv_1":
            layer = {key: np.float32(RESIDUAL) * leaf for key, leaf in layer.items()}
            _carry(layer, {})
        elif name in ("first", "hr", "last", "merge1"):
            _carry(layer, {0: 1.0})
        elif name == "sample1":
            _carry(layer, {0: 2.0 if masks else 1.0})  # masks are a half
        elif name == "fusion":
            _carry(layer, {0: 0.5, second: 0.5})
        elif name == "merge":
            _carry(layer, {0: gain / 2, second: gain / 2})
        elif name == "gates":
            _carry_through_gates(layer)
        elif name in ("up1", "up2"):
            _carry_doubled(layer, gain if name == "up1" and not merged else 1.0)
        changed = _with_layer(changed, edge.path, jax.tree.map(jnp.asarray, layer))
    return changed


def _carry(layer: dict[str, np.ndarray], gains: dict[int, float], start: int = 0) -> None:
    """The outputs from `start` on become sums of the carried inputs: of every input place, its gain."""
    kernel, bias = layer["kernel"], layer["bias"]
    centre = kernel.shape[0] // 2
    for channel in range(min(CARRIED, kernel.shape[3] - start)):
        kernel[..., start + channel], bias[start + channel] = 0, 0
        for place, gain in gains.items():
            kernel[centre, centre, place + channel, start + channel] = gain


def _carry_through_gates(layer: dict[str, np.ndarray]) -> None:
    """Input and output gate a half, nothing remembered, and the features at a quarter for the tanh."""
    width = layer["bias"].size // 4
    for gate in range(3):  # input, forget, output
        _carry(layer, {}, gate * width)
    layer["bias"][width : width + CARRIED] = FORGET
    _carry(layer, {0: 0.25}, 3 * width)


def _carry_doubled(layer: dict[str, np.ndarray], gain: float) -> None:
    """A bilinear doubling, in the order of the pixel shuffle that follows."""
    kernel, bias = layer["kernel"], layer["bias"]
    for channel in range(CARRIED):
        outputs = slice(4 * channel, 4 * channel + 4)
        kernel[..., outputs], bias[outputs] = 0, 0
        kernel[:, :, channel, outputs] = gain * np.einsum("ik,jl->klij", _PHASES, _PHASES).reshape(3, 3, 4)


def _with_layer(tree: Any, path: tuple[str, ...], layer: Any) -> Any:
    if not path:
        return layer
    return {**tree, path[0]: _with_layer(tree[path[0]], path[1:], layer)}
