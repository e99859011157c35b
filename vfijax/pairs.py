"""Frames between two frames: `interpolate` and `interpolate_n`."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.levels import to_float, to_uint8
from vfijax.models import forward
from vfijax.params import ModelParams

MAX_DEPTH = 10  # of the recursion for times other than the middle


def check_pair(f0: Any, f1: Any) -> None:
    """Raises ValueError or TypeError unless both are frames that `interpolate` accepts."""
    for name, frame in (("f0", f0), ("f1", f1)):
        if not hasattr(frame, "shape") or not hasattr(frame, "dtype"):
            raise TypeError(f"interpolate: {name} is {type(frame).__name__}; give a NumPy or JAX array")
        if len(frame.shape) not in (3, 4) or frame.shape[-1] != 3:
            raise ValueError(
                f"interpolate: {name} has shape {tuple(frame.shape)}; RGB [H, W, 3] or [B, H, W, 3] is needed"
            )
        if min(frame.shape[-3:-1]) < 2:
            raise ValueError(f"interpolate: {name} is {frame.shape[-3]}x{frame.shape[-2]}; 2x2 is the least")
        if frame.dtype != jnp.uint8 and not jnp.issubdtype(frame.dtype, jnp.floating):
            raise TypeError(f"interpolate: {name} is {frame.dtype}; give uint8 (0 to 255) or float (0 to 1)")
    if f0.shape != f1.shape:
        raise ValueError(f"interpolate: f0 is {tuple(f0.shape)} but f1 {tuple(f1.shape)}; they must agree")
    if f0.dtype != f1.dtype:
        raise TypeError(f"interpolate: f0 is {f0.dtype} but f1 is {f1.dtype}; they must agree")
    for name, frame in (("f0", f0), ("f1", f1)):
        if isinstance(frame, jax.core.Tracer) or frame.dtype == jnp.uint8:
            continue  # under jit the values are unknown
        if not np.isfinite(np.asarray(frame, np.float32)).all():  # jnp would be traced with what is around
            raise ValueError(f"interpolate: {name} holds NaN or infinite values; clean the frame first")


def check_motion(params: ModelParams, f0: Any, motion: Any) -> None:
    """Raises ValueError unless a motion is one that the model takes for frames like `f0`, or None."""
    if motion is None:
        return
    config, batch = params.config, f0.shape[0] if f0.ndim == 4 else 1
    wanted = (batch, config.guesses, 2, *f0.shape[-3:-1])
    if not config.guesses or getattr(motion, "shape", None) != wanted:
        given = getattr(motion, "shape", type(motion).__name__)
        takes = f"takes an array {wanted}, from vfijax.pairs.find_motion" if config.guesses else "takes none"
        raise ValueError(f"interpolate: motion is {given}; {config.name} {takes}")
    if not isinstance(motion, jax.core.Tracer) and not np.isfinite(np.asarray(motion, np.float32)).all():
        raise ValueError("interpolate: motion holds NaN or infinite values")


@partial(jax.jit, static_argnames="implementation")
def _frame(
    params: ModelParams,
    f0: jax.Array,
    f1: jax.Array,
    implementation: str,
    t: jax.Array | None = None,
    motion: jax.Array | None = None,
) -> jax.Array:
    """The middle frame, or with models for any time the one at t, which is not compiled in."""
    f0, f1 = jnp.asarray(f0), jnp.asarray(f1)
    pair = [to_float(f if f.ndim == 4 else f[None]) for f in (f0, f1)]
    frame, _ = forward(params, *pair, t=t, motion=motion, implementation=implementation)
    frame = frame if f0.ndim == 4 else frame[0]
    return to_uint8(frame) if f0.dtype == jnp.uint8 else frame


def find_motion(params: ModelParams, f0: Any, f1: Any) -> Any:
    """What `interpolate` takes as `motion`: all that a model needs to know of two frames beside them.

    Finding it is the part of the work that is done on the host, in threads; the frames at all times between
    two frames share it. None for models that do not ask for motion.

    Args:
      params, f0, f1: as for `interpolate`.

    Returns:
      float32 [B, G, 2, H, W], of one frame with B = 1: guesses of the motion from `f0` to `f1` in pixels,
      rows and columns. A NumPy array, under `jax.jit` a traced one.
    """
    if not params.config.guesses:
        return None
    pair = (f if f.ndim == 4 else f[None] for f in (f0, f1))
    return params.config.motion(params.tree, *pair)


def interpolate(
    params: ModelParams,
    f0: jax.Array | np.ndarray,
    f1: jax.Array | np.ndarray,
    *,
    t: float = 0.5,
    motion: Any = None,
    implementation: str = "auto",
) -> jax.Array:
    """The frame between two frames. Jitted; may be used inside `jax.jit`, `vmap` and `grad`.

    Args:
      params: the model, from `create`, `load` or `convert.from_torch`.
      f0, f1: [H, W, 3] or [B, H, W, 3], RGB, of one shape and dtype; uint8 in [0, 255] or float in
        [0, 1]; each side at least 2 pixels.
      t: time of the new frame, 0 at `f0` and 1 at `f1`. A model for any time (`flow`, `edsc_m`) makes the
        frame at exactly this time in one pass. The others know the middle only and reach other times by
        halving the interval, up to ten passes: the time used is the nearest multiple of 2**-10.
      motion: what `find_motion` gave for these frames, where it is known already. If not, a model that asks
        for motion finds it here, and inside `jax.jit` by a callback to the host; no gradient goes through.
      implementation: of the sampling op: "auto", "reference", "xla" or "pallas".

    Returns:
      A frame of the shape of `f0` (enlarged by a model that enlarges): uint8 for uint8 frames, else
      float32 and not clipped. At t = 0 and t = 1 it is the frame that was given.

    Raises:
      TypeError, ValueError: frames of wrong rank, size or dtype, frames that do not agree, NaN
        (outside of jit, where values are known), `t` outside [0, 1], another time than the middle from a
        model that enlarges, a motion that the model does not take.
    """
    check_pair(f0, f1)
    check_motion(params, f0, motion)
    if not 0 <= t <= 1:
        raise ValueError(f"interpolate: t is {t}; give a time from 0 (f0) to 1 (f1)")
    if params.config.any_time and 0 < t < 1:
        motion = find_motion(params, f0, f1) if motion is None else motion
        return _frame(params, f0, f1, implementation, jnp.float32(t), motion)
    if t == 0.5:
        return _frame(params, f0, f1, implementation)
    params.config.check_kind("pair", f"interpolate, at t={t}")  # frames that are made are inputs again
    time = Fraction(round(t * 2**MAX_DEPTH), 2**MAX_DEPTH)
    low, high, left, right = Fraction(0), Fraction(1), jnp.asarray(f0), jnp.asarray(f1)
    while low < time < high:
        centre = (low + high) / 2
        frame = _frame(params, left, right, implementation)
        if time < centre:
            high, right = centre, frame
        else:
            low, left = centre, frame
    found = left if time == low else right
    return found if found.dtype == jnp.uint8 else found.astype(jnp.float32)


def dyadic_times(n: int) -> list[Fraction]:
    """The times at which `interpolate_n` makes its n frames with a model that knows the middle only.

    Frame i is wanted at i / (n + 1). When n + 1 is a power of two these times are exact. Otherwise
    the nearest multiples of 2**-depth are used, depth = ceil(log2(n + 1)) + 2, so that the error is
    at most 2**-(depth + 1) of the interval: an eighth of the spacing of the new frames or less.
    """
    depth = n.bit_length()
    if n + 1 != 2**depth:
        depth += 2
    return [Fraction(round(Fraction(i * 2**depth, n + 1)), 2**depth) for i in range(1, n + 1)]


def dyadic_passes(times: Iterable[Fraction]) -> int:
    """How often a model that knows the middle only is run to make the frames at some times of `dyadic_times`:
    once for each of them, and once for every frame on the way."""
    made = set()
    for time in times:
        low, high = Fraction(0), Fraction(1)
        while low < time < high:
            centre = (low + high) / 2
            made.add(centre)
            low, high = (low, centre) if time < centre else (centre, high) if time > centre else (time, time)
    return len(made)


def interpolate_n(
    params: ModelParams,
    f0: jax.Array | np.ndarray,
    f1: jax.Array | np.ndarray,
    n: int,
    *,
    motion: Any = None,
    implementation: str = "auto",
) -> Iterator[jax.Array]:
    """Yields n frames between two frames, evenly spaced, in the order of time.

    A model for any time (`flow`, `edsc_m`) makes each frame from the two at exactly its time. The others
    halve the interval again and again; `dyadic_times` says which times they use and bounds the error, and
    only the frames on the way to the next one are held, about log2(n) at a time. Arguments and errors as for
    `interpolate`.
    """
    check_pair(f0, f1)
    check_motion(params, f0, motion)
    if n < 1:
        raise ValueError(f"interpolate_n: n is {n}; give the number of new frames, 1 or more")
    if params.config.any_time:
        motion = find_motion(params, f0, f1) if motion is None else motion
        times = (jnp.float32(i / (n + 1)) for i in range(1, n + 1))
        return (_frame(params, f0, f1, implementation, t, motion) for t in times)
    if n > 1:
        params.config.check_kind("pair", f"interpolate_n, {n} frames")
    ends = (jnp.asarray(f0), jnp.asarray(f1), Fraction(0), Fraction(1))
    return _between(params, *ends, dyadic_times(n), implementation)


def _between(
    params: ModelParams,
    left: jax.Array,
    right: jax.Array,
    low: Fraction,
    high: Fraction,
    times: list[Fraction],
    implementation: str,
) -> Iterator[jax.Array]:
    if not times:
        return
    centre = (low + high) / 2
    frame = _frame(params, left, right, implementation)
    before = [t for t in times if t < centre]
    after = [t for t in times if t > centre]
    yield from _between(params, left, frame, low, centre, before, implementation)
    if centre in times:
        yield frame
    yield from _between(params, frame, right, centre, high, after, implementation)
