"""DSepConv: deformable separable convolution (Cheng and Chen, AAAI 2020).

As in SepConv, every output pixel has a vertical and a horizontal kernel for each frame, but of few
numbers: their n*n taps are moved by offsets and weighted by masks in (0, 1) (eq. 2 and 4):

    frame = dsepconv(f0, vertical1, horizontal1, offset_y1, offset_x1, mask1) + the same with f1 and 2

The network file was not published. Encoder and decoder are SepConv's; the heads are those of the
successor EDSC, whose hidden layers have 64 and 32 channels. The parameters are as many as published for
n = 5 (21.8 million). n = 1 is bidirectional warping, n = 5 the method of the paper, and without masks
one has its ablation.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import numpy as np

from vfijax.channels import NO_WIDTHS, ChannelGraph, Widths
from vfijax.models.base import Framing, ModelConfig
from vfijax.models.sepconv import centre_of
from vfijax.models.unet import (
    FULL_DECODER,
    FULL_ENCODER,
    Head,
    Start,
    Trunk,
    UNet,
    near_copy,
    tap_major,
    unet_edges,
    unet_widths,
)
from vfijax.ops import dsepconv
from vfijax.ops.dsepconv import Grid

CALM = 0.1  # gain for the last kernels of a fresh network, except those of the offsets


@dataclass(frozen=True)
class DSepConvConfig(ModelConfig):
    """DSepConv of any width and any odd number of taps.

    Attributes:
      widths: the output channels of every layer. With another number of taps, `replace` gives the last
        hidden layers of the heads, which are as wide as their result, the widths of that network.
      taps: n, odd; every pixel is made from n*n samples per frame.
      masks: whether samples are masked.
      grid: see `vfijax.ops.dsepconv`; "reference" for published weights, with which training starts at
        offsets that centre it.
    """

    widths: Widths = NO_WIDTHS
    taps: int = 5
    masks: bool = True
    grid: Grid = "reference"

    architecture: ClassVar[str] = "dsepconv"
    stride: ClassVar[int] = 32
    trunk: ClassVar[Trunk] = "plain"

    def __post_init__(self) -> None:
        if self.taps < 1 or self.taps % 2 == 0:
            raise ValueError(f"{self.name}: taps is {self.taps}; give an odd number, 1 or more")

    @property
    def heads(self) -> tuple[Head, ...]:
        return heads_of(self.masks)

    @property
    def framing(self) -> Framing:
        return Framing(self.stride, "edge", colours="BGR")

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return DSepConv(self, implementation)

    def graph(self) -> ChannelGraph:
        fixed = {"pair": 6, **ends_of(self.heads, self.taps)}
        fixed |= {space: 1 for head in self.heads for space in head.extra}
        edges = unet_edges(self.heads, self.trunk)
        return ChannelGraph(widths={**self.widths, **fixed}, edges=edges, fixed=frozenset(fixed))

    def near_blend(self, tree: Any) -> Any:
        """Half of each frame: kernels concentrated at the centre, over a centred grid, with small offsets."""
        return {**tree, "unet": near_copy(tree["unet"], starts(self.taps, self.masks, self.grid))}

    def replace(self, **changes: Any) -> "DSepConvConfig":
        new = super().replace(**changes)
        assert isinstance(new, DSepConvConfig)
        if "widths" in changes or (new.taps, new.masks) == (self.taps, self.masks):
            return new
        before, after = (full_widths(config.heads, config.taps) for config in (self, new))
        same = {space: self.widths[space] for space in after if before.get(space) == after[space]}
        return dataclasses.replace(new, widths=Widths.of({**after, **same}))


class DSepConv(nn.Module):
    """`config.module()`; called with two frames [B, H, W, 3], H and W multiples of 32."""

    config: DSepConvConfig
    implementation: str = "auto"

    @nn.compact
    def __call__(self, f0: jax.Array, f1: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        widths = Widths.of(self.config.graph().widths)
        _, heads = UNet(widths, self.config.heads, name="unet")(f0, f1)
        parts = filtered((f0, f1), heads, self.config.grid, self.implementation)
        return parts[0] + parts[1], {"offsets": (), "masks": {}, "warped": parts}


def filtered(
    frames: tuple[jax.Array, jax.Array], heads: Mapping[str, jax.Array], grid: Grid, implementation: str
) -> tuple[jax.Array, jax.Array]:
    """What the heads make of each of the two frames, [B, H, W, 3]."""
    first, second = (
        dsepconv(frame, *fields_of(heads, side), grid=grid, implementation=implementation)
        for side, frame in enumerate(frames, 1)
    )
    return first, second


def heads_of(masks: bool, extra: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())) -> tuple[Head, ...]:
    """The heads of both frames; `extra` is what those of the first and of the second read besides."""
    heads = []
    for side, read in enumerate(extra, 1):
        heads += [Head(f"{axis}{side}", "line", extra=read) for axis in ("vertical", "horizontal")]
        heads += [Head(f"{axis}{side}", "taps", extra=read) for axis in ("offset_y", "offset_x")]
        heads += [Head(f"mask{side}", "taps", "sigmoid", read)] if masks else []
    return tuple(heads)


def fields_of(heads: Mapping[str, jax.Array], side: int) -> list[jax.Array]:
    """The fields of `ops.dsepconv` for the first (1) or second (2) frame; without masks, the others."""
    names = ("vertical", "horizontal", "offset_y", "offset_x", "mask")
    return [tap_major(heads[f"{name}{side}"]) for name in names if f"{name}{side}" in heads]


def starts(taps: int, masks: bool, grid: Grid) -> dict[str, Start]:
    """Where training starts: the products of kernels and mask sum to a half, all of it at the centre."""
    line = Start((1.0 if masks else np.sqrt(0.5)) * centre_of(taps), CALM)  # a mask starts at a half
    offset = Start((taps - 3) / 2 if grid == "reference" else 0.0)
    begin = {"vertical": line, "horizontal": line, "offset_y": offset, "offset_x": offset}
    begin |= {"mask": Start(0.0, CALM)}
    both = {f"{name}{side}": start for name, start in begin.items() for side in (1, 2)}
    return {**both, "bias": Start(0.0, CALM)}  # of EDSC


def ends_of(heads: Sequence[Head], taps: int) -> dict[str, int]:
    """The channel spaces of the results, with their widths."""
    widths = {"line": taps, "taps": taps * taps, "rgb": 3}
    return {head.end: widths[head.end] for head in heads}


def full_widths(heads: Sequence[Head], taps: int) -> Widths:
    """The published table: the last hidden layer of a head is as wide as its result."""
    ends = ends_of(heads, taps)
    return unet_widths(FULL_ENCODER, FULL_DECODER, {head.name: (64, 32, ends[head.end]) for head in heads})


# name: config. Parameters: 21 806 350; 21 725 390 for taps=1 and 21 746 238 for taps=3. Without masks
# 21 669 816, 21 614 008 and 21 628 776.
CONFIGS: dict[str, ModelConfig] = {"dsepconv": DSepConvConfig("dsepconv", full_widths(heads_of(True), 5))}
