"""The U-Net that estimates per-pixel kernels (SepConv, section 3; AdaCoF, section 3; CDFI, section 3.2).

Five encoder levels of three convolutions with 2x2 mean pooling between them; a decoder that doubles
the size and adds the encoder level of that size; at half resolution several heads, each of which
ends at full resolution. Every convolution is 3x3 with zero padding and bias, and is followed by a
ReLU except for the last one of a head.

AdaCoF, CDFI, SepConv, DSepConv and EDSC are this network. They differ in their heads (`Head`), in the
widths, which come from a table, in whether the mean colour is subtracted first, and, in EDSC, in the
kind of convolution between the first one and the heads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import Edge, Widths
from vfijax.layers import Conv, HetConv, mean_pool, side_by_side, upsample

LEVELS = (1, 2, 3, 4, 5)
DECODER = (5, 4, 3, 2)
MEAN = (0.4631, 0.4352, 0.3990)  # of R, G, B in AdaCoF's training frames; subtracted, not scaled

Trunk = Literal["plain", "heterogeneous"]
# The convolutions that a HetConv of the trunk adds up: their groups, and the sides of their kernels.
BRANCHES = {"grouped": (4, 3), "pointwise": (1, 1), "pointwise_grouped": (4, 1)}


@dataclass(frozen=True)
class Head:
    """One output: three convolutions with ReLU at half resolution, doubling of the size, and one more.

    Attributes:
      name: of its layers, NAME_0 to NAME_3.
      end: the channel space of the result.
      activation: of the result; the softmax runs over the channels.
      extra: the channel spaces that it reads besides the features, from arrays given to the network.
    """

    name: str
    end: str
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    extra: tuple[str, ...] = ()


def unet_layers(heads: Sequence[Head]) -> dict[str, tuple[tuple[str, ...], str]]:
    """Layer name to the channel spaces that it reads and the one that it writes.

    `level2` to `level5` are the sums of encoder and decoder: both sides write the same space.
    """
    chains = []
    for level in LEVELS:
        source = "pair" if level == 1 else f"level{level - 1}"
        chains.append((f"conv{level}", [source, f"conv{level}_0", f"conv{level}_1", f"level{level}"]))
    for level in DECODER:
        source = "level5" if level == 5 else f"level{level + 1}"
        names = [f"deconv{level}_{i}" for i in range(3)]
        chains.append((f"deconv{level}", [source, *names]))
        chains.append((f"up{level}", [names[-1], f"level{level}"]))
    for head in heads:
        chains.append((head.name, ["level2", *(f"{head.name}_{i}" for i in range(3)), head.end]))
    extra = {f"{head.name}_0": head.extra for head in heads}
    return {
        f"{block}_{i}": ((source, *extra.get(f"{block}_{i}", ())), target)
        for block, spaces in chains
        for i, (source, target) in enumerate(pairwise(spaces))
    }


def unet_edges(heads: Sequence[Head], trunk: Trunk = "plain") -> tuple[Edge, ...]:
    """The layers of the network with the given heads, by channel space."""
    edges: list[Edge] = []
    for name, spaces in unet_layers(heads).items():
        if _is_heterogeneous(name, heads, trunk):
            edges += (
                Edge(("unet", name, branch), *spaces, groups=groups, size=size)
                for branch, (groups, size) in BRANCHES.items()
            )
        else:
            edges.append(Edge(("unet", name), *spaces, size=3))
    return tuple(edges)


def _is_heterogeneous(layer: str, heads: Sequence[Head], trunk: Trunk) -> bool:
    """The first layer and those of the heads are plain in every trunk."""
    plain = {"conv1_0", *(f"{head.name}_{i}" for head in heads for i in range(4))}
    return trunk == "heterogeneous" and layer not in plain


def unet_widths(
    encoder: Sequence[Sequence[int]],
    decoder: Sequence[Sequence[int]],
    heads: Mapping[str, Sequence[int]],
) -> Widths:
    """A width table from the output channels of the three convolutions per block.

    Args:
      encoder: levels 1 to 5; the last number of each is the width of the level.
      decoder: levels 5 to 2.
      heads: the three hidden convolutions of every head.
    """
    table: dict[str, int] = {}
    for level, widths in zip(LEVELS, encoder, strict=True):
        table |= dict(zip((f"conv{level}_0", f"conv{level}_1", f"level{level}"), widths, strict=True))
    for level, widths in zip(DECODER, decoder, strict=True):
        table |= {f"deconv{level}_{i}": width for i, width in enumerate(widths)}
    for head, widths in heads.items():
        table |= {f"{head}_{i}": width for i, width in enumerate(widths)}
    return Widths.of(table)


# SepConv's own widths, which AdaCoF, DSepConv and EDSC took over.
FULL_ENCODER = tuple((w, w, w) for w in (32, 64, 128, 256, 512))
FULL_DECODER = tuple((w, w, w) for w in (512, 256, 128, 64))


class Start(NamedTuple):
    """Where the last layer of a head starts: its biases [out] or one for all, and a gain for its kernel."""

    value: Any = 0.0
    gain: float = 1.0


def near_copy(tree: Any, starts: Mapping[str, Start]) -> Any:
    """Changes a fresh network so that its heads start at given values, and learn soon.

    The plain start loses more than half of the signal in every layer, so that the heads see little but
    biases for thousands of steps. Here the hidden layers keep it (He et al., 2015: kernels uniform
    within sqrt(6 / fan_in), no biases).

    Args:
      tree: parameters of the `UNet` as `create` draws them.
      starts: head to start; `Start()` for those left out.
    """

    def changed(layer: Any, gain: float, value: Any = 0.0) -> Any:
        bias = jnp.broadcast_to(jnp.asarray(value, layer["bias"].dtype), layer["bias"].shape)
        return {"kernel": layer["kernel"] * float(gain), "bias": bias}

    def started(name: str, layer: Any) -> Any:
        if "kernel" not in layer:  # a HetConv, whose branches add up
            return {branch: changed(inner, np.sqrt(6 / len(layer))) for branch, inner in layer.items()}
        if not name.endswith("_3"):
            return changed(layer, np.sqrt(6))
        start = starts.get(name.removesuffix("_3"), Start())
        return changed(layer, start.gain, start.value)

    return {name: started(name, layer) for name, layer in tree.items()}


class UNet(nn.Module):
    """From a pair of frames to the outputs of its heads.

    Attributes:
      widths: the width of every channel space, with those where the heads end.
      heads: the outputs.
      trunk: "heterogeneous" has a `HetConv` for every layer but the first one and those of the heads.
      mean: three colours, subtracted from the frames; None leaves them as they are.
    """

    widths: Widths
    heads: tuple[Head, ...]
    trunk: Trunk = "plain"
    mean: tuple[float, float, float] | None = None

    @nn.compact
    def __call__(
        self, f0: jax.Array, f1: jax.Array, extra: Mapping[str, jax.Array] | None = None
    ) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        """The five encoder levels, and the heads by name.

        Args:
          f0, f1: [B, H, W, 3], H and W multiples of 32.
          extra: channel space to [B, H/2, W/2, C], for the heads that read more than the features.

        Returns:
          Levels [B, H, W, C] to [B, H/16, W/16, C], and heads [B, H, W, C] in the dtype of the frames.
        """
        layers = unet_layers(self.heads)

        def conv(name: str) -> Conv | HetConv:
            kind = HetConv if _is_heterogeneous(name, self.heads, self.trunk) else Conv
            return kind(self.widths[layers[name][1]], name=name)

        def block(name: str, x: jax.Array, indices: range = range(3)) -> jax.Array:
            for i in indices:
                x = nn.relu(conv(f"{name}_{i}")(x))
            return x

        pair = [f0, f1]
        if self.mean is not None:
            mean = jnp.asarray(self.mean, f0.dtype).reshape(1, 1, 1, 3)
            pair = [frame - mean for frame in pair]
        x = jnp.concatenate(pair, axis=-1)
        levels: list[jax.Array] = []
        for level in LEVELS:
            x = block(f"conv{level}", mean_pool(x) if levels else x)
            levels.append(x)

        x = mean_pool(x)
        for level in DECODER:
            x = upsample(block(f"deconv{level}", x), align_corners=True)
            x = nn.relu(conv(f"up{level}_0")(x)) + levels[level - 1]

        begun: dict[str, jax.Array] = {}
        for spaces in dict.fromkeys(head.extra for head in self.heads):  # heads of the same input together
            names = [head.name for head in self.heads if head.extra == spaces]
            read = jnp.concatenate([x, *((extra or {})[space].astype(x.dtype) for space in spaces)], axis=-1)
            first = [Conv(self.widths[f"{name}_0"], name=f"{name}_0") for name in names]
            begun |= zip(names, side_by_side(first, read), strict=True)

        outputs = {}
        for head in self.heads:
            hidden = block(head.name, nn.relu(begun[head.name]), range(1, 3))
            out = conv(f"{head.name}_3")(upsample(hidden, align_corners=True)).astype(f0.dtype)
            outputs[head.name] = ACTIVATIONS[head.activation](out)
        return levels, outputs


ACTIVATIONS = {"none": lambda x: x, "softmax": nn.softmax, "sigmoid": nn.sigmoid}


def tap_major(x: jax.Array) -> jax.Array:
    """[B, H, W, T] to [B, T, H, W], the layout of fields for the sampling ops."""
    return jnp.moveaxis(x, -1, 1)
