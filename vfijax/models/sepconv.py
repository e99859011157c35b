"""SepConv: adaptive separable convolution (Niklaus et al., ICCV 2017), and its replication.

One U-Net estimates, for every output pixel and each of the two frames, a vertical and a horizontal
kernel of 51 numbers; the frame is what they make of the inputs (eq. 2 and section 3.1):

    frame = sepconv(f0, vertical1, horizontal1) + sepconv(f1, vertical2, horizontal2)

The kernels are not normalised. The network that minimises L1 and the one that minimises the feature
loss (LF) have one architecture and differ in their weights. `sepconv_kth` is the replication of
report 003: the same graph, in which the third convolution of a block changes the number of channels
instead of the first, so that only its table of widths is another. It was trained on RGB.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import flax.linen as nn
import jax
import numpy as np

from vfijax.channels import NO_WIDTHS, ChannelGraph, Widths
from vfijax.models.base import Colours, Framing, ModelConfig
from vfijax.models.unet import (
    FULL_DECODER,
    FULL_ENCODER,
    Head,
    Start,
    UNet,
    near_copy,
    tap_major,
    unet_edges,
    unet_widths,
)
from vfijax.ops import sepconv

Padding = Literal["improved", "paper"]
TAPS = 51
HEADS = tuple(Head(f"{axis}{side}", "line") for side in (1, 2) for axis in ("vertical", "horizontal"))
# Gain for the last kernels of a fresh network. Nothing normalises a separable kernel: drawn like the other
# layers, its 51 * 51 products would drown the frame in noise.
CALM = 0.01


@dataclass(frozen=True)
class SepConvConfig(ModelConfig):
    """SepConv of any width.

    Attributes:
      taps: the length of the kernels.
      widths: the output channels of every layer.
      padding: before the sides are raised to multiples of 128, "improved" adds nothing and "paper" half
        a kernel (25 pixels) on all four sides; everything is replicated.
    """

    widths: Widths = NO_WIDTHS
    taps: int = TAPS
    padding: Padding = "improved"

    architecture: ClassVar[str] = "sepconv"
    stride: ClassVar[int] = 32
    colours: ClassVar[Colours] = "BGR"

    @property
    def framing(self) -> Framing:
        border = self.taps // 2 if self.padding == "paper" else 0
        return Framing(128, "edge", border, self.colours)

    def __post_init__(self) -> None:
        if self.padding not in get_args(Padding):
            raise ValueError(f"{self.name}: padding is {self.padding!r}; give improved or paper")

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return SepConv(self, implementation)

    def graph(self) -> ChannelGraph:
        fixed = {"pair": 6, "line": self.taps}
        return ChannelGraph(widths={**self.widths, **fixed}, edges=unet_edges(HEADS), fixed=frozenset(fixed))

    def near_blend(self, tree: Any) -> Any:
        """Every frame's kernels have the root of a half at their centre, and little elsewhere."""
        centre = Start(np.sqrt(0.5) * centre_of(self.taps), CALM)
        return {**tree, "unet": near_copy(tree["unet"], dict.fromkeys((h.name for h in HEADS), centre))}


@dataclass(frozen=True)
class ReplicationConfig(SepConvConfig):
    """The replication of report 003."""

    padding: Padding = "paper"

    architecture: ClassVar[str] = "sepconv_kth"
    colours: ClassVar[Colours] = "RGB"


class SepConv(nn.Module):
    """`config.module()`; called with two frames [B, H, W, 3], H and W multiples of 32."""

    config: SepConvConfig
    implementation: str = "auto"

    @nn.compact
    def __call__(self, f0: jax.Array, f1: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        _, heads = UNet(Widths.of(self.config.graph().widths), HEADS, name="unet")(f0, f1)
        kernels = {name: tap_major(out) for name, out in heads.items()}
        parts = tuple(
            sepconv(
                frame,
                kernels[f"vertical{side}"],
                kernels[f"horizontal{side}"],
                implementation=self.implementation,
            )
            for side, frame in enumerate((f0, f1), 1)
        )
        return parts[0] + parts[1], {"offsets": (), "masks": {}, "warped": parts}


def centre_of(taps: int) -> np.ndarray:
    """One in the middle of [taps], zero elsewhere."""
    return np.eye(taps, dtype=np.float32)[taps // 2]


def _heads(*hidden: int) -> dict[str, tuple[int, ...]]:
    return {head.name: hidden for head in HEADS}


# The replication changes the number of channels in the third convolution of a block.
_KTH = unet_widths(
    encoder=[(6, 6, 32), (32, 32, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512)],
    decoder=[(512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 128, 64)],
    heads=_heads(64, 64, TAPS),
)

# name: config. Parameters: 21 675 452 and 21 602 256.
CONFIGS: dict[str, ModelConfig] = {
    "sepconv": SepConvConfig("sepconv", unet_widths(FULL_ENCODER, FULL_DECODER, _heads(64, 64, TAPS))),
    "sepconv_kth": ReplicationConfig("sepconv_kth", _KTH),
}
