"""The kernel-estimation U-Net of AdaCoF and CDFI (AdaCoF, section 3; CDFI, section 3.2).

Five encoder levels of three convolutions with 2x2 mean pooling between them; a decoder that doubles
the size and adds the encoder level of that size; at half resolution several heads, each of which
ends at full resolution. Every convolution is 3x3 with zero padding and bias, and is followed by a
ReLU except for the last one of a head. The widths come from a table, so that the compressed
networks are this code with other numbers.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import Edge, Widths
from vfijax.layers import Conv, mean_pool, side_by_side, upsample

LEVELS = (1, 2, 3, 4, 5)
DECODER = (5, 4, 3, 2)
MEAN = (0.4631, 0.4352, 0.3990)  # of R, G, B in the training frames; subtracted, not scaled

TAP_HEADS = ("weight1", "offset_y1", "offset_x1", "weight2", "offset_y2", "offset_x2")
MASK_HEADS = ("occlusion", "blend")


def unet_edges(heads: Sequence[str]) -> tuple[Edge, ...]:
    """The layers of the network with the given heads, by channel space.

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
        end = "mask" if head in MASK_HEADS else "taps"
        chains.append((head, ["level2", f"{head}_0", f"{head}_1", f"{head}_2", end]))
    return tuple(
        Edge(("unet", f"{block}_{i}"), (source,), target)
        for block, spaces in chains
        for i, (source, target) in enumerate(pairwise(spaces))
    )


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


def near_copy(tree: Any, taps: int, masks: Mapping[str, float]) -> Any:
    """Changes a fresh network so that it starts close to copying the frames, and learns soon.

    The plain start loses more than half of the signal in every layer, so that the heads see little but
    biases for thousands of steps. Here the hidden layers keep it (He et al., 2015: kernels uniform
    within sqrt(6 / fan_in), no biases), and seven eighths of the weight lie on the centre taps.

    Args:
      tree: parameters of the `UNet` as `create` draws them.
      taps: side of the tap grid.
      masks: the mask heads, each with the value before the sigmoid where it starts.
    """
    count = taps * taps
    centre = np.zeros(count, np.float32)
    centre[count // 2] = np.log(7 * count)
    starts: dict[str, Any] = {f"{head}_3": centre for head in TAP_HEADS if head.startswith("weight")}
    starts |= {f"{head}_3": np.full(1, value) for head, value in masks.items()}

    def changed(name: str, layer: Any) -> Any:
        gain = 1.0 if name.endswith("_3") else np.sqrt(6)
        bias = jnp.broadcast_to(jnp.asarray(starts.get(name, 0), layer["bias"].dtype), layer["bias"].shape)
        return {"kernel": layer["kernel"] * gain, "bias": bias}

    return {name: changed(name, layer) for name, layer in tree.items()}


class UNet(nn.Module):
    """From a pair of frames to the outputs of its heads.

    Attributes:
      widths: the width of every channel space, with `taps` and `mask`.
      heads: names out of `TAP_HEADS` and `MASK_HEADS`.
    """

    widths: Widths
    heads: tuple[str, ...]

    @nn.compact
    def __call__(self, f0: jax.Array, f1: jax.Array) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        """[B, H, W, 3] frames, H and W multiples of 32, to the five encoder levels and the heads.

        Tap heads are [B, T, H, W], weights by softmax over the taps, offsets in pixels. Masks are
        [B, H, W, 1] in (0, 1).
        """
        target = {edge.path[-1]: edge.output for edge in unet_edges(self.heads)}

        def conv(name: str) -> Conv:
            return Conv(self.widths[target[name]], name=name)

        def block(name: str, x: jax.Array, layers: range = range(3)) -> jax.Array:
            for i in layers:
                x = nn.relu(conv(f"{name}_{i}")(x))
            return x

        mean = jnp.asarray(MEAN, f0.dtype).reshape(1, 1, 1, 3)
        x = jnp.concatenate([f0 - mean, f1 - mean], axis=-1)
        levels: list[jax.Array] = []
        for level in LEVELS:
            x = block(f"conv{level}", mean_pool(x) if levels else x)
            levels.append(x)

        x = mean_pool(x)
        for level in DECODER:
            x = upsample(block(f"deconv{level}", x), align_corners=True)
            x = nn.relu(conv(f"up{level}_0")(x)) + levels[level - 1]

        outputs = {}
        beginnings = side_by_side([conv(f"{head}_0") for head in self.heads], x)
        for head, begun in zip(self.heads, beginnings, strict=True):
            hidden = block(head, nn.relu(begun), range(1, 3))
            out = conv(f"{head}_3")(upsample(hidden, align_corners=True)).astype(f0.dtype)
            if head in MASK_HEADS:
                outputs[head] = nn.sigmoid(out)
                continue
            out = nn.softmax(out, axis=-1) if head.startswith("weight") else out
            outputs[head] = jnp.moveaxis(out, -1, 1)
        return levels, outputs
