"""Coarse motion: which part of one frame is where in the other, learned, at an eighth of the size.

Features of both frames are compared all with all. With s the cosine of two features and p the softmax of
24 s over the pixels of the other frame, the motion of a pixel is first

    sum over y of p(y) y - x                                      (as in GMFlow, CVPR 2022, without attention)

from each frame to the other, out of one matrix. Some steps then look at the features that this motion
brings together, compare them a few pixels around, and correct it; they also carry motion to where nothing
can be found, because it is hidden. Frames of more than 160 000 pixels are reduced by 2 until they have
less, so that the work has a bound and large frames allow for larger motion.

The model of this name makes its frame from the two motions as `vfijax.models.flow` does from its guesses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import NO_WIDTHS, ChannelGraph, Edge, Widths
from vfijax.layers import Conv, PReLU, mean_pool, resize
from vfijax.models.base import Framing, ModelConfig
from vfijax.models.flow import weighed_pairs
from vfijax.ops.adacof import adacof

PIXELS = 160_000  # of the largest frames that are not reduced
CELL = 8  # pixels a side, for which there is one motion
SHARPNESS = 24.0  # of the softmax, for a cosine
RADIUS = 2  # cells around, that a step compares
GAIN = 8.0  # of features of length 1, so that their elements are about 1
FLAT = 1e-4  # added to the squared length of a feature

# layer: the channel spaces that it reads, and the one that it writes
LAYERS: dict[str, tuple[tuple[str, ...], str]] = {
    "stem": (("patch",), "stem"),
    "down": (("stem",), "features"),
    "block_0": (("features",), "block"),
    "block_1": (("block",), "features"),
    "match": (("features",), "match"),
    "step_0": (("features", "costs", "motion"), "step_0"),
    "step_1": (("step_0",), "step_1"),
    "step_2": (("step_1",), "step_2"),
    "step_3": (("step_2",), "motion"),
}
EDGES = tuple(
    Edge(("coarse", layer), inputs, output, size=1 if layer == "match" else 3)
    for layer, (inputs, output) in LAYERS.items()
)
SLOPES = ("stem", "down", "block_0", "step_0", "step_1", "step_2")  # followed by a PReLU
SLOPE_PATHS = tuple(("coarse", f"{layer}_slope") for layer in SLOPES)
FIXED = {"patch": 48, "costs": (2 * RADIUS + 1) ** 2, "motion": 2}
WIDTHS = Widths.of(dict(stem=32, features=64, block=64, match=64, step_0=64, step_1=48, step_2=48))


@dataclass(frozen=True)
class CoarseConfig(ModelConfig):
    """Widths, and how often the motion is corrected.

    Attributes:
      widths: of the spaces in `LAYERS`.
      steps: corrections after the first motion, all by the same layers.
    """

    widths: Widths = NO_WIDTHS
    steps: int = 2

    architecture: ClassVar[str] = "coarse_motion"
    any_time: ClassVar[bool] = True
    random_times: ClassVar[bool] = True
    stride: ClassVar[int] = 8

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return CoarseFlow(self, implementation)

    def graph(self) -> ChannelGraph:
        return ChannelGraph({**FIXED, **self.widths}, EDGES, frozenset(FIXED), slopes=SLOPE_PATHS)

    def near_blend(self, tree: Any) -> Any:
        return {**tree, "coarse": begun(tree["coarse"])}


def begun(tree: Any) -> Any:
    """Fresh parameters of `Coarse` that keep the strength of the signal, and correct nothing at first."""

    def started(name: str, layer: Any) -> Any:
        if "kernel" not in layer:
            return layer
        gain = 0.0 if name == "step_3" else np.sqrt(6 / (1 + 0.25**2)) if name in SLOPES else np.sqrt(3)
        gain = float(gain) * (0.5 if name == "block_1" else 1.0)
        return {"kernel": layer["kernel"] * gain, "bias": jnp.zeros_like(layer["bias"])}

    return {name: started(name, layer) for name, layer in tree.items()}


class CoarseFlow(nn.Module):
    """`config.module()`; called with frames [B, H, W, 3] and the time, a number or [B]."""

    config: CoarseConfig
    implementation: str = "auto"

    @nn.compact
    def __call__(
        self, f0: jax.Array, f1: jax.Array, t: float | jax.Array = 0.5
    ) -> tuple[jax.Array, dict[str, Any]]:
        found = Coarse(self.config.widths, self.config.steps, name="coarse")(f0, f1)
        frame, aux = weighed_pairs(f0, f1, t, found[-1], self.implementation)
        return frame, {**aux, "motion": found}


class Coarse(nn.Module):
    """From two frames to the motion between them.

    Attributes:
      widths: of the spaces in `LAYERS`.
      steps: corrections.
    """

    widths: Widths
    steps: int

    @nn.compact
    def __call__(self, f0: jax.Array, f1: jax.Array, reduction: int | None = None) -> tuple[jax.Array, ...]:
        """The motion from the first frame to the last, [B, 2, 2, H, W]: of the pixels of the first frame and
        of those of the last, rows and columns, in pixels. First as found, then after each correction.

        `reduction` says how often frames are halved; by default as often as their size asks.
        """
        layers = {name: self._layer(name) for name in LAYERS}
        slopes = {name: PReLU(name=f"{name}_slope") for name in SLOPES}

        def apply(name: str, *inputs: jax.Array) -> jax.Array:
            x = layers[name](*inputs)
            return slopes[name](x) if name in slopes else x

        batch, height, width, _ = f0.shape
        small, reduction = reduced(jnp.concatenate([f0, f1]), reduction)
        patches = space_to_depth(small - 0.5, CELL // 2)
        x = apply("down", apply("stem", patches))
        x = x + apply("block_1", apply("block_0", x))
        match = directed(apply("match", x))
        others = jnp.concatenate([match[batch:], match[:batch]])
        motion = globally_matched(match[:batch], match[batch:])
        found = [motion]
        for _ in range(self.steps):
            costs = local_costs(match, moved(others, motion))
            motion = motion + apply(
                "step_3", apply("step_2", apply("step_1", apply("step_0", x, costs, motion / 4)))
            )
            found.append(motion)

        def enlarged(motion: jax.Array) -> jax.Array:
            size = CELL * 2**reduction
            cells = motion.shape[1:3]
            pixels = resize(motion * size, (cells[0] * size, cells[1] * size))[:, :height, :width]
            pixels = jnp.stack([pixels[:batch], -pixels[batch:]], 1)
            return jnp.moveaxis(pixels, -1, 2)

        return tuple(enlarged(motion.astype(jnp.float32)) for motion in found)

    def _layer(self, name: str) -> Conv:
        features = ({**FIXED, **self.widths})[LAYERS[name][1]]
        if name == "match":
            return Conv(features, size=1, padding=0, name=name)
        stride, dilation = 2 if name == "down" else 1, {"block_1": 2, "step_1": 2, "step_2": 4}.get(name, 1)
        return Conv(features, stride=stride, padding=dilation, dilation=dilation, name=name)


def reduction_of(height: int, width: int) -> int:
    """How often frames are halved until they have at most `PIXELS`."""
    times = 0
    while height * width > PIXELS * 4**times:
        times += 1
    return times


def whole_cells(reduction: int) -> Framing:
    """What makes of frames that will be halved so often some with whole cells."""
    return Framing(CELL * 2**reduction, "edge")


def reduced(frames: jax.Array, reduction: int | None = None) -> tuple[jax.Array, int]:
    """Frames [B, H, W, C] with whole cells, halved so often or as their size asks; and how often."""
    reduction = reduction_of(*frames.shape[1:3]) if reduction is None else reduction
    small: Any = whole_cells(reduction).prepare(frames)
    for _ in range(reduction):
        small = mean_pool(small)
    return small, reduction


def space_to_depth(x: jax.Array, side: int) -> jax.Array:
    """[B, H, W, C] to [B, H / side, W / side, side * side * C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // side, width // side, -1)


def directed(x: jax.Array) -> jax.Array:
    """Features [B, h, w, C] less their mean over each frame, as vectors of length 1."""
    x = x - x.mean((1, 2), keepdims=True)
    ones = jnp.ones((x.shape[-1], 1), x.dtype)
    return x * jax.lax.rsqrt(jnp.square(x) @ ones + FLAT)


def globally_matched(first: jax.Array, last: jax.Array) -> jax.Array:
    """Where each cell is in the other frame on average: [2 B, h, w, 2], those of the first frames before
    those of the last, rows and columns, in cells."""
    batch, height, width, channels = first.shape
    rows, columns = np.divmod(np.arange(height * width), width)
    places = jnp.asarray(np.stack([rows, columns], -1), first.dtype)
    first, last = (x.reshape(batch, -1, channels) for x in (first, last))
    cosines = jnp.einsum("bic,bjc->bij", first, last)
    alike = jnp.exp(SHARPNESS * (cosines - 1))  # at most 1, and e**-48 at least
    # The sums come with the products: a column of ones beside the places.
    wanted = jnp.concatenate([places, jnp.ones_like(places[:, :1])], -1)
    forth = jnp.einsum("bij,jk->bik", alike, wanted, precision="highest")
    back = jnp.einsum("bij,ik->bjk", alike, wanted, precision="highest")
    both = jnp.concatenate([forth, back])
    return (both[..., :2] / both[..., 2:] - places[None]).reshape(2 * batch, height, width, 2)


def moved(features: jax.Array, motion: jax.Array) -> jax.Array:
    """Features [B, h, w, C] read, bilinearly, where the motion [B, h, w, 2] leads."""
    dy, dx = (motion[None, ..., axis].swapaxes(0, 1) for axis in (0, 1))
    return adacof(features, jnp.ones_like(dy), dy, dx, rounding="floor", implementation="xla")


def local_costs(own: jax.Array, other: jax.Array) -> jax.Array:
    """Cosines of each cell's feature with those of the other frame around it: [B, h, w, (2 R + 1)**2]."""
    height, width = own.shape[1:3]
    edges = [(0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)]
    other = jnp.pad(other, edges)
    ones = jnp.ones((own.shape[-1], 1), own.dtype)
    side = range(2 * RADIUS + 1)
    costs: Sequence[jax.Array] = [
        (own * other[:, k : k + height, l : l + width]) @ ones for k in side for l in side
    ]
    return jnp.concatenate(costs, -1)


# name: config.
CONFIGS: dict[str, ModelConfig] = {"coarse_motion": CoarseConfig("coarse_motion", WIDTHS)}
