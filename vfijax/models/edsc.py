"""EDSC: enhanced deformable separable convolution (Cheng and Chen, TPAMI 2021).

DSepConv with a lighter trunk of heterogeneous convolutions (`layers.HetConv`) and a bias, an image that a
head of its own estimates and that is added to what the two frames give:

    frame = dsepconv(f0, ... 1) + dsepconv(f1, ... 2) + bias

`edsc_s` makes the middle frame. `edsc_m` makes the frame at any time t: the heads of the first frame read
a plane filled with t besides the features, those of the second frame one filled with 1 - t, and the head
of the bias no time.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from vfijax.channels import Widths
from vfijax.models.base import ModelConfig
from vfijax.models.dsepconv import DSepConvConfig, filtered, full_widths, heads_of
from vfijax.models.unet import Head, Trunk, UNet

BIAS = Head("bias", "rgb")
TIMES = ("elapsed", "remaining")  # channel spaces of the planes filled with t and 1 - t


@dataclass(frozen=True)
class EDSCConfig(DSepConvConfig):
    """EDSC of any width, for the middle frame; the fields are those of `DSepConvConfig`.

    The published network has taps=5 and masks. Widths of the trunk are multiples of 4.
    """

    architecture: ClassVar[str] = "edsc"
    trunk: ClassVar[Trunk] = "heterogeneous"

    @property
    def heads(self) -> tuple[Head, ...]:
        return (*heads_of(self.masks), BIAS)

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return EDSC(self, implementation)


@dataclass(frozen=True)
class TimedEDSCConfig(EDSCConfig):
    """EDSC of any width, for a frame at any time."""

    architecture: ClassVar[str] = "edsc_m"
    any_time: ClassVar[bool] = True

    @property
    def heads(self) -> tuple[Head, ...]:
        return (*heads_of(self.masks, extra=((TIMES[0],), (TIMES[1],))), BIAS)


class EDSC(nn.Module):
    """`config.module()`; called with two frames [B, H, W, 3], H and W multiples of 32, and the time.

    The time is a number or [B]; a config without `any_time` has no use for it.
    """

    config: EDSCConfig
    implementation: str = "auto"

    @nn.compact
    def __call__(
        self, f0: jax.Array, f1: jax.Array, t: float | jax.Array = 0.5
    ) -> tuple[jax.Array, dict[str, Any]]:
        config = self.config
        unet = UNet(Widths.of(config.graph().widths), config.heads, trunk=config.trunk, name="unet")
        _, heads = unet(f0, f1, time_planes(f0, t))
        parts = filtered((f0, f1), heads, config.grid, self.implementation)
        return parts[0] + parts[1] + heads["bias"], {"offsets": (), "masks": {}, "warped": parts}


def time_planes(frame: jax.Array, t: float | jax.Array) -> dict[str, jax.Array]:
    """t and 1 - t, [B, H/2, W/2, 1] each, for frames [B, H, W, 3]."""
    batch, height, width, _ = frame.shape
    column = jnp.broadcast_to(jnp.asarray(t, frame.dtype), (batch,)).reshape(batch, 1, 1, 1)
    plane = jnp.broadcast_to(column, (batch, height // 2, width // 2, 1))
    return dict(zip(TIMES, (plane, 1 - plane), strict=True))


# name: config. Parameters: 8 945 189 and 8 950 949.
CONFIGS: dict[str, ModelConfig] = {
    "edsc_s": EDSCConfig("edsc_s", full_widths(EDSCConfig("edsc_s").heads, 5)),
    "edsc_m": TimedEDSCConfig("edsc_m", full_widths(TimedEDSCConfig("edsc_m").heads, 5)),
}
