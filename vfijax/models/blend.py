"""The linear blend: the average of the two frames, the baseline that every report compares with."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax

from vfijax.channels import ChannelGraph
from vfijax.models.base import ModelConfig


class Blend(nn.Module):
    """Has no parameters."""

    def __call__(self, f0: jax.Array, f1: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        return (f0 + f1) / 2, {"offsets": (), "masks": {}, "warped": ()}


@dataclass(frozen=True)
class BlendConfig(ModelConfig):
    """Has a name and nothing else."""

    architecture: ClassVar[str] = "blend"
    learned: ClassVar[bool] = False

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return Blend()

    def graph(self) -> ChannelGraph:
        return ChannelGraph(widths={}, edges=())
