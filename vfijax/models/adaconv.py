"""AdaConv: adaptive convolution (Niklaus et al., CVPR 2017).

A network without padding looks at 79x79 patches of both frames around a pixel and estimates two kernels
of 41x41 numbers, by one softmax over both, so that they sum to one together (section 3, table 1):

    frame = adaptive_conv(f0, kernel0) + adaptive_conv(f1, kernel1)

Layers and order of the 41 * 2 * 41 outputs (row, frame, column) are recalled from the paper; no code was
published. The patches of neighbouring pixels overlap, so that the network runs once over the replicated
frames, with dilations in place of its strides; the kernels are then estimated and applied in bands of
rows, because a full picture of them would not fit: 3362 numbers per pixel are 1.5 GB at 256x448.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vfijax.channels import NO_WIDTHS, ChannelGraph, Edge, Widths
from vfijax.layers import BatchNorm, Conv, convolve, pad_edges
from vfijax.models.base import Framing, ModelConfig
from vfijax.models.unet import tap_major
from vfijax.ops import adaptive_conv

TAPS = 41
# layer: side of its kernel, distance of its samples, whether a normalisation follows. A stride of 2, as
# `down1` to `down3` have it for a single patch, doubles the distances of all later layers.
LAYERS = {
    "conv1": (7, 1, True),
    "down1": (2, 1, False),
    "conv2": (5, 2, True),
    "down2": (2, 2, False),
    "conv3": (5, 4, True),
    "down3": (2, 4, False),
    "conv4": (3, 8, True),
    "fc1": (4, 8, False),
    "fc2": (1, 1, False),
}
SHARED = tuple(name for name in LAYERS if not name.startswith("fc"))  # computed for the whole picture
REACH = sum((size - 1) * distance for size, distance, _ in LAYERS.values())  # rows read besides the own: 77
BAND = 4  # rows whose kernels exist at a time


@dataclass(frozen=True)
class AdaConvConfig(ModelConfig):
    """AdaConv of any width.

    Attributes:
      taps: n; the kernels are n x n.
      widths: the output channels of every layer.
    """

    widths: Widths = NO_WIDTHS
    taps: int = TAPS

    architecture: ClassVar[str] = "adaconv"

    @property
    def framing(self) -> Framing:
        return Framing(1, "edge", colours="BGR")

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return AdaConv(self, implementation)

    def graph(self) -> ChannelGraph:
        fixed = {"pair": 6, "kernels": 2 * self.taps**2}
        edges: list[Edge] = []
        source = "pair"
        for name, (size, _, normalised) in LAYERS.items():
            target = "kernels" if name == "fc2" else name
            edges.append(Edge((name,), (source,), target, size=size))
            edges += [Edge((f"{name}_norm",), (), target, size=0)] if normalised else []
            source = target
        return ChannelGraph(widths={**self.widths, **fixed}, edges=tuple(edges), fixed=frozenset(fixed))

    def near_blend(self, tree: Any) -> Any:
        """Seven eighths of the weight on the two centres; the hidden layers keep the signal, as in `unet`."""
        count, centre = self.taps**2, np.zeros((self.taps, 2, self.taps), np.float32)
        centre[self.taps // 2, :, self.taps // 2] = np.log(7 * max(count - 1, 1))
        last = {"kernel": tree["fc2"]["kernel"], "bias": jnp.asarray(centre.ravel())}
        hidden = {
            name: {
                "kernel": tree[name]["kernel"] * float(np.sqrt(6)),
                "bias": jnp.zeros_like(tree[name]["bias"]),
            }
            for name in LAYERS
            if name != "fc2"
        }
        return {**tree, **hidden, "fc2": last}


class AdaConv(nn.Module):
    """`config.module()`; called with two frames [B, H, W, 3] of any size.

    A picture of 256x448 needs 0.22 GB besides the parameters: 0.14 GB for its features, 256 per pixel, and
    a few copies of the kernels of one band, 24 MB each. Gradients compute every band a second time instead
    of keeping it.
    """

    config: AdaConvConfig
    implementation: str = "auto"

    @nn.compact
    def __call__(self, f0: jax.Array, f1: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        widths, taps = self.config.graph().widths, self.config.taps
        batch, height, width, _ = f0.shape
        band = min(BAND, height)
        rows = height + -height % band  # all bands have as many; what is too much is cut off

        def conv(name: str) -> Conv:
            size, distance, _ = LAYERS[name]
            features = widths["kernels" if name == "fc2" else name]
            return Conv(features, size=size, padding=0, dilation=distance, name=name)

        x = more_rows(pad_edges(jnp.concatenate([f0, f1], axis=-1), (REACH + 1) // 2), rows - height)
        for name in SHARED:
            x = conv(name)(x)
            x = nn.relu(BatchNorm(name=f"{name}_norm")(x) if LAYERS[name][2] else x)

        # Within the loop over bands the last two layers are plain functions of their parameters.
        size, distance, _ = LAYERS["fc1"]
        reach = (size - 1) * distance
        first, bias_1 = conv("fc1").parameters(x.shape[-1])
        second, bias_2 = conv("fc2").parameters(first.shape[-1])
        images = [more_rows(pad_edges(frame, taps // 2), rows - height) for frame in (f0, f1)]

        @jax.checkpoint
        def filtered(start: jax.Array) -> jax.Array:
            """The contributions of both frames to the rows of one band, [2, B, band, W, 3]."""
            seen = lax.dynamic_slice_in_dim(x, start, band + reach, axis=1)[:, :, : width + reach]
            hidden = nn.relu(convolve(seen, first, padding=0, dilation=distance) + _row_of(bias_1))
            out = (convolve(hidden, second, padding=0) + _row_of(bias_2)).astype(f0.dtype)
            kernels = nn.softmax(out, axis=-1).reshape(batch, band, width, taps, 2, taps)
            parts = []
            for side, image in enumerate(images):
                window = lax.dynamic_slice_in_dim(image, start, band + taps - 1, axis=1)
                kernel = tap_major(kernels[..., side, :].reshape(batch, band, width, taps**2))
                parts.append(adaptive_conv(window, kernel, implementation=self.implementation))
            return jnp.stack(parts)

        bands = lax.map(filtered, jnp.arange(0, rows, band))
        joined = jnp.moveaxis(bands, 0, 2).reshape(2, batch, rows, width, 3)[:, :, :height]
        parts = (joined[0], joined[1])
        return parts[0] + parts[1], {"offsets": (), "masks": {}, "warped": parts}


def more_rows(x: jax.Array, count: int) -> jax.Array:
    """Replicates the last row of [B, H, W, C]."""
    return jnp.pad(x, ((0, 0), (0, count), (0, 0), (0, 0)), mode="edge")


def _row_of(vector: jax.Array) -> jax.Array:
    return vector.reshape(1, 1, 1, -1)


_FULL = {
    "conv1": 32,
    "down1": 32,
    "conv2": 64,
    "down2": 64,
    "conv3": 128,
    "down3": 128,
    "conv4": 256,
    "fc1": 2048,
}

# name: config. Parameters: 15 927 394, and 960 running means and variances.
CONFIGS: dict[str, ModelConfig] = {"adaconv": AdaConvConfig("adaconv", Widths.of(_FULL))}
