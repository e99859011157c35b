"""Guided: a small network that weighs the guesses of `vfijax.models.flow`, and knows what is hidden.

The frames read at the guesses stay as they are, bicubic and sharp. Per pixel, guess k and side s (the first
frame or the last) a U-Net at half resolution gives a number n, and the sample counts by

    weight = exp(n_ks) * time_s / (disagreement_k + floor),  time = 1 - t for the first frame, t for the last,

all weights divided by their sum: with n = 0 this is `flow`. Since each side has its own, what is hidden in
one frame is taken from the other. A small correction is added, t (1 - t) times at most 1/2, bounded
softly. The guesses are dense inverse searches, the last of which also starts from a motion that a second
network found at an eighth of the size (`vfijax.models.coarse`); the motion is a constant for what is trained
here.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vfijax.channels import NO_WIDTHS, ChannelGraph, Edge, Widths
from vfijax.layers import Conv, PReLU, mean_pool, upsample
from vfijax.levels import to_float
from vfijax.media.flow import find_motion
from vfijax.models import coarse
from vfijax.models.base import ModelConfig
from vfijax.models.coarse import Coarse, space_to_depth
from vfijax.models.flow import FLOOR, FlowConfig, column, disagreement, on_host, warped_pairs

NEAR = 5  # pixels a side, of the second, smaller window of disagreement
BOUND = 10.0  # of the numbers n, approached softly
LEVELS = (0, 1, 2, 3)  # from half to a sixteenth of the size


def layers(guesses: int, residual: bool) -> dict[str, tuple[tuple[str, ...], str]]:
    """Layer name to the channel spaces that it reads and the one that it writes."""
    table: dict[str, tuple[tuple[str, ...], str]] = {}
    for level in LEVELS:
        table[f"down{level}"] = (("seen",) if level == 0 else (f"level{level - 1}",)), f"level{level}"
        if level > 0:  # at half the size one block is enough, and half of the work
            table[f"in{level}_0"] = (f"level{level}",), f"in{level}"
            table[f"in{level}_1"] = (f"in{level}",), f"level{level}"
    for level in LEVELS[-2::-1]:
        table[f"up{level}"] = (f"level{level + 1}",), f"level{level}"
        table[f"out{level}_0"] = (f"level{level}",), f"out{level}"
        table[f"out{level}_1"] = (f"out{level}",), f"level{level}"
    table["choice"] = ("level0",), "choice"
    if residual:
        table["correction"] = ("level0",), "correction"
    return table


HEADS = ("choice", "correction")


def side_of(layer: str) -> int:
    """Of its kernel."""
    return 1 if layer.startswith(("up", "choice")) else 3


def bent_after(layer: str) -> bool:
    """Whether a PReLU follows, directly or after a sum."""
    return layer.startswith(("down", "up")) or layer.endswith("_0")


def full_widths() -> Widths:
    """Of the spaces of `weights` in the model that is shipped."""
    table = {f"level{level}": width for level, width in zip(LEVELS, (32, 48, 64, 96), strict=True)}
    inner = {f"in{level}": table[f"level{level}"] for level in LEVELS[1:]}
    outer = {f"out{level}": table[f"level{level}"] for level in LEVELS[:-1]}
    return Widths.of({**table, **inner, **outer})


@dataclass(frozen=True)
class GuidedConfig(FlowConfig):
    """Widths, which flows are the guesses, and which parts there are.

    Attributes:
      widths: of the spaces of both networks; those of the coarse one begin with "coarse_".
      coarse: there is a network that finds large motion, from which the last search also starts.
      steps: of it, see `CoarseConfig`.
      residual: there is a correction.
    """

    widths: Widths = NO_WIDTHS
    coarse: bool = True
    steps: int = 2
    residual: bool = True

    architecture: ClassVar[str] = "guided"
    learned: ClassVar[bool] = True
    random_times: ClassVar[bool] = True
    stride: ClassVar[int] = 16

    def motion(self, tree: Any, f0: jax.Array, f1: jax.Array) -> jax.Array | np.ndarray:
        find = partial(find_motion, searches=self.searches)
        if not self.coarse:
            return on_host(find, self.guesses, f0, f1)
        starts = _coarse_motion(tree["coarse"], f0, f1, self.coarse_widths, self.steps)
        return on_host(
            lambda first, last, start: find(first, last, start=start), self.guesses, f0, f1, starts
        )

    @property
    def coarse_widths(self) -> Widths:
        own = {s: self.widths[_COARSE + s] for s in coarse.WIDTHS}
        return Widths.of(own)

    @property
    def fixed(self) -> dict[str, int]:
        """Widths that are part of the task."""
        guesses = self.guesses + 1
        table = {"seen": seen_channels(self.guesses), "choice": 4 * 2 * guesses}
        table |= {"correction": 12} if self.residual else {}
        return table | ({_COARSE + s: n for s, n in coarse.FIXED.items()} if self.coarse else {})

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return Guided(self, implementation)

    def graph(self) -> ChannelGraph:
        table = layers(self.guesses, self.residual)
        edges = [
            Edge(("weights", name), inputs, output, size=side_of(name))
            for name, (inputs, output) in table.items()
        ]
        slopes = [("weights", f"{name}_slope") for name in table if bent_after(name)]
        if self.coarse:
            edges += [
                dataclasses.replace(
                    edge, inputs=tuple(_COARSE + s for s in edge.inputs), output=_COARSE + edge.output
                )
                for edge in coarse.EDGES
            ]
            slopes += coarse.SLOPE_PATHS
        widths = {**self.fixed, **self.widths}
        return ChannelGraph(widths, tuple(edges), frozenset(self.fixed), slopes=tuple(slopes))

    def near_blend(self, tree: Any) -> Any:
        """Begins as `flow`."""
        weights = {name: _started(name, layer) for name, layer in tree["weights"].items()}
        begun = {"coarse": coarse.begun(tree["coarse"])} if self.coarse else {}
        return {**begun, "weights": weights}


_COARSE = "coarse_"


def _started(name: str, layer: Any) -> Any:
    if "kernel" not in layer:
        return layer
    gain = 0.0 if name in HEADS else np.sqrt(6 / (1 + 0.25**2)) if not name.endswith("_1") else 0.5
    return {"kernel": layer["kernel"] * float(gain), "bias": jnp.zeros_like(layer["bias"])}


def _coarse_motion(tree: Any, f0: Any, f1: Any, widths: Widths, steps: int) -> jax.Array:
    """The motion, a constant, that `Coarse` with the parameters `tree` finds between two batches of frames,
    uint8 or float."""
    size = f0.shape[1:3]
    reduction = coarse.reduction_of(*size)
    framing = coarse.whole_cells(reduction)
    motion = _coarse_program(tree, framing.prepare(f0), framing.prepare(f1), widths, steps, reduction)
    return motion if motion.shape[-2:] == size else _cropped(motion, *size)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _coarse_program(
    tree: Any, f0: jax.Array, f1: jax.Array, widths: Widths, steps: int, reduction: int
) -> jax.Array:
    frames = (to_float(jnp.asarray(frame)) for frame in (f0, f1))
    motion: Any = Coarse(widths, steps).apply({"params": tree}, *frames, reduction)
    return lax.stop_gradient(motion[-1])


@partial(jax.jit, static_argnums=(1, 2))
def _cropped(motion: jax.Array, height: int, width: int) -> jax.Array:
    return motion[..., :height, :width]


class Guided(nn.Module):
    """`config.module()`; called with frames [B, H, W, 3], sides multiples of 16, the time, a number or [B],
    and the motion [B, G, 2, H, W]."""

    config: GuidedConfig
    implementation: str = "auto"

    @nn.compact
    def __call__(
        self, f0: jax.Array, f1: jax.Array, t: float | jax.Array = 0.5, *, motion: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        config = self.config
        if config.coarse and self.is_initializing():  # its motion comes from `config.motion`
            Coarse(config.coarse_widths, config.steps, name="coarse")(f0, f1)
        t = column(t, f0)
        motion = lax.stop_gradient(motion)
        pairs = list(warped_pairs(f0, f1, motion, t, self.implementation))
        doubts = [disagreement(*pair) + FLOOR for pair in pairs]
        near = [disagreement(*pair, window=NEAR) + FLOOR for pair in pairs]
        numbers, correction = Weigher(config, name="weights")(pairs, doubts, near, motion, t)
        early, late = jnp.zeros_like(f0), jnp.zeros_like(f1)
        total, first_share = (jnp.zeros_like(f0[..., :1]) for _ in range(2))
        for k, ((first, second), doubt) in enumerate(zip(pairs, doubts, strict=True)):
            share = [
                jnp.exp(numbers[..., 2 * k + side, None]) * time / doubt
                for side, time in enumerate((1 - t, t))
            ]
            early, late = early + share[0] * first, late + share[1] * second
            first_share, total = first_share + share[0], total + share[0] + share[1]
        parts = early / total, late / total
        frame = parts[0] + parts[1]
        if correction is not None:
            frame = frame + t * (1 - t) * correction
        masks = {"first": first_share / total, "still": (share[0] + share[1]) / total}
        return frame, {"offsets": (), "masks": masks, "warped": parts}


def squash(x: jax.Array) -> jax.Array:
    """x where it is small, with a limit of 1."""
    return x * lax.rsqrt(1 + x * x)


def wide(x: jax.Array) -> jax.Array:
    """In float32, where it has less."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def grey(x: jax.Array) -> jax.Array:
    """The mean of three channels, [B, H, W, 1]; spelled out, see docs/design.md, part 6."""
    return (x[..., :1] + x[..., 1:2] + x[..., 2:3]) / 3


def seen_channels(guesses: int) -> int:
    """How much the network sees: per pixel of the full size, four times, and per pixel of the half size."""
    n = guesses + 1
    return 4 * (3 + 3 * 3 + (n - 2) + n + 2 * (n - 1)) + n + 2 * guesses + 1


class Weigher(nn.Module):
    """The network itself: a U-Net with skips that are added, and blocks that add to what they read."""

    config: GuidedConfig

    @nn.compact
    def __call__(
        self,
        pairs: Sequence[tuple[jax.Array, jax.Array]],
        doubts: Sequence[jax.Array],
        near: Sequence[jax.Array],
        motion: jax.Array,
        t: jax.Array,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The numbers [B, H, W, 2 n] of n pairs, for the first frame and the last in turn, and a correction
        [B, H, W, 3] or None."""
        table = layers(self.config.guesses, self.config.residual)
        widths = {**self.config.fixed, **self.config.widths}

        def conv(name: str, *inputs: jax.Array) -> jax.Array:
            stride = 2 if name.startswith("down") and name != "down0" else 1
            size = side_of(name)
            return Conv(widths[table[name][1]], size, stride=stride, padding=size // 2, name=name)(*inputs)

        def bent(name: str, x: jax.Array) -> jax.Array:
            return PReLU(name=f"{name}_slope")(x)

        def block(name: str, x: jax.Array) -> jax.Array:
            return x + conv(f"{name}_1", bent(f"{name}_0", conv(f"{name}_0", x)))

        x = seen(pairs, doubts, near, motion, t)
        kept: list[jax.Array] = []
        for level in LEVELS:
            x = bent(f"down{level}", conv(f"down{level}", x))
            x = block(f"in{level}", x) if level else x
            kept.append(x)
        for level in LEVELS[-2::-1]:
            x = upsample(conv(f"up{level}", x), align_corners=False) + kept[level]
            x = block(f"out{level}", bent(f"up{level}", x))
        numbers = depth_to_space(wide(conv("choice", x)), 2)
        numbers = BOUND * squash(numbers / BOUND)
        if not self.config.residual:
            return numbers, None
        return numbers, 0.5 * squash(depth_to_space(wide(conv("correction", x)), 2) / 2)


def seen(
    pairs: Sequence[tuple[jax.Array, jax.Array]],
    doubts: Sequence[jax.Array],
    near: Sequence[jax.Array],
    motion: jax.Array,
    t: jax.Array,
) -> jax.Array:
    """What the network sees, all of size about 1, at half the size: [B, H/2, W/2, C]."""
    *guessed, still = pairs
    first = sum((pair[0] for pair in guessed), start=jnp.zeros_like(still[0])) / len(guessed)
    second = sum((pair[1] for pair in guessed), start=jnp.zeros_like(still[0])) / len(guessed)
    full = [first + second - 1]
    full += [squash(8 * (a - b)) for a, b in (*guessed[:1], still)]
    full += [squash(8 * (first - second))]
    full += [squash(8 * grey(a - b)) for a, b in guessed[1:]]
    full += [doubt_seen(n) for n in near]
    full += [
        squash(8 * grey(pair[side] - mean)) for pair in guessed for side, mean in ((0, first), (1, second))
    ]
    half = [doubt_seen(mean_pool(d)) for d in doubts]
    fields = jnp.moveaxis(motion, 2, -1)  # [B, G, H, W, 2]
    small = [mean_pool(fields[:, k]) for k in range(len(guessed))]
    half += [squash(small[0] / 16)]
    half += [squash((each - small[0]) / 2) for each in small[1:]]
    half += [jnp.broadcast_to(t, half[0].shape)]
    return jnp.concatenate([space_to_depth(jnp.concatenate(full, -1), 2), *half], -1)


def doubt_seen(doubt: jax.Array) -> jax.Array:
    """The logarithm of a disagreement, from 0 for none to about 3."""
    return jnp.log(doubt / FLOOR) / 3


def depth_to_space(x: jax.Array, side: int) -> jax.Array:
    """[B, H, W, side * side * C] to [B, H * side, W * side, C]."""
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, side, side, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * side, width * side, -1)


# name: config.
CONFIGS: dict[str, ModelConfig] = {
    "guided": GuidedConfig(
        "guided",
        widths=Widths.of({**full_widths(), **{_COARSE + s: n for s, n in coarse.WIDTHS.items()}}),
    )
}
