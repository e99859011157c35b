"""Frames between two frames: `interpolate` and `interpolate_n`."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.inputs import check_arrays, check_frames, check_values, extremes, known, whole_number
from vfijax.levels import to_float, to_uint8
from vfijax.models.base import apply_network
from vfijax.ops.dispatch import check_implementation
from vfijax.params import ModelParams, check_params

MAX_DEPTH = 10  # of the recursion for times other than the middle


def check_pair(f0: Any, f1: Any) -> None:
    """Raises ValueError or TypeError unless both are frames that `interpolate` accepts."""
    for name, frame in (("f0", f0), ("f1", f1)):
        check_arrays("interpolate", **{name: frame})
        shape = tuple(frame.shape)
        if len(shape) not in (3, 4) or shape[-1] != 3:
            raise ValueError(
                f"interpolate: {name} has shape {shape}; RGB [H, W, 3] or [B, H, W, 3] is needed"
            )
        if len(shape) == 4 and shape[0] < 1:
            raise ValueError(
                f"interpolate: {name} has shape {shape}, a batch of none; give one frame or more"
            )
        if min(shape[-3:-1]) < 2:
            raise ValueError(f"interpolate: {name} is {shape[-3]}x{shape[-2]}; 2x2 is the least")
        check_frames("interpolate", **{name: frame})
    if f0.shape != f1.shape:
        raise ValueError(f"interpolate: f0 is {tuple(f0.shape)} but f1 {tuple(f1.shape)}; they must agree")
    if f0.dtype != f1.dtype:
        raise TypeError(f"interpolate: f0 is {f0.dtype} but f1 is {f1.dtype}; they must agree")
    check_values("interpolate", "frame", f0=f0, f1=f1)


def check_motion(params: ModelParams, f0: Any, motion: Any) -> None:
    """Raises ValueError or TypeError unless a motion is one that the model takes for frames like `f0`, or
    None."""
    if motion is None:
        return
    config, batch = params.config, f0.shape[0] if f0.ndim == 4 else 1
    wanted = (batch, config.guesses, 2, *f0.shape[-3:-1])
    if not config.guesses or getattr(motion, "shape", None) != wanted:
        given = getattr(motion, "shape", type(motion).__name__)
        takes = f"takes an array {wanted}, from vfijax.pairs.find_motion" if config.guesses else "takes none"
        raise ValueError(f"interpolate: motion is {given}; {config.name} {takes}")
    check_arrays("interpolate", motion=motion)
    if not jnp.issubdtype(motion.dtype, jnp.floating):
        raise TypeError(f"interpolate: motion is {motion.dtype}; floats in pixels are needed")
    if known(motion) and not np.isfinite(extremes(motion)).all():
        raise ValueError("interpolate: motion holds NaN or infinite values")


def check_time(t: Any, f0: Any) -> Any:
    """A time that `interpolate` takes for frames like `f0`: a float where it is known and one for all frames,
    else an array, a number or [B].

    Raises:
      TypeError: it is no number and no array of numbers.
      ValueError: it is outside [0, 1], or of another shape.
    """
    array = t if isinstance(t, jax.Array) else np.asarray(t)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"interpolate: t is {t!r}; give a number from 0 (f0) to 1 (f1)")
    batch = f0.shape[:1] if f0.ndim == 4 else ()
    if array.shape not in ((), batch):
        wanted = f"a number or one for each frame of the batch, {batch}" if batch else "a number"
        raise ValueError(f"interpolate: t has shape {array.shape}; give {wanted}")
    if not known(array):
        return array
    times = np.asarray(array, np.float64)
    if not ((times >= 0) & (times <= 1)).all():
        raise ValueError(f"interpolate: t is {t}; give a time from 0 (f0) to 1 (f1)")
    return float(times.flat[0]) if (times == times.flat[0]).all() else times


def _frame(
    params: ModelParams,
    f0: Any,
    f1: Any,
    implementation: str,
    t: Any = None,
    motion: Any = None,
) -> jax.Array:
    """The middle frame, or with models for any time the one at t."""
    framing, (height, width) = params.config.framing, f0.shape[-3:-1]
    motion = None if motion is None else framing.prepare_motion(motion)
    frame = _network(params, framing.prepare(f0), framing.prepare(f1), implementation, t, motion)
    return framing.restore(frame, height, width, params.config.scale)


@partial(jax.jit, static_argnames="implementation")
def _network(
    params: ModelParams,
    f0: jax.Array,
    f1: jax.Array,
    implementation: str,
    t: jax.Array | None,
    motion: jax.Array | None,
) -> jax.Array:
    """The frame of prepared ones: the program that takes long to compile, once for each padded size. The time
    is not compiled in."""
    f0, f1 = jnp.asarray(f0), jnp.asarray(f1)
    pair = [to_float(f if f.ndim == 4 else f[None]) for f in (f0, f1)]
    frame, _ = apply_network(params, *pair, t=t, motion=motion, implementation=implementation)
    frame = frame if f0.ndim == 4 else frame[0]
    return to_uint8(frame) if f0.dtype == jnp.uint8 else frame


def find_motion(params: ModelParams, f0: Any, f1: Any) -> Any:
    """What `interpolate` takes as `motion`: all that a model needs to know of two frames beside them.

    Finding it is the part of the work that is done on the host, in threads; the frames at all times between
    two frames share it. None for models that do not ask for motion.

    Args:
      params, f0, f1: as for `interpolate`, and checked alike.

    Returns:
      float32 [B, G, 2, H, W], of one frame with B = 1: guesses of the motion from `f0` to `f1` in pixels,
      rows and columns. A NumPy array, under `jax.jit` a traced one.
    """
    check_params("find_motion", params)
    check_pair(f0, f1)
    return _motion(params, f0, f1)


def _motion(params: ModelParams, f0: Any, f1: Any) -> Any:
    if not params.config.guesses:
        return None
    pair = (f if f.ndim == 4 else f[None] for f in (f0, f1))
    return params.config.motion(params.tree, *pair)


def interpolate(
    params: ModelParams,
    f0: jax.Array | np.ndarray,
    f1: jax.Array | np.ndarray,
    *,
    t: float | jax.Array | np.ndarray = 0.5,
    motion: Any = None,
    implementation: str = "auto",
) -> jax.Array:
    """The frame between two frames. Jitted; may be used inside `jax.jit`, `vmap`, `grad`, `checkpoint` and
    `lax.map`, with frames, parameters and time closed over or passed.

    The network is compiled once for every padded size: sizes that are padded to the same one (by the config's
    `Framing`) share the program.

    Args:
      params: the model, from `create`, `load` or `convert.from_torch`.
      f0, f1: [H, W, 3] or [B, H, W, 3], RGB, of one shape and dtype; uint8 in [0, 255] or float in
        [0, 1]; each side at least 2 pixels.
      t: time of the new frame, 0 at `f0` and 1 at `f1`, a number or [B]. A model for any time (`flow`,
        `edsc_m`) makes the frame at exactly this time in one pass. The others know the middle only and reach
        other times by halving the interval, up to ten passes: the time used is the nearest multiple of
        2**-10. These need to know it; it must not be traced.
      motion: what `find_motion` gave for these frames, where it is known already. If not, a model that asks
        for motion finds it here, and inside `jax.jit` by a callback to the host; no gradient goes through.
      implementation: of the sampling op: "auto", "reference", "xla" or "pallas".

    Returns:
      A frame of the shape of `f0` (enlarged by a model that enlarges): uint8 for uint8 frames, else
      float32 and not clipped. At t = 0 and t = 1 it is the frame that was given.

    Raises:
      TypeError, ValueError: no `ModelParams`, frames of wrong rank, size, dtype or scale, frames that do not
        agree, NaN (where values are known: those of frames closed over are, those traced by `jax.jit` and the
        like are not), `t` outside [0, 1] or of another shape, another time than the middle from a model that
        enlarges, a traced time for a model that knows the middle only, a motion that the model does not take,
        an unknown implementation.
    """
    check_params("interpolate", params)
    check_pair(f0, f1)
    check_motion(params, f0, motion)
    check_implementation(implementation)
    t = check_time(t, f0)
    if params.config.any_time:
        if isinstance(t, float) and t in (0, 1):
            return _given((f0, f1)[int(t)])
        motion = _motion(params, f0, f1) if motion is None else motion
        frame = _frame(params, f0, f1, implementation, jnp.asarray(t, jnp.float32), motion)
        return frame if isinstance(t, float) else _with_ends(frame, f0, f1, t)
    if isinstance(t, float):
        return _halving(params, f0, f1, t, implementation)
    if not known(t):
        raise TypeError(
            f"interpolate: t is traced, and {params.config.name} knows the middle only, so that the time "
            "says which frames are made on the way; give a Python float (jax.jit: close over t, or "
            "static_argnames='t'), or a model for any time, such as flow"
        )
    each = zip(f0, f1, t, strict=True)
    return jnp.stack([_halving(params, a, b, float(time), implementation) for a, b, time in each])


def _halving(params: ModelParams, f0: Any, f1: Any, t: float, implementation: str) -> jax.Array:
    """The frame at t from a model that knows the middle only."""
    if t == 0.5:
        return _frame(params, f0, f1, implementation)
    params.config.check_kind("pair", f"interpolate, at t={t}")  # frames that are made are inputs again
    time = Fraction(round(t * 2**MAX_DEPTH), 2**MAX_DEPTH)
    low, high, left, right = Fraction(0), Fraction(1), f0, f1
    while low < time < high:
        centre = (low + high) / 2
        frame = _frame(params, left, right, implementation)
        if time < centre:
            high, right = centre, frame
        else:
            low, left = centre, frame
    return _given(left if time == low else right)


def _given(frame: Any) -> jax.Array:
    """A frame as it was given, uint8 or float32."""
    return jnp.asarray(frame, None if frame.dtype == jnp.uint8 else jnp.float32)


def _with_ends(frame: jax.Array, f0: Any, f1: Any, t: Any) -> jax.Array:
    """What was made, but at t = 0 and t = 1 the frames that were given; t is a number or [B]."""
    at = jnp.asarray(t).reshape(np.shape(t) + (1,) * (3 if np.ndim(t) else 0))
    return jnp.where(at == 0, _given(f0), jnp.where(at == 1, _given(f1), frame))


def dyadic_times(n: int) -> list[Fraction]:
    """The times at which `interpolate_n` makes its n frames with a model that knows the middle only.

    Frame i is wanted at i / (n + 1). When n + 1 is a power of two these times are exact. Otherwise
    the nearest multiples of 2**-depth are used, depth = ceil(log2(n + 1)) + 2, so that the error is
    at most 2**-(depth + 1) of the interval: an eighth of the spacing of the new frames or less.
    """
    n = whole_number("interpolate_n", "n", n, 1)
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
    `interpolate`; they are checked before the first frame is asked for. `n` is a whole number, at least 1.
    """
    check_params("interpolate_n", params)
    check_pair(f0, f1)
    check_motion(params, f0, motion)
    check_implementation(implementation)
    try:
        n = whole_number("interpolate_n", "n", n, 1)
    except ValueError:
        raise ValueError(f"interpolate_n: n is {n}; give the number of new frames, 1 or more") from None
    if params.config.any_time:
        return _at_times(params, f0, f1, n, implementation, motion)
    if n > 1:
        params.config.check_kind("pair", f"interpolate_n, {n} frames")
    return _between(params, f0, f1, Fraction(0), Fraction(1), dyadic_times(n), implementation)


def _at_times(
    params: ModelParams, f0: Any, f1: Any, n: int, implementation: str, motion: Any
) -> Iterator[jax.Array]:
    motion = _motion(params, f0, f1) if motion is None else motion
    for i in range(1, n + 1):
        yield _frame(params, f0, f1, implementation, jnp.float32(i / (n + 1)), motion)


def _between(
    params: ModelParams,
    left: Any,
    right: Any,
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
