"""AdaCoF (CVPR 2020) and its compressed form (CDFI, CVPR 2021, section 3.1).

Each frame is warped by `ops.adacof` with its own tap weights and offsets, all estimated by one U-Net
from the pair; an occlusion mask chooses between the two warped frames:

    frame = occlusion * warp(f0) + (1 - occlusion) * warp(f1)
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import numpy as np

from vfijax.channels import NO_WIDTHS, ChannelGraph, Widths
from vfijax.models.base import ModelConfig
from vfijax.models.unet import (
    FULL_DECODER,
    FULL_ENCODER,
    MEAN,
    Head,
    Start,
    UNet,
    near_copy,
    tap_major,
    unet_edges,
    unet_widths,
)
from vfijax.ops.adacof import Taps, adacof
from vfijax.ops.bilinear import Rounding

TAP_HEADS = tuple(
    Head(f"{field}{side}", "taps", "softmax" if field == "weight" else "none")
    for side in (1, 2)
    for field in ("weight", "offset_y", "offset_x")
)
OCCLUSION = Head("occlusion", "mask", "sigmoid")
HEADS = (*TAP_HEADS, OCCLUSION)


@dataclass(frozen=True)
class AdaCoFConfig(ModelConfig):
    """AdaCoF of any width.

    Attributes:
      taps: side F of the tap grid; every pixel is made from F*F samples per frame.
      dilation: distance of neighbouring taps in pixels.
      rounding: "floor" (bilinear) for new networks; the published weights need "trunc".
      widths: the output channels of every layer.
    """

    widths: Widths = NO_WIDTHS
    taps: int = 5
    dilation: int = 1
    rounding: Rounding = "floor"

    architecture: ClassVar[str] = "adacof"
    stride: ClassVar[int] = 32

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        # The published gradients are exact here: frames are data, and have three channels.
        return AdaCoF(self, implementation)

    def graph(self) -> ChannelGraph:
        fixed = {"pair": 6, "taps": self.taps**2, "mask": 1}
        return ChannelGraph(widths={**self.widths, **fixed}, edges=unet_edges(HEADS), fixed=frozenset(fixed))

    def near_blend(self, tree: Any) -> Any:
        """Nearly all weight on the centre taps, small offsets, an occlusion mask of about a half."""
        return {**tree, "unet": near_copy(tree["unet"], tap_starts(self.taps))}


class AdaCoF(nn.Module):
    """`config.module()`; called with two frames [B, H, W, 3], H and W multiples of 32."""

    config: AdaCoFConfig
    implementation: str = "auto"

    @nn.compact
    def __call__(self, f0: jax.Array, f1: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        widths = Widths.of(self.config.graph().widths)
        _, heads = UNet(widths, HEADS, mean=MEAN, name="unet")(f0, f1)
        taps = (tap_fields(heads, 1), tap_fields(heads, 2))
        warped = tuple(
            adacof(
                frame,
                *fields,
                dilation=self.config.dilation,
                rounding=self.config.rounding,
                implementation=self.implementation,
            )
            for frame, fields in zip((f0, f1), taps, strict=True)
        )
        occlusion = heads["occlusion"]
        frame = occlusion * warped[0] + (1 - occlusion) * warped[1]
        return frame, {"offsets": taps, "masks": {"occlusion": occlusion}, "warped": warped}


def tap_fields(heads: dict[str, jax.Array], side: int) -> Taps:
    """The fields of the first (1) or second (2) frame out of the heads of the U-Net."""
    return Taps(*(tap_major(heads[f"{field}{side}"]) for field in ("weight", "offset_y", "offset_x")))


def tap_starts(taps: int) -> dict[str, Start]:
    """Seven eighths of the weight on the centre of a grid with `taps` on a side."""
    count = taps * taps
    centre = np.zeros(count, np.float32)
    centre[count // 2] = np.log(7 * count)
    return {head.name: Start(centre) for head in TAP_HEADS if head.activation == "softmax"}


def _full_widths(taps: int) -> Widths:
    heads = {head.name: (64, 64, taps * taps) for head in TAP_HEADS}
    return unet_widths(FULL_ENCODER, FULL_DECODER, heads | {"occlusion": (64, 64, 64)})


# The widths of the official compressed files; the same for 25 and 121 taps.
COMPRESSED = unet_widths(
    encoder=[(24, 24, 24), (48, 48, 51), (99, 97, 94), (156, 142, 159), (92, 72, 121)],
    decoder=[(99, 69, 36), (74, 83, 81), (83, 88, 72), (45, 47, 44)],
    heads={
        "weight1": (51, 49, 21),
        "offset_y1": (50, 48, 20),
        "offset_x1": (51, 50, 20),
        "weight2": (50, 49, 20),
        "offset_y2": (50, 49, 20),
        "offset_x2": (51, 50, 20),
        "occlusion": (52, 51, 48),
    },
)

# name: config. Parameters: 21 843 427, 22 933 219, 2 452 094 and 2 557 214.
CONFIGS = {
    "adacof": AdaCoFConfig("adacof", _full_widths(5)),
    "adacof_plus": AdaCoFConfig("adacof_plus", _full_widths(11), taps=11, dilation=2),
    "compressed_adacof": AdaCoFConfig("compressed_adacof", COMPRESSED),
    "compressed_adacof_plus": AdaCoFConfig("compressed_adacof_plus", COMPRESSED, taps=11, dilation=2),
}
