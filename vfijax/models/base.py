"""What every model provides, and how it is applied to a pair of frames."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import ChannelGraph
from vfijax.inputs import check_frames, check_values
from vfijax.layers import PadMode, pad_edges, pad_to_multiple
from vfijax.media.flow import Search
from vfijax.ops.dispatch import check_implementation
from vfijax.params import ModelParams, check_params

Colours = Literal["RGB", "BGR"]
Kind = Literal["pair", "clip"]

# What networks of a kind do, and what takes them.
KINDS: dict[Kind, str] = {
    "pair": "makes frames between two of the same size; give it to vfijax.interpolate, `vfijax interpolate` "
    "(vfijax.video.interpolate_video) or `vfijax evaluate` with --data or --video",
    "clip": "makes clips larger; give it to vfijax.zoom, `vfijax zoom` (vfijax.video.zoom_video) or "
    "`vfijax evaluate` with --zoom",
}


@dataclass(frozen=True)
class Framing:
    """How a frame is made ready for a network, and cut out of its output.

    Attributes:
      multiple: both sides are raised to a multiple of it, at the bottom and on the right.
      mode: by "reflect" (the edge pixel is not repeated), "edge" (it is replicated) or "constant" (zeros).
      border: so many pixels are replicated on all four sides before that.
      colours: the order that the network was trained with; users give and get RGB.
    """

    multiple: int
    mode: PadMode = "reflect"
    border: int = 0
    colours: Colours = "RGB"

    def prepare(self, frames: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """[..., H, W, 3] to the frames that the module receives; NumPy arrays stay in NumPy.

        Not a part of the network's program, which takes long to compile and so knows the padded size alone.
        """
        if self.colours == "RGB" and self._fits(*frames.shape[-3:-1]):
            return frames
        return _prepared(frames, self) if isinstance(frames, np.ndarray) else _jitted_prepared(frames, self)

    def prepare_motion(self, motion: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """[B, G, 2, H, W] to the size of prepared frames; what is added moves as the edge does."""
        if self._fits(*motion.shape[-2:]):
            return motion
        return (
            _prepared_motion(motion, self) if isinstance(motion, np.ndarray) else _jitted_motion(motion, self)
        )

    def restore(self, frames: jax.Array, height: int, width: int, scale: int = 1) -> jax.Array:
        """The part of the module's output that belongs to frames of `height` x `width`."""
        if self.colours == "RGB" and self._fits(height, width):
            return frames
        return _restored(frames, self, (scale * height, scale * width), scale * self.border)

    def _fits(self, height: int, width: int) -> bool:
        return not (self.border or height % self.multiple or width % self.multiple)

    def reorder(self, frame: jax.Array) -> jax.Array:
        """RGB to the order of the network and back, which is the same."""
        return frame[..., ::-1] if self.colours == "BGR" else frame


def _prepared(frames: Any, framing: Framing) -> Any:
    bordered = pad_edges(framing.reorder(frames), framing.border)
    return pad_to_multiple(bordered, framing.multiple, framing.mode)


def _prepared_motion(motion: Any, framing: Framing) -> Any:
    bordered = pad_edges(motion[..., None], framing.border)
    return pad_to_multiple(bordered, framing.multiple, "edge")[..., 0]


_jitted_prepared = jax.jit(_prepared, static_argnums=1)
_jitted_motion = jax.jit(_prepared_motion, static_argnums=1)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _restored(frames: jax.Array, framing: Framing, size: tuple[int, int], start: int) -> jax.Array:
    return framing.reorder(frames[..., start : start + size[0], start : start + size[1], :])


@dataclass(frozen=True)
class ModelConfig:
    """Base of the model configs: frozen, hashable, and storable as JSON.

    Attributes:
      name: the entry of `MODELS` that the config was derived from.
      stride: sides of the frames that the module receives are multiples of it.
      scale: output size divided by input size.
      any_time: the module takes `t`, the time of the wanted frame; the others know the middle only.
      learned: it has parameters; if not, `create` gives all there is of it.
      random_times: it is trained on frames at random times, not on middle ones alone.
      searches: of optical flow, that guess the motion between the frames; none where a network needs none.
      guesses: the module takes `motion`, with so many guesses, two from every search; 0 for the others.
    """

    name: str

    architecture: ClassVar[str]
    stride: ClassVar[int] = 1
    scale: ClassVar[int] = 1
    any_time: ClassVar[bool] = False
    random_times: ClassVar[bool] = False
    learned: ClassVar[bool] = True

    @property
    def kind(self) -> Kind:
        """What the network does, see `KINDS`."""
        return "pair" if self.scale == 1 else "clip"

    def check_kind(self, kind: Kind, user: str) -> None:
        """Raises ValueError for a network of another kind than `user` takes, and says what takes it."""
        if self.kind != kind:
            raise ValueError(f"{user}: the model is {self.name}, which {KINDS[self.kind]}")

    @property
    def searches(self) -> tuple[Search, ...]:
        return ()

    @property
    def guesses(self) -> int:
        return 2 * len(self.searches)

    def motion(self, tree: Any, f0: jax.Array, f1: jax.Array) -> Any:
        """The guesses for two batches of frames [B, H, W, 3], float32 [B, G, 2, H, W] (rows, then columns, in
        pixels): by how much each pixel moves from the first frame to the second. A NumPy array where the
        frames are known, else traced. `tree` holds the parameters."""
        raise NotImplementedError

    @property
    def framing(self) -> Framing:
        """Padding and colours; by reflection up to the stride, in RGB, where a config says nothing else."""
        return Framing(self.stride)

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

    def published(self, tree: Any, seed: int) -> Any:
        """Fresh parameters changed so that the network begins as its published training does, where that
        is not with the defaults of `create`."""
        return tree

    def replace(self, **changes: Any) -> "ModelConfig":
        known = {f.name for f in dataclasses.fields(self)} - {"name"}
        unknown = sorted(set(changes) - known)
        if unknown:
            fields = ", ".join(sorted(known)) or "none"
            raise ValueError(f"{self.name}: no config field {', '.join(unknown)}; it has {fields}")
        return dataclasses.replace(self, **changes)


def declared_graph(config: Any) -> ChannelGraph | None:
    """The channel graph of a config, None where it declares none."""
    try:
        return config.graph() if hasattr(config, "graph") else None
    except NotImplementedError:
        return None


def graph_of(config: Any) -> ChannelGraph:
    """The channel graph of a config; ValueError if it declares none, or has nothing to shrink."""
    kind, name = type(config).__name__, getattr(config, "name", "the model")
    graph = declared_graph(config)
    if graph is None:
        raise ValueError(
            f"{name}: {kind} declares no channel graph, and without one nobody knows which channels belong "
            f"together; give {kind} a field `widths` and a method graph() that returns a "
            "vfijax.channels.ChannelGraph with an Edge for every layer (docs/pruning.md has an example)"
        )
    if not graph.free:
        raise ValueError(f"{name}: has no channels that could be removed")
    return graph


def forward(
    params: ModelParams,
    f0: jax.Array,
    f1: jax.Array,
    *,
    t: float | jax.Array | None = None,
    motion: jax.Array | None = None,
    implementation: str = "auto",
    reference_grads: bool = False,
    precision: str = "float32",
) -> tuple[jax.Array, dict[str, Any]]:
    """Runs the network on two frames: pad as its config says (`Framing`), apply, crop.

    Differentiable in `params`, in the frames, in `t` and in a motion that is given.

    Args:
      params: the model.
      f0, f1: [B, H, W, 3] float frames in [0, 1], RGB, H and W at least 2.
      t: time of the wanted frame, 0 at `f0` and 1 at `f1`, a number or [B]; the middle if not given. Only
        for models with `any_time`; `vfijax.interpolate` reaches other times with every model.
      motion: [B, G, 2, H, W], for models with `guesses`: what `params.config.motion` finds. If not given it
        is found now, under `jax.jit` by a callback; for several times between two frames, find it once.
      implementation: of the sampling op, see `vfijax.ops.dispatch`.
      reference_grads: reproduce the gradients of the published training instead of exact ones.
      precision: "float32", or "bfloat16" for the convolutions; sampling stays float32.

    Returns:
      The frame [B, H, W, 3], float32, not clipped, and `aux`, a dict of intermediate results at the
      padded size: `offsets` (a tuple of `Taps` per frame), `masks` (name to [B, H, W, 1]) and `warped`
      (what is made from each frame, a tuple of images in RGB). Models without one of them give an empty
      tuple or dict.

    Raises:
      TypeError: no `ModelParams`, frames that are no floating-point arrays.
      ValueError: frames of another rank or size, NaN or another scale than [0, 1] (where values are known),
        `t` for a model that knows the middle only or of another shape, `motion` for one that takes none or
        of another shape, an unknown implementation or precision.
    """
    check_params("forward", params)
    _check_batches(f0, f1)
    check_implementation(implementation)
    check_precision("forward", precision)
    config = params.config
    if t is not None and not config.any_time:
        raise ValueError(
            f"forward: {config.name} knows the middle frame only; leave t out, or use vfijax.interpolate, "
            "which reaches other times by halving the interval"
        )
    if t is not None and np.shape(t) not in ((), f0.shape[:1]):
        raise ValueError(f"forward: t has shape {np.shape(t)}; give a number or [B], here {f0.shape[:1]}")
    wanted = (f0.shape[0], config.guesses, 2, *f0.shape[1:3]) if config.guesses else None
    if motion is not None and np.shape(motion) != wanted:
        given = np.shape(motion)
        raise ValueError(f"forward: motion has shape {given}; {config.name} takes {wanted or 'none'}")
    check_values("forward", "frame", f0=f0, f1=f1)
    if config.guesses and motion is None:
        motion = config.motion(params.tree, f0, f1)
    framing, (height, width) = config.framing, f0.shape[1:3]
    frame, aux = apply_network(
        params,
        framing.prepare(f0),
        framing.prepare(f1),
        t=t,
        motion=None if motion is None else framing.prepare_motion(motion),
        implementation=implementation,
        reference_grads=reference_grads,
        precision=precision,
    )
    warped = tuple(framing.reorder(image) for image in aux.get("warped", ()))
    return framing.restore(frame, height, width, config.scale), {**aux, "warped": warped}


def apply_network(
    params: ModelParams,
    f0: jax.Array | np.ndarray,
    f1: jax.Array | np.ndarray,
    *,
    t: float | jax.Array | None = None,
    motion: jax.Array | np.ndarray | None = None,
    implementation: str = "auto",
    reference_grads: bool = False,
    precision: str = "float32",
) -> tuple[jax.Array, dict[str, Any]]:
    """`forward` between `Framing.prepare` and `Framing.restore`: what depends on the padded size alone."""
    f0, f1 = (jnp.asarray(f, jnp.float32) for f in (f0, f1))
    times = () if t is None else (jnp.asarray(t, jnp.float32),)
    module = params.config.module(implementation, reference_grads)
    tree = jax.tree.map(lambda leaf: leaf.astype(precision), params.tree)  # a layer computes in its dtype
    named = {} if motion is None else {"motion": jnp.asarray(motion, jnp.float32)}
    return module.apply({"params": tree}, f0, f1, *times, **named)


PRECISIONS = ("float32", "bfloat16")


def check_precision(user: str, precision: str) -> None:
    """Raises ValueError unless it is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"{user}: precision is {precision!r}; give one of {', '.join(PRECISIONS)}")


def _check_batches(f0: Any, f1: Any) -> None:
    check_frames("forward", f0=f0, f1=f1)
    for name, frames in (("f0", f0), ("f1", f1)):
        if frames.dtype == np.uint8:
            raise TypeError(
                f"forward: {name} is uint8; give floats in [0, 1], such as vfijax.levels.to_float"
            )
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.shape[0] < 1 or min(frames.shape[1:3]) < 2:
            raise ValueError(
                f"forward: {name} has shape {tuple(frames.shape)}; RGB [B, H, W, 3] is needed, B at least "
                "1, H and W at least 2"
            )
    if f0.shape != f1.shape:
        raise ValueError(f"forward: f0 is {tuple(f0.shape)} but f1 {tuple(f1.shape)}; they must agree")
