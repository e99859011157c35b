"""What users give: arrays, frames and whole numbers, checked at the public boundary, with the way there.

Shapes and dtypes are known under every transformation of JAX; values are looked at where they are (`known`),
so that nothing here is traced.
"""

import operator
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Float frames lie in [0, 1] and a network's in about that; what is farther off is another scale.
LEAST, MOST = -0.5, 1.5

# Where a type comes from: what makes an array of it.
_WAYS = {
    "torch": "{name}.detach().cpu().numpy(), of images after {name}.movedim(-3, -1): channels come last",
    "PIL": "np.asarray({name}.convert('RGB'))",
    "tensorflow": "{name}.numpy()",
}


def known(value: Any) -> bool:
    """Whether the values can be looked at: they are not being traced."""
    return not isinstance(value, jax.core.Tracer)


def whole_number(user: str, name: str, value: Any, least: int) -> int:
    """A whole number of any integer type, as an int.

    Raises:
      TypeError: it is of another type, or its value is not known because it is traced.
      ValueError: it is less than `least`.
    """
    try:
        number = operator.index(value)
        if isinstance(value, bool | np.bool_):  # which is 0 or 1 to Python
            raise TypeError
    except TypeError:  # also of what is traced
        given = repr(value) if known(value) else "traced"
        raise TypeError(f"{user}: {name} is {given}; a whole number is needed") from None
    if number < least:
        raise ValueError(f"{user}: {name} is {number}; at least {least} is needed")
    return number


def check_arrays(user: str, **named: Any) -> None:
    """Raises TypeError unless all are NumPy or JAX arrays of a dtype that JAX has."""
    for name, value in named.items():
        if not isinstance(value, np.ndarray | np.generic | jax.Array):
            raise TypeError(
                f"{user}: {name} is {_kind(value)}; give a NumPy or JAX array, {_way(name, value)}"
            )
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{user}: {name} is a masked array; give {name}.filled(0), or another value")
        if not getattr(value.dtype, "isnative", True):  # which the dtype of a jax.random key does not say
            native = value.dtype.newbyteorder("=").name
            raise TypeError(
                f"{user}: {name} is {value.dtype.str}, of foreign byte order; give {name}.astype('{native}')"
            )
        if jnp.issubdtype(value.dtype, np.floating) and value.dtype.itemsize > 8:
            raise TypeError(f"{user}: {name} is {value.dtype}; give {name}.astype(np.float32)")


def floats(user: str, axes: int | None = None, **named: Any) -> list[jax.Array]:
    """The arrays as JAX has them.

    Raises:
      TypeError: one is no array, or not floating point.
      ValueError: one has not so many `axes`, or an axis without an element.
    """
    check_arrays(user, **named)
    for name, array in named.items():
        if axes is not None and array.ndim != axes:
            count = {3: "three", 4: "four"}[axes]
            raise ValueError(f"{user}: {name} has shape {array.shape}; {count} axes are needed")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{user}: {name} is {array.dtype}; a floating dtype is needed")
        if 0 in array.shape:
            raise ValueError(f"{user}: {name} has shape {array.shape}; every axis needs at least 1")
    return [jnp.asarray(array) for array in named.values()]


def check_frames(user: str, **named: Any) -> None:
    """Raises TypeError unless all are arrays that can be frames: uint8, or floating point."""
    check_arrays(user, **named)
    for name, frames in named.items():
        if frames.dtype != np.uint8 and not jnp.issubdtype(frames.dtype, jnp.floating):
            greatest = "65535" if frames.dtype == np.uint16 else "(the greatest possible value)"
            raise TypeError(
                f"{user}: {name} is {frames.dtype}; give uint8 (0 to 255) or float (0 to 1), such as "
                f"{name}.astype(np.float32) / {greatest}"
            )


def check_images(user: str, prediction: Any, target: Any, way: str = "in [0, 1]", least: int = 1) -> None:
    """Raises TypeError or ValueError unless both are float arrays [..., H, W, C] of one shape, none of whose
    axes is empty, with sides of at least so many pixels."""
    images = {"prediction": prediction, "target": target}
    check_arrays(user, **images)
    for name, image in images.items():
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise TypeError(f"{user}: {name} is {image.dtype}; give floats {way}")
        if image.ndim < 3 or 0 in image.shape:
            needed = "give [..., H, W, C]" if image.ndim < 3 else "every axis needs at least 1"
            raise ValueError(f"{user}: {name} has shape {tuple(image.shape)}; {needed}")
    if prediction.shape != target.shape:
        raise ValueError(
            f"{user}: prediction is {tuple(prediction.shape)} but target is {tuple(target.shape)}; "
            "they must agree"
        )
    height, width = target.shape[-3:-1]
    if min(height, width) < least:
        raise ValueError(
            f"{user}: images of {height}x{width} are smaller than {least}x{least}, the least size"
        )


def check_values(user: str, what: str, **named: Any) -> None:
    """Raises ValueError for float frames that hold NaN or are not in [0, 1], where values are known.

    Args:
      user: the function that was called.
      what: to be cleaned, a frame or a clip.
      named: frames that `check_frames` has let pass; None and uint8 need no look.
    """
    for name, frames in named.items():
        if not known(frames) or frames.dtype == np.uint8 or not frames.size:
            continue
        low, high = extremes(frames)
        if not np.isfinite([low, high]).all():
            raise ValueError(f"{user}: {name} holds NaN or infinite values; clean the {what} first")
        check_scale(user, name, low, high)


def check_scale(user: str, name: str, low: float, high: float, peak: float = 1.0) -> None:
    """Raises ValueError for values that are not those of floats in [0, peak]; some overshoot is none."""
    if low >= LEAST * peak and high <= MOST * peak:
        return
    way = ""  # for values of no usual scale
    if low >= LEAST * peak:
        way = f", such as {name} / 255 of values from 0 to 255"
    elif -MOST * peak <= low and high <= MOST * peak:
        way = f", such as ({name} + 1) / 2 of values from -1 to 1"
    raise ValueError(
        f"{user}: {name} has values from {low:.4g} to {high:.4g}; floats from 0 to {peak:g} are needed{way}"
    )


def extremes(array: Any) -> tuple[float, float]:
    """The least and the greatest value of an array that is known; NaN if it holds one."""
    with np.errstate(over="ignore", invalid="ignore"):  # of float64 and of NaN
        values = np.asarray(array).astype(np.float32, copy=False)  # NumPy: jnp would be traced
        return float(values.min()), float(values.max())


def _kind(value: Any) -> str:
    if isinstance(value, str | os.PathLike):
        return f"{type(value).__name__} {os.fspath(value)!r}"
    return type(value).__name__


def _way(name: str, value: Any) -> str:
    if isinstance(value, str | os.PathLike):
        return "of an image from vfijax.media.read_image(path), of a video from vfijax.media.VideoReader"
    origin = type(value).__module__.split(".")[0]
    return "such as " + _WAYS.get(origin, "np.asarray({name}, np.float32)").format(name=name)
