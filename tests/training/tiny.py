"""A network that compiles in a second or two: two convolutions, and the sampling op on both frames."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp

from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig, TrainConfig
from vfijax.channels import ChannelGraph, Edge, Widths
from vfijax.layers import Conv, PReLU
from vfijax.losses import LossWeights
from vfijax.models import ARCHITECTURES, ModelConfig
from vfijax.ops.adacof import Taps, adacof


class Tiny(nn.Module):
    taps: int
    hidden: int
    implementation: str

    @nn.compact
    def __call__(self, f0: Any, f1: Any) -> tuple[Any, dict[str, Any]]:
        features = PReLU()(Conv(self.hidden)(jnp.concatenate([f0, f1], axis=-1)))
        fields = jnp.moveaxis(Conv(6 * self.taps**2)(features).astype(jnp.float32), -1, 1)
        frame, offsets = jnp.float32(0), []
        for image, part in zip((f0, f1), jnp.split(fields, 2, axis=1), strict=True):
            weight, y, x = jnp.split(part, 3, axis=1)
            taps = Taps(nn.softmax(weight, axis=1), y, x)
            frame += adacof(image, *taps, implementation=self.implementation) / 2
            offsets.append(taps)
        mask = nn.sigmoid(fields[:, 0, :, :, None])
        return frame, {"offsets": tuple(offsets), "masks": {"occlusion": mask}, "warped": ()}


WIDTHS = Widths.of({"hidden": 8})


@dataclass(frozen=True)
class TinyConfig(ModelConfig):
    architecture: ClassVar[str] = "tiny"
    taps: int = 2
    dilation: int = 1
    widths: Widths = WIDTHS

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return Tiny(self.taps, self.widths["hidden"], implementation)

    def graph(self) -> ChannelGraph:
        fixed = {"frames": 6, "fields": 6 * self.taps**2}
        edges = (Edge(("Conv_0",), ("frames",), "hidden"), Edge(("Conv_1",), ("hidden",), "fields"))
        return ChannelGraph({**self.widths, **fixed}, edges, frozenset(fixed))


ARCHITECTURES["tiny"] = TinyConfig  # so that runs of it can be stored and resumed
CONFIG = TrainConfig(
    net=TinyConfig("tiny"),
    steps=4,
    start="published",
    losses=LossWeights(smoothness=0.01),
    data=DataConfig(crop=32, batch=8),
    optim=OptimConfig(lr=1e-2),
    eval=EvalConfig(every=4, limit=2, crop=32),
    log=LogConfig(every=1, checkpoint_every=2, pictures=0),
)
