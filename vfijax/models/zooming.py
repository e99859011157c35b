"""Zooming Slow-Mo (CVPR 2020): four times the size and twice the frame rate in one network.

From N small frames follow 2N - 1 large ones, in four stages:

    features    a convolution and five residual blocks per frame
    between     for neighbours A and B, fusion(align(A towards B), align(B towards A)): the features of
                the frame between, from deformable convolutions over a pyramid of three scales
    in time     a deformable ConvLSTM over the 2N - 1 features, forwards and backwards with the same
                weights: its states are aligned to the step's features before its gates see them
    frames      40 residual blocks and two pixel shuffles by 2, every time step by itself

The published code is followed where it departs from the paper: the aligned state is fused with the
features aligned to it (the paper warps the states alone), the deformable convolutions have sigmoid
masks (the paper's formulas show none), and a 1x1 convolution joins the two directions. `alignment` and
`masks` choose the paper's form. The ablations (a) to (d) of the paper's table 2 have no published code
and are put together here from the same parts; see `ZoomingConfig`.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import NO_WIDTHS, ChannelGraph, Edge, Widths
from vfijax.inputs import check_frames, check_values
from vfijax.layers import Conv, upsample
from vfijax.models.base import Framing, ModelConfig, check_precision
from vfijax.models.zooming_graph import (
    FEATURE_BLOCKS,
    SIDES,
    Ablation,
    Alignment,
    free_spaces,
    zooming_edges,
)
from vfijax.models.zooming_start import near_bilinear, published
from vfijax.ops.deform_conv import deform_conv
from vfijax.ops.dispatch import check_implementation
from vfijax.params import ModelParams, check_params

Pyramid = tuple[jax.Array, jax.Array, jax.Array]  # whole, half and quarter size

TAPS = 9  # of the deformable convolutions, which are 3x3


@dataclass(frozen=True)
class ZoomingConfig(ModelConfig):
    """Zooming Slow-Mo of any width, and its ablations.

    Attributes:
      widths: the output channels of every layer. A change of the other fields keeps the widths of the
        spaces that stay, and gives 64 channels to new ones.
      blocks: residual blocks of the reconstruction.
      ablation: of table 2. "a" fuses the features of neighbours without aligning them, "b" aligns them
        and has no LSTM, "c" has a plain ConvLSTM, "d" the deformable ConvLSTM, forwards only, "e" is
        the whole network.
      alignment: "fused" joins the aligned state with the features aligned to it, as the published code
        does; "warped" takes the aligned state alone, as the paper has it.
      masks: whether deformable convolutions weigh their samples; the published code does.
      groups: deformable groups: parts of the channels with offsets of their own.
    """

    widths: Widths = NO_WIDTHS
    blocks: int = 40
    ablation: Ablation = "e"
    alignment: Alignment = "fused"
    masks: bool = True
    groups: int = 8

    architecture: ClassVar[str] = "zooming_slowmo"
    stride: ClassVar[int] = 4
    scale: ClassVar[int] = 4

    @property
    def framing(self) -> Framing:
        return Framing(self.stride, "constant")

    def __post_init__(self) -> None:
        if self.ablation not in ("a", "b", "c", "d", "e"):
            raise ValueError(f"{self.name}: ablation is {self.ablation!r}; it is one of a, b, c, d, e")
        if self.alignment not in ("fused", "warped"):
            raise ValueError(f"{self.name}: alignment is {self.alignment!r}; it is fused or warped")
        for field, least in {"blocks": 0, "groups": 1}.items():
            value = getattr(self, field)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{self.name}: {field} is {value!r}; give a whole number of {least} or more")
        if not isinstance(self.masks, bool):
            raise ValueError(f"{self.name}: masks is {self.masks!r}; it is True or False")
        for space in self._sampled():
            if self.widths.get(space, 0) % self.groups:
                raise ValueError(
                    f"{self.name}: groups is {self.groups}, which does not divide the {self.widths[space]} "
                    f"channels of {space}; give a divisor of every sampled width"
                )

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        # The published gradients are exact.
        return Zooming(self, implementation=implementation)

    def replace(self, **changes: Any) -> "ModelConfig":
        config = super().replace(**changes)
        if "widths" in changes or not isinstance(config, ZoomingConfig):
            return config
        table = {space: self.widths.get(space, 64) for space in free_spaces(config.edges)}
        return super(ZoomingConfig, config).replace(widths=Widths.of(table))

    @property
    def edges(self) -> tuple[Edge, ...]:
        return zooming_edges(self.ablation, self.alignment, self.blocks)

    def _sampled(self) -> list[str]:
        """The spaces that deformable convolutions read."""
        return sorted({edge.inputs[0] for edge in self.edges if edge.path[-1].startswith("sample")})

    def near_blend(self, tree: Any) -> Any:
        """The published start, with a way through the network for the bilinearly enlarged clip."""
        return near_bilinear(tree, self.graph(), self.masks)

    def published(self, tree: Any, seed: int) -> Any:
        return published(tree, self.graph(), seed)

    def graph(self) -> ChannelGraph:
        fixed = {"rgb": 3, "fields": (3 if self.masks else 2) * TAPS * self.groups}
        return ChannelGraph(
            widths={**self.widths, **fixed},
            edges=self.edges,
            fixed=frozenset(fixed),
            blocks=dict.fromkeys(self._sampled(), self.groups),
        )


# --------------------------------------------------------------------------------------- modules


def leaky_relu(x: jax.Array) -> jax.Array:
    """Slope 0.1 for values that are not positive, zero included, which counts where states are zero."""
    return jnp.where(x > 0, x, 0.1 * x)


def pixel_shuffle(x: jax.Array) -> jax.Array:
    """[B, H, W, 4C] to [B, 2H, 2W, C]: channel 4c + 2i + j goes to row 2y + i and column 2x + j."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // 4, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)


@functools.cache
def _outputs(config: ZoomingConfig) -> dict[tuple[str, ...], int]:
    """The output channels of every layer, by its path in the parameter tree."""
    graph = config.graph()
    return {edge.path: graph.sizes(edge)[1] for edge in graph.edges}


class Part(nn.Module):
    """A part of the network, whose layers have the widths that the channel graph gives them.

    Attributes:
      config: of the network.
      at: where the part stands in the parameter tree.
      implementation: of the sampling op.
    """

    config: ZoomingConfig
    at: tuple[str, ...] = ()
    implementation: str = "auto"

    def layer(self, name: str, **options: Any) -> Conv:
        return Conv(_outputs(self.config)[(*self.at, name)], name=name, **options)

    def conv(self, name: str, *inputs: jax.Array, **options: Any) -> jax.Array:
        """The convolution `name` of what is concatenated from the inputs, which are never put together."""
        return self.layer(name, **options)(*inputs)

    def part(self, kind: Any, name: str, *options: Any) -> Any:
        return kind(self.config, (*self.at, name), self.implementation, *options, name=name)


class Block(Part):
    """A residual block without normalisation or scaling."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.conv("conv_1", nn.relu(self.conv("conv_0", x)))


class Blocks(Part):
    """A stack of residual blocks."""

    count: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.count):
            x = self.part(Block, f"block{i}")(x)
        return x


class Scales(Part):
    """Features [B, H, W, C] at their own, half and quarter size."""

    @nn.compact
    def __call__(self, x: jax.Array) -> Pyramid:
        levels = [x]
        for level in (2, 3):
            x = leaky_relu(self.conv(f"level{level}_0", x, stride=2))
            x = leaky_relu(self.conv(f"level{level}_1", x))
            levels.append(x)
        return levels[0], levels[1], levels[2]


class Side(Part):
    """Aligns one pyramid to another, from coarse to fine (the paper's figure 3).

    At every level a guide made of both images and of the coarser guide gives the offsets and masks of
    a deformable convolution of the image; what was aligned at the coarser level joins it. Guides are
    feature maps, not offsets, and are doubled all the same when they go to a finer level.
    """

    @nn.compact
    def __call__(self, images: Pyramid, others: Pyramid) -> jax.Array:
        guide, aligned = self.coarsest(images[2], others[2])
        for level in (2, 1):
            image, other = images[level - 1], others[level - 1]
            begun = leaky_relu(self.conv(f"offset{level}_0", image, other))
            guide = 2 * upsample(guide, align_corners=False)
            guide = leaky_relu(self.conv(f"offset{level}_1", begun, guide))
            guide = leaky_relu(self.conv(f"offset{level}_2", guide))
            sampled = self.sample(level, image, guide)
            aligned = self.conv(f"merge{level}", sampled, upsample(aligned, align_corners=False))
            aligned = leaky_relu(aligned) if level == 2 else aligned
        return aligned

    def coarsest(self, image: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
        guide = leaky_relu(self.conv("offset3_1", leaky_relu(self.conv("offset3_0", image, other))))
        return guide, leaky_relu(self.sample(3, image, guide))

    def sample(self, level: int, image: jax.Array, guide: jax.Array) -> jax.Array:
        """The deformable convolution; offsets lie in pairs, row then column, and masks after them."""
        taps = TAPS * self.config.groups
        fields = jnp.moveaxis(self.conv(f"fields{level}", guide).astype(jnp.float32), -1, 1)
        offset_y, offset_x = fields[:, 0 : 2 * taps : 2], fields[:, 1 : 2 * taps : 2]
        mask = nn.sigmoid(fields[:, 2 * taps :]) if self.config.masks else jnp.ones_like(offset_y)
        kernel, bias = self.layer(f"sample{level}").parameters(image.shape[-1])
        out = deform_conv(image, offset_y, offset_x, mask, kernel, implementation=self.implementation)
        return out + bias.reshape(1, 1, 1, -1)


class Align(Part):
    """Two pyramids, each aligned to the other, or of two sides the one that is named."""

    sides: tuple[str, ...] = SIDES

    @nn.compact
    def __call__(self, first: Pyramid, second: Pyramid) -> list[jax.Array]:
        pyramids = {"first": (first, second), "second": (second, first)}
        return [self.part(Side, side)(*pyramids[side]) for side in self.sides]


class AlignedState(Part):
    """A state of the LSTM, aligned to the features of the step (section 3.3)."""

    @nn.compact
    def __call__(self, features: jax.Array, state: jax.Array) -> jax.Array:
        both = self.part(Scales, "pyramid")(jnp.concatenate([features, state]))
        pyramids = zip(*(jnp.split(level, 2) for level in both), strict=True)
        if self.config.alignment == "warped":
            return self.part(Align, "align", SIDES[1:])(*pyramids)[0]
        aligned = self.part(Align, "align")(*pyramids)
        return self.conv("fusion", *aligned, size=1, padding=0)


class Step(Part):
    """One time step of the ConvLSTM: carry (h, c) and features, all [B, H, W, C], to carry and h.

    Its states are aligned to the features first, except in the plain one of ablation (c).
    """

    @nn.compact
    def __call__(
        self, carry: tuple[jax.Array, jax.Array], x: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        h, c = carry
        if self.config.ablation != "c":
            h, c = self.part(AlignedState, "hidden")(x, h), self.part(AlignedState, "cell")(x, c)
        i, f, o, g = jnp.split(self.conv("gates", x, h), 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


def over_time(kind: Any) -> Any:
    """The module `kind`, called as `(carry, x)`, as a loop over the first axis of x with shared weights."""
    return nn.scan(kind, variable_broadcast="params", split_rngs={"params": False})


class Bidirectional(Part):
    """The LSTM forwards and backwards with the same weights, joined; [T, B, H, W, C]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # One batch runs in both directions.
        hidden = run_lstm(self, "lstm", jnp.concatenate([x, x[::-1]], axis=1))
        forwards, backwards = jnp.split(hidden, 2, axis=1)
        hidden = jnp.concatenate([forwards, backwards[::-1]], axis=-1)
        merged = self.conv("merge", hidden.reshape(-1, *hidden.shape[2:]), size=1, padding=0)
        return merged.reshape(*x.shape[:-1], -1)


def run_lstm(parent: Part, name: str, x: jax.Array) -> jax.Array:
    """The hidden states over time of features [T, B, H, W, C]; the states start at zero."""
    step = parent.part(over_time(Step), name)
    width = _outputs(parent.config)[(*step.at, "gates")] // 4
    start = jnp.zeros((*x.shape[1:-1], width), x.dtype)
    return step((start, start), x)[1]


class Frames(Part):
    """From the features of a time step, [B, H, W, C], to its frame, [B, 4H, 4W, 3]."""

    @nn.compact
    def __call__(self, carry: tuple[()], x: jax.Array) -> tuple[tuple[()], jax.Array]:
        x = self.part(Blocks, "trunk", self.config.blocks)(x)
        for name in ("up1", "up2"):
            x = leaky_relu(pixel_shuffle(self.conv(name, x)))
        return carry, self.conv("last", leaky_relu(self.conv("hr", x))).astype(jnp.float32)


class Zooming(Part):
    """`config.module()`: two frames to the one between them, or a clip to a larger and denser one."""

    def __call__(self, f0: jax.Array, f1: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """[B, H, W, 3], H and W multiples of 4, to [B, 4H, 4W, 3]; nothing but that frame is made."""
        frames = self.clip(jnp.stack([f0, f1], axis=1), only=1)
        return frames[:, 0], {"offsets": (), "masks": {}, "warped": ()}

    @nn.compact
    def clip(self, frames: jax.Array, only: int | None = None) -> jax.Array:
        """[B, N, H, W, 3] to [B, 2N-1, 4H, 4W, 3], or to the one time step that is asked for."""
        frames = jnp.moveaxis(frames, 1, 0)
        count, batch = frames.shape[:2]
        x = leaky_relu(self.conv("first", frames.reshape(-1, *frames.shape[2:])))
        x = self.part(Blocks, "features", FEATURE_BLOCKS)(x)
        between = self.between(x, batch)
        x, between = (a.reshape(-1, batch, *a.shape[1:]) for a in (x, between))
        pairs = jnp.stack([x[:-1], between], axis=1).reshape(2 * (count - 1), *x.shape[1:])
        x = self.in_time(jnp.concatenate([pairs, x[-1:]]))
        x = x if only is None else x[only : only + 1]
        _, large = self.part(over_time(Frames), "frames")((), x)
        return jnp.moveaxis(large, 0, 1)

    def between(self, x: jax.Array, batch: int) -> jax.Array:
        """The features between neighbours of [N*B, H, W, C], time first: [(N-1)*B, H, W, C]."""
        if self.config.ablation == "a":
            return self.conv("fusion", x[:-batch], x[batch:], size=1, padding=0)
        levels = self.part(Scales, "pyramid")(x)
        first, second = tuple(a[:-batch] for a in levels), tuple(a[batch:] for a in levels)
        return self.conv("fusion", *self.part(Align, "align")(first, second), size=1, padding=0)

    def in_time(self, x: jax.Array) -> jax.Array:
        """The temporal part of the ablation, on [T, B, H, W, C]."""
        if self.config.ablation in "ab":
            return x
        if self.config.ablation == "e":
            return self.part(Bidirectional, "bidirectional")(x)
        return run_lstm(self, "conv_lstm" if self.config.ablation == "c" else "deformable_lstm", x)


# ------------------------------------------------------------------------------------------ clips


def forward_clip(
    params: ModelParams,
    frames: jax.Array,
    *,
    implementation: str = "auto",
    precision: str = "float32",
) -> jax.Array:
    """Runs the network on a clip: pad with zeros at the bottom and on the right, apply, crop.

    Differentiable in `params` and in the frames.

    Args:
      params: a Zooming Slow-Mo model.
      frames: [B, N, H, W, 3], float in [0, 1], RGB, N, H and W at least 2.
      implementation: of the sampling op, see `vfijax.ops.dispatch`.
      precision: "float32", or "bfloat16" for the convolutions; sampling stays float32.

    Returns:
      [B, 2N-1, 4H, 4W, 3], float32, not clipped. Even time steps belong to the given frames, odd ones
      lie between them.

    Raises:
      TypeError: no `ModelParams`, frames that are no floating-point array.
      ValueError: frames of another rank or size, NaN or another scale than [0, 1] (where values are known), a
        model of another kind, an unknown implementation or precision.
    """
    check_params("forward_clip", params)
    params.config.check_kind("clip", "forward_clip")
    check_implementation(implementation)
    check_precision("forward_clip", precision)
    check_frames("forward_clip", frames=frames)
    if frames.dtype == jnp.uint8:
        raise TypeError(
            "forward_clip: frames is uint8; give floats in [0, 1], such as vfijax.levels.to_float"
        )
    shape = tuple(frames.shape)
    if len(shape) != 5 or shape[-1] != 3 or shape[0] < 1 or min(shape[1:4]) < 2:
        raise ValueError(
            f"forward_clip: frames has shape {shape}; RGB [B, N, H, W, 3] is needed, B at least 1, N, H and "
            "W at least 2"
        )
    check_values("forward_clip", "clip", frames=frames)
    framing, config = params.config.framing, params.config
    large = apply_to_clip(params, framing.prepare(frames), implementation=implementation, precision=precision)
    return framing.restore(large, *shape[2:4], config.scale)


def apply_to_clip(
    params: ModelParams,
    frames: jax.Array | np.ndarray,
    *,
    implementation: str = "auto",
    precision: str = "float32",
) -> jax.Array:
    """`forward_clip` between `Framing.prepare` and `Framing.restore`."""
    tree = jax.tree.map(lambda leaf: leaf.astype(precision), params.tree)
    module: Any = params.config.module(implementation)
    return module.apply({"params": tree}, jnp.asarray(frames, jnp.float32), method="clip")


_PLAIN = ZoomingConfig("zooming_slowmo")

# name: config. Parameters: 11 102 771; ablations a to d: 3 667 651, 6 039 379, 6 334 547 and 11 094 515.
CONFIGS = {"zooming_slowmo": _PLAIN.replace(blocks=40)}
