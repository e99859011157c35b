"""What every model provides, and how it is applied to a pair of frames."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from vfijax.channels import ChannelGraph
from vfijax.layers import pad_to_multiple
from vfijax.params import ModelParams


@dataclass(frozen=True)
class ModelConfig:
    """Base of the model configs: frozen, hashable, and storable as JSON.

    Attributes:
      name: the entry of `MODELS` that the config was derived from.
      stride: sides of the frames that the module receives are multiples of it.
      scale: output size divided by input size.
    """

    name: str

    architecture: ClassVar[str]
    stride: ClassVar[int] = 1
    scale: ClassVar[int] = 1

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        """The Flax module; `apply({"params": tree}, f0, f1)` gives `(frame, aux)`.

        `reference_grads` asks for the gradients of the published training where they are not exact.
        """
        raise NotImplementedError

    def graph(self) -> ChannelGraph:
        """The channel graph that pruning and shrinking follow."""
        raise NotImplementedError

    def near_blend(self, tree: Any) -> Any:
        """Fresh parameters changed so that the network begins close to the average of its frames."""
        return tree

    def replace(self, **changes: Any) -> "ModelConfig":
        known = {f.name for f in dataclasses.fields(self)} - {"name"}
        unknown = sorted(set(changes) - known)
        if unknown:
            fields = ", ".join(sorted(known)) or "none"
            raise ValueError(f"{self.name}: no config field {', '.join(unknown)}; it has {fields}")
        return dataclasses.replace(self, **changes)


def forward(
    params: ModelParams,
    f0: jax.Array,
    f1: jax.Array,
    *,
    implementation: str = "auto",
    reference_grads: bool = False,
    precision: str = "float32",
) -> tuple[jax.Array, dict[str, Any]]:
    """Runs the network on two frames: pad to its stride, apply, crop.

    Padding is by reflection, at the bottom and on the right (CDFI code; a multiple of the stride is
    left alone). Differentiable in `params` and in the frames.

    Args:
      params: the model.
      f0, f1: [B, H, W, 3] float frames in [0, 1], RGB, H and W at least 2.
      implementation: of the sampling op, see `vfijax.ops.dispatch`.
      reference_grads: reproduce the gradients of the published training instead of exact ones.
      precision: "float32", or "bfloat16" for the convolutions; sampling stays float32.

    Returns:
      The middle frame [B, H, W, 3], float32, not clipped, and `aux`, a dict of intermediate results
      at the padded size: `offsets` (a tuple of `Taps` per frame), `masks` (name to [B, H, W, 1]) and
      `warped` (a tuple of frames). Models without one of them give an empty tuple or dict.
    """
    height, width = f0.shape[1:3]
    f0, f1 = (pad_to_multiple(jnp.asarray(f, jnp.float32), params.config.stride) for f in (f0, f1))
    module = params.config.module(implementation, reference_grads)
    tree = jax.tree.map(lambda leaf: leaf.astype(precision), params.tree)  # a layer computes in its dtype
    frame, aux = module.apply({"params": tree}, f0, f1)
    scale = params.config.scale
    return frame[:, : height * scale, : width * scale], aux
