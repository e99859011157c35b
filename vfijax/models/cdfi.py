"""CDFI: compression-driven frame interpolation (CVPR 2021), with its ablations.

On top of a compressed AdaCoF, the five encoder levels are warped like the frames and a GridNet
synthesises a frame from all that was warped; a second mask blends it with AdaCoF's own frame:

    frame = blend * synthesised + (1 - blend) * (occlusion * warp(f0) + (1 - occlusion) * warp(f1))

The encoder sees the *pair*: there is one pyramid, not one per frame, and both sets of taps warp the
same features. As in the published network, the 1x1 convolutions that filter the pyramid pad by one
pixel (a border that holds the bias alone), and the maps are resized, border and all, to the size of
the edge-padded frame; features and frame are therefore not exactly registered.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import NO_WIDTHS, ChannelGraph, Edge, Widths
from vfijax.layers import Conv, pad_edges, resize
from vfijax.models.adacof import COMPRESSED, OCCLUSION, TAP_HEADS, tap_fields, tap_starts
from vfijax.models.base import ModelConfig
from vfijax.models.gridnet import GridNet, gridnet_edges, gridnet_slopes, gridnet_widths
from vfijax.models.unet import LEVELS, MEAN, Head, Start, UNet, near_copy, unet_edges, unet_widths
from vfijax.ops.adacof import Taps, adacof
from vfijax.ops.bilinear import Rounding

Features = Literal["filtered", "whole"]
MASK_HEADS = (OCCLUSION, Head("blend", "mask", "sigmoid"))


@dataclass(frozen=True)
class CDFIConfig(ModelConfig):
    """CDFI of any width.

    Attributes:
      taps, dilation, rounding: as in `AdaCoFConfig`.
      widths: the output channels of every layer.
      features: "filtered" warps the pyramid after its 1x1 convolutions, with both sets of taps;
        "whole" warps the encoder levels themselves, with the first set only.
      path_selection: with the occlusion and the blend mask; else the synthesised frame is the result.
    """

    widths: Widths = NO_WIDTHS
    taps: int = 11
    dilation: int = 2
    rounding: Rounding = "floor"
    features: Features = "filtered"
    path_selection: bool = True

    architecture: ClassVar[str] = "cdfi"
    stride: ClassVar[int] = 32

    @property
    def heads(self) -> tuple[Head, ...]:
        return (*TAP_HEADS, *MASK_HEADS) if self.path_selection else TAP_HEADS

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return CDFI(self, implementation, reference_grads)

    def graph(self) -> ChannelGraph:
        fixed = {"pair": 6, "taps": self.taps**2, "mask": 1, "rgb": 3}
        filters: tuple[Edge, ...] = ()
        maps: list[tuple[str, ...]] = [(f"level{i}",) for i in LEVELS]
        if self.features == "filtered":
            filters = tuple(
                Edge(("features", f"level{i}"), (f"level{i}",), f"feature{i}", size=1) for i in LEVELS
            )
            maps = [(f"feature{i}",) * 2 for i in LEVELS]
        inputs = ("rgb", "rgb", *(space for pair in maps for space in pair))
        edges = (*unet_edges(self.heads), *filters, *gridnet_edges(inputs))
        widths, fixed_spaces = {**self.widths, **fixed}, frozenset(fixed)
        return ChannelGraph(widths, edges, fixed_spaces, slopes=gridnet_slopes())

    def near_blend(self, tree: Any) -> Any:
        """As in AdaCoF, and a blend mask that nearly leaves the synthesised frame out.

        Without path selection the frame is synthesised, and begins as noise all the same.
        """
        starts = {**tap_starts(self.taps), "blend": Start(-4.0)}
        return {**tree, "unet": near_copy(tree["unet"], starts)}


class CDFI(nn.Module):
    """`config.module()`; called with two frames [B, H, W, 3], H and W multiples of 32.

    With `reference_grads` the gradients are those of the published training: none reaches a feature
    map through the sampling, and of every map the first three channels alone drive the taps.
    """

    config: CDFIConfig
    implementation: str = "auto"
    reference_grads: bool = False

    @nn.compact
    def __call__(self, f0: jax.Array, f1: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        config = self.config
        widths = Widths.of(config.graph().widths)
        levels, heads = UNet(widths, config.heads, mean=MEAN, name="unet")(f0, f1)
        taps = (tap_fields(heads, 1), tap_fields(heads, 2))
        pad = (config.taps - 1) * config.dilation // 2
        frames = [pad_edges(f, pad) for f in (f0, f1)]
        height, width = frames[0].shape[1:3]
        if config.features == "filtered":
            levels = Filters(widths, name="features")(levels)
        maps = [resize(level, (height, width)) for level in levels]

        # Frame and features share the taps: one pass samples them all.
        first = self.warp([frames[0], *maps], taps[0])
        second = self.warp([frames[1], *maps] if config.features == "filtered" else [frames[1]], taps[1])
        warped = (first[0], second[0])
        if config.features == "filtered":
            sides = [side for pair in zip(first[1:], second[1:], strict=True) for side in pair]
        else:
            sides = first[1:]
        synthesised = GridNet(widths, name="synthesis")(jnp.concatenate([*warped, *sides], axis=-1))
        aux: dict[str, Any] = {"offsets": taps, "masks": {}, "warped": warped}
        if not config.path_selection:
            return synthesised, aux
        aux["masks"] = {head.name: heads[head.name] for head in MASK_HEADS}
        occlusion, blend = heads["occlusion"], heads["blend"]
        direct = occlusion * warped[0] + (1 - occlusion) * warped[1]
        return blend * synthesised + (1 - blend) * direct, aux

    def warp(self, maps: list[jax.Array], taps: Taps) -> list[jax.Array]:
        """Samples several padded maps [B, H + 2p, W + 2p, C_i] with one set of taps."""
        stacked = jnp.concatenate(maps, axis=-1)
        sizes = [m.shape[-1] for m in maps]

        def sample(image: jax.Array) -> jax.Array:
            config = self.config
            return adacof(
                image,
                *taps,
                dilation=config.dilation,
                rounding=config.rounding,
                implementation=self.implementation,
            )

        if not self.reference_grads:
            out = sample(stacked)
        else:
            place = np.concatenate([np.arange(size) for size in sizes])
            driving, rest = np.flatnonzero(place < 3), np.flatnonzero(place >= 3)
            parts = [sample(jax.lax.stop_gradient(stacked[..., driving]))]
            if rest.size:
                parts.append(jax.lax.stop_gradient(sample(stacked[..., rest])))
            back = np.argsort(np.concatenate([driving, rest]))
            out = jnp.concatenate(parts, axis=-1)[..., back]
        return jnp.split(out, np.cumsum(sizes)[:-1].tolist(), axis=-1)


class Filters(nn.Module):
    """The 1x1 convolutions of the pyramid; padded by one pixel, as published."""

    widths: Widths

    @nn.compact
    def __call__(self, levels: list[jax.Array]) -> list[jax.Array]:
        return [
            Conv(self.widths[f"feature{i}"], size=1, name=f"level{i}")(level)
            for i, level in zip(LEVELS, levels, strict=True)
        ]


# CDFI's own table: 52, 95 and 45 where the compressed AdaCoF has 51, 94 and 44 to 47, and one triple
# for all tap heads.
_UNET = unet_widths(
    encoder=[(24, 24, 24), (48, 48, 52), (99, 97, 95), (156, 142, 159), (92, 72, 121)],
    decoder=[(99, 69, 36), (74, 83, 81), (83, 88, 72), (45, 45, 45)],
    heads={head.name: (52, 49, 21) for head in TAP_HEADS} | {head.name: (52, 52, 48) for head in MASK_HEADS},
)
_FEATURES = Widths.of({f"feature{i}": 4 * i for i in LEVELS})


def _table(unet: Widths, *others: Widths, masks: bool = True) -> Widths:
    left_out = () if masks else tuple(head.name for head in MASK_HEADS)
    kept = {k: w for k, w in unet.items() if not k.startswith(left_out)}
    return Widths.of({**kept, **{k: w for other in others for k, w in other.items()}})


# name: config. Parameters: 4 976 718; 4 833 276 (taps=11) and 4 723 836 (taps=5); 4 888 738.
#
# `cdfi_fp`, the feature pyramid without filters, is printed with 4.88 M parameters and no code. The
# reading here is the nearest one in which every layer is used: the widths of the compressed AdaCoF,
# no masks, and both warped frames with all 449 encoder channels, warped once, for the synthesis.
CONFIGS = {
    "cdfi": CDFIConfig("cdfi", _table(_UNET, _FEATURES, gridnet_widths())),
    "cdfi_fp1x1": CDFIConfig(
        "cdfi_fp1x1", _table(_UNET, _FEATURES, gridnet_widths(), masks=False), path_selection=False
    ),
    "cdfi_fp": CDFIConfig(
        "cdfi_fp",
        _table(COMPRESSED, gridnet_widths(), masks=False),
        taps=5,
        dilation=1,
        features="whole",
        path_selection=False,
    ),
}
