"""Flow: the frame between two frames from classical optical flow, without parameters or training.

Dense inverse search (`vfijax.media.flow`) gives guesses of the motion V from the first frame to the second.
The frame at time t reads, for every guess, the first frame at x - t V and the second at x + (1 - t) V, by
bicubic sampling. Where the two agree the guess is good; so each counts by

    weight = 1 / (mean over 15x15 pixels of (first - second)^2 + 20),     in squared levels of 255,

and beside the guesses stands the one of no motion, which is right for what lies still on the frame and the
least wrong where all flow has failed. It is AdaCoF's equation (`vfijax.ops.adacof`) with taps placed by
flow and weighed by agreement, instead of both by a network: `docs/flow.md`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, ClassVar, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vfijax.channels import ChannelGraph
from vfijax.levels import to_uint8
from vfijax.media.flow import QUALITIES, Search, find_motion
from vfijax.models.base import ModelConfig
from vfijax.ops import bicubic

WINDOW = 15  # pixels a side, over which two frames are compared
FLOOR = 20 / 255**2  # of the mean squared difference: noise, below which all guesses are equally good

Quality = Literal["medium", "fine", "best"]


@dataclass(frozen=True)
class FlowConfig(ModelConfig):
    """Which flows are the guesses.

    Attributes:
      quality: an entry of `vfijax.media.flow.QUALITIES`; docs/flow.md has score and time of each.
    """

    quality: Quality = "best"

    architecture: ClassVar[str] = "flow"
    learned: ClassVar[bool] = False
    any_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.quality not in get_args(Quality):
            raise ValueError(f"quality is {self.quality!r}; give one of {', '.join(get_args(Quality))}")

    @property
    def searches(self) -> tuple[Search, ...]:
        return QUALITIES[self.quality]

    def motion(self, tree: Any, f0: jax.Array, f1: jax.Array) -> jax.Array | np.ndarray:
        return on_host(partial(find_motion, searches=self.searches), self.guesses, f0, f1)

    def module(self, implementation: str = "auto", reference_grads: bool = False) -> nn.Module:
        return Flow(implementation)

    def graph(self) -> ChannelGraph:
        return ChannelGraph(widths={}, edges=())


class Flow(nn.Module):
    """`config.module()`; called with frames [B, H, W, 3], the time, a number or [B], and the motion."""

    implementation: str = "auto"

    def __call__(
        self, f0: jax.Array, f1: jax.Array, t: float | jax.Array = 0.5, *, motion: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        return weighed_pairs(f0, f1, t, motion, self.implementation)


def weighed_pairs(
    f0: jax.Array, f1: jax.Array, t: float | jax.Array, motion: jax.Array, implementation: str
) -> tuple[jax.Array, dict[str, Any]]:
    """The frame at time t from guesses of the motion, [B, G, 2, H, W], and its `aux`."""
    t = column(t, f0)
    early, late, total = jnp.zeros_like(f0), jnp.zeros_like(f1), jnp.zeros_like(f0[..., :1])
    for first, second in warped_pairs(f0, f1, motion, t, implementation):
        weight = 1 / (disagreement(first, second) + FLOOR)
        early, late, total = early + weight * first, late + weight * second, total + weight
    still = weight / total  # of no motion, which comes last
    parts = (1 - t) * early / total, t * late / total
    return parts[0] + parts[1], {"offsets": (), "masks": {"still": still}, "warped": parts}


def column(t: float | jax.Array, frame: jax.Array) -> jax.Array:
    """The time, a number or [B], as [B, 1, 1, 1]."""
    return jnp.broadcast_to(jnp.asarray(t, frame.dtype), frame.shape[:1]).reshape(-1, 1, 1, 1)


def warped_pairs(
    f0: jax.Array, f1: jax.Array, motion: jax.Array, t: jax.Array, implementation: str
) -> Iterator[tuple[jax.Array, jax.Array]]:
    """What both frames [B, H, W, C] say of time t, [B, 1, 1, 1], by every guess in `motion`, [B, G, 2, H, W];
    and last by no motion."""
    t = t[..., 0]
    for guess in range(motion.shape[1]):
        dy, dx = motion[:, guess, 0], motion[:, guess, 1]
        first = bicubic(f0, -t * dy, -t * dx, implementation=implementation)
        yield first, bicubic(f1, (1 - t) * dy, (1 - t) * dx, implementation=implementation)
    yield f0, f1


def disagreement(first: jax.Array, second: jax.Array, window: int = WINDOW) -> jax.Array:
    """The mean squared difference of two frames [B, H, W, C] around every pixel: [B, H, W, 1].

    Frames are mirrored at their edges, without the edge pixel.
    """
    difference = first - second
    squares = _added(difference[..., c] ** 2 for c in range(difference.shape[-1]))
    half = window // 2
    squares = jnp.pad(squares, [(0, 0), (half, half), (half, half)], mode="reflect")
    for axis in (1, 2):  # spelled out: XLA's CPU code for a reduction over windows is many times slower
        size = squares.shape[axis] - 2 * half
        squares = _added(lax.slice_in_dim(squares, i, i + size, axis=axis) for i in range(window))
    return squares[..., None] / (window**2 * difference.shape[-1])


def _added(arrays: Iterable[jax.Array]) -> jax.Array:
    return reduce(jnp.add, arrays)


def on_host(
    find: Callable[..., np.ndarray], guesses: int, f0: jax.Array, f1: jax.Array, *others: jax.Array
) -> jax.Array | np.ndarray:
    """Guesses of the motion from one batch of frames to the other, found by NumPy code.

    Values that are known are handed over at once, traced ones by a callback when they are. No gradient
    goes through the motion: it is a constant of the frames.

    Args:
      find: from two frames, uint8 [H, W, 3], and one item of each of the others to motion, [G, 2, H, W].
      guesses: how many it finds.
      f0, f1: [B, H, W, 3] float in [0, 1], or uint8.
      others: [B, ...].

    Returns:
      float32 [B, G, 2, H, W].
    """

    def each(*batches: Any) -> np.ndarray:
        return np.stack([find(*items) for items in zip(*map(np.asarray, batches), strict=True)])

    arrays = [lax.stop_gradient(array) for array in (*map(to_uint8, (f0, f1)), *others)]
    if not any(isinstance(array, jax.core.Tracer) for array in arrays):
        return each(*arrays)
    batch, height, width, _ = f0.shape
    shape = jax.ShapeDtypeStruct((batch, guesses, 2, height, width), jnp.float32)
    return jax.pure_callback(each, shape, *arrays, vmap_method="sequential")


CONFIGS: dict[str, ModelConfig] = {
    "flow": FlowConfig("flow", "best"),
    "flow_fine": FlowConfig("flow_fine", "fine"),
    "flow_medium": FlowConfig("flow_medium", "medium"),
}
