"""Clips, of frames in time: `zoom`, four times the size and twice the frame rate."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.clip_windows import plan
from vfijax.inputs import check_arrays, check_frames, check_values
from vfijax.levels import to_float, to_uint8
from vfijax.models.zooming import apply_to_clip
from vfijax.ops.dispatch import check_implementation
from vfijax.params import ModelParams, check_params


def check_clip(frames: Any) -> None:
    """Raises ValueError or TypeError unless `frames` is a clip that `zoom` accepts."""
    check_arrays("zoom", frames=frames)
    shape = tuple(frames.shape)
    if len(shape) not in (4, 5) or shape[-1] != 3:
        raise ValueError(f"zoom: frames has shape {shape}; RGB [N, H, W, 3] or [B, N, H, W, 3] is needed")
    if len(shape) == 5 and shape[0] < 1:
        raise ValueError(f"zoom: frames has shape {shape}, a batch of none; give one clip or more")
    if shape[-4] < 2:
        raise ValueError(f"zoom: frames has shape {shape}, so {shape[-4]} in time; 2 frames are the least")
    if min(shape[-3:-1]) < 2:
        raise ValueError(f"zoom: the frames are {shape[-3]}x{shape[-2]}; 2x2 is the least")
    check_frames("zoom", frames=frames)
    check_values("zoom", "clip", frames=frames)


def _zoom(params: ModelParams, frames: Any, implementation: str) -> jax.Array:
    config, (height, width) = params.config, frames.shape[-3:-1]
    large = _network(params, config.framing.prepare(frames), implementation)
    return config.framing.restore(large, height, width, config.scale)


@partial(jax.jit, static_argnames="implementation")
def _network(params: ModelParams, frames: jax.Array, implementation: str) -> jax.Array:
    """The large clip of a prepared one: the program that takes long to compile, once for each padded size."""
    clip = to_float(jnp.asarray(frames))
    large = apply_to_clip(params, clip if clip.ndim == 5 else clip[None], implementation=implementation)
    large = large if clip.ndim == 5 else large[0]
    return to_uint8(large) if frames.dtype == jnp.uint8 else large


def zoom(
    params: ModelParams,
    frames: jax.Array | np.ndarray,
    *,
    window: int | None = None,
    overlap: int | None = None,
    published: bool = False,
    implementation: str = "auto",
) -> jax.Array:
    """A clip with four times the height and width and the frames between.

    Jitted; may be used inside `jax.jit`, `vmap`, `grad`, `checkpoint` and `lax.map`, with frames and
    parameters closed over or passed.

    The network is compiled once for every padded size and number of frames.

    Without `window` the whole clip is one recurrent sequence, so that every frame may depend on every other,
    and memory grows with its length. With it the network sees overlapping windows, one after the other, and
    a clip may be as long as its result fits; see `vfijax.clip_windows`. Videos that do not fit, and large
    frames, which need tiles: `vfijax.video.zoom_video`.

    Args:
      params: a Zooming Slow-Mo model, from `create`, `load` or `convert.from_torch`.
      frames: [N, H, W, 3] or [B, N, H, W, 3], RGB, N at least 2, uint8 in [0, 255] or float in [0, 1];
        each side at least 2 pixels. Zeros fill up to multiples of 4, as in the published code.
      window: frames that the network sees at once, 3 or more; the published one was trained on 4.
      overlap: frames that consecutive windows share, from 2 (if None) to one less than the window; every
        output is taken from the window in which it is farther from an end.
      published: takes the windows of the published evaluation: consecutive ones share one frame, and up to
        window - 2 frames at the end are dropped.
      implementation: of the sampling op: "auto", "reference" or "xla".

    Returns:
      [2N-1, 4H, 4W, 3], or with the batch in front: uint8 for uint8 frames, else float32 and not clipped.
      Even frames (0, 2, ...) are the given ones, enlarged; odd ones lie between them.

    Raises:
      TypeError, ValueError: no `ModelParams`, frames of wrong rank, size, dtype or scale, fewer than two, NaN
        (where values are known), a model of another kind, windows that cannot follow one another, published
        ones longer than the clip, or an unknown implementation.
    """
    check_params("zoom", params)
    params.config.check_kind("clip", "zoom")
    check_clip(frames)
    check_implementation(implementation)
    if window is None:
        if overlap is not None or published:
            raise ValueError("zoom: overlap and published say how windows follow each other; give window too")
        return _zoom(params, frames, implementation)
    count = frames.shape[-4]
    if published and count < window:
        raise ValueError(f"zoom: frames has {count} in time; a published window takes {window}")
    parts = []
    for held, used in plan(window, overlap, published)(range(count)):
        large = _zoom(params, frames[..., held[0] : held[-1] + 1, :, :, :], implementation)
        parts.append(large[..., used.start : used.stop, :, :, :])
    return jnp.concatenate(parts, axis=-4)
