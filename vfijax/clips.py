"""Clips, of frames in time: `zoom`, four times the size and twice the frame rate."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.clip_windows import plan
from vfijax.levels import to_float, to_uint8
from vfijax.models.zooming import forward_clip
from vfijax.ops.dispatch import check_implementation
from vfijax.params import ModelParams


def check_clip(frames: Any) -> None:
    """Raises ValueError or TypeError unless `frames` is a clip that `zoom` accepts."""
    if not hasattr(frames, "shape") or not hasattr(frames, "dtype"):
        raise TypeError(f"zoom: frames is {type(frames).__name__}; give a NumPy or JAX array")
    shape = tuple(frames.shape)
    if len(shape) not in (4, 5) or shape[-1] != 3:
        raise ValueError(f"zoom: frames has shape {shape}; RGB [N, H, W, 3] or [B, N, H, W, 3] is needed")
    if len(shape) == 5 and shape[0] < 1:
        raise ValueError(f"zoom: frames has shape {shape}, a batch of none; give one clip or more")
    if shape[-4] < 2:
        raise ValueError(f"zoom: frames has shape {shape}, so {shape[-4]} in time; 2 frames are the least")
    if min(shape[-3:-1]) < 2:
        raise ValueError(f"zoom: the frames are {shape[-3]}x{shape[-2]}; 2x2 is the least")
    if frames.dtype != jnp.uint8 and not jnp.issubdtype(frames.dtype, jnp.floating):
        raise TypeError(f"zoom: frames is {frames.dtype}; give uint8 (0 to 255) or float (0 to 1)")
    if isinstance(frames, jax.core.Tracer) or frames.dtype == jnp.uint8:
        return  # under jit the values are unknown
    if not bool(jnp.isfinite(frames).all()):
        raise ValueError("zoom: frames holds NaN or infinite values; clean the clip first")


@partial(jax.jit, static_argnames="implementation")
def _zoom(params: ModelParams, frames: jax.Array, implementation: str) -> jax.Array:
    clip = to_float(jnp.asarray(frames))
    large = forward_clip(params, clip if clip.ndim == 5 else clip[None], implementation=implementation)
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
    """A clip with four times the height and width and the frames between. Jitted; may be used inside jit.

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
      TypeError, ValueError: frames of wrong rank, size or dtype, fewer than two, NaN (outside of jit,
        where values are known), a model of another kind, windows that cannot follow one another, published
        ones longer than the clip, or an unknown implementation.
    """
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
