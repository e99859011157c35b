"""Adaptive collaboration of flows: every output pixel is a weighted sum of F*F free samples.

    out[i, j] = sum over k, l of  weight[t, i, j] * image(i + k*d - p + offset_y[t, i, j],
                                                          j + l*d - p + offset_x[t, i, j])

with the tap t = k*F + l, the dilation d, and p = (F - 1)*d // 2, which centres the taps on the pixel
(AdaCoF, eq. 3; CDFI, eq. 1; `docs/maths.md`); where (F - 1)*d is odd, half a pixel above and left of the
middle. `image(y, x)` is the bilinear sample, edges replicated.

Here are the public op and its gradient; `tap_sum` has the reference and the XLA implementation.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.custom_derivatives import SymbolicZero

from vfijax.inputs import floats, whole_number
from vfijax.ops import tap_sum
from vfijax.ops.bilinear import ROUNDINGS, Rounding, locate
from vfijax.ops.dispatch import check_implementation, run


class Taps(NamedTuple):
    """The per-pixel fields of the op, each [B, T, H, W]: tap weights and offsets in pixels."""

    weight: jax.Array
    offset_y: jax.Array
    offset_x: jax.Array


def adacof(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    dilation: int = 1,
    rounding: Rounding = "floor",
    implementation: str = "auto",
) -> jax.Array:
    """Samples every output pixel from F*F free positions of `image` and sums them up.

    Differentiable in all four arrays, exactly (except at the kinks of bilinear sampling). The
    gradient of the image is left out where nothing asks for it.

    Args:
      image: [B, H, W, C] with any C, whose edges are replicated; or already padded,
        [B, H + (F-1)*dilation, W + (F-1)*dilation, C]. Any value range; float16 to float64.
      weight, offset_y, offset_x: [B, F*F, H, W], tap-major; offsets in pixels, rows then columns
        (W, alpha and beta in the papers).
      dilation: distance of neighbouring taps, in pixels.
      rounding: "floor" for bilinear interpolation, "trunc" as the published kernels do (see
        `bilinear.split`).
      implementation: "auto", "reference", "xla" or "pallas"; see `dispatch`.

    Returns:
      [B, H, W, C] in the dtype of `image`, summed up in float32 or wider.

    Raises:
      ValueError: shapes that do not fit each other, an axis of length 0, unknown rounding or implementation.
      TypeError: what is no NumPy or JAX array of floating point; a dilation that is no whole number.
    """
    check_implementation(implementation)
    arrays = {"image": image, "weight": weight, "offset_y": offset_y, "offset_x": offset_x}
    image, weight, offset_y, offset_x = floats("adacof", axes=4, **arrays)
    dilation = whole_number("adacof", "dilation", dilation, 1)
    _check(image, weight, offset_y, offset_x, dilation, rounding)
    if implementation == "reference":
        rule = _rule(image, weight, dilation, rounding)
        return tap_sum.reference(image, weight, offset_y, offset_x, **rule)
    return _adacof(image, weight, offset_y, offset_x, dilation, rounding, implementation)


def _check(image: Any, weight: Any, offset_y: Any, offset_x: Any, dilation: int, rounding: str) -> None:
    if not weight.shape == offset_y.shape == offset_x.shape:
        shapes = (weight.shape, offset_y.shape, offset_x.shape)
        raise ValueError(f"adacof: weight, offset_y and offset_x have shapes {shapes}; they must be equal")
    if rounding not in ROUNDINGS:
        raise ValueError(f"adacof: rounding is {rounding!r}; give one of {', '.join(ROUNDINGS)}")
    batch, taps, height, width = weight.shape
    size = math.isqrt(taps)
    if size * size != taps:
        raise ValueError(f"adacof: {taps} taps are no square; the fields must be [B, F*F, H, W], tap-major")
    apron = (size - 1) * dilation
    padded = (height + apron, width + apron)
    if image.shape[0] != batch or image.shape[1:3] not in ((height, width), padded):
        raise ValueError(
            f"adacof: image is {image.shape} but {size}x{size} taps with dilation={dilation} over fields of "
            f"{batch}x{height}x{width} need [{batch}, {height}, {width}, C], or padded "
            f"[{batch}, {padded[0]}, {padded[1]}, C]"
        )


def tap_origin(image: jax.Array, weight: jax.Array, dilation: int) -> list[tuple[int, int]]:
    """Where the taps of output pixel (0, 0) start in `image`: (row, column) per tap.

    The shift by p = (F - 1)*d // 2 centres the taps; in a padded image the padding is that shift.
    """
    size = math.isqrt(weight.shape[1])
    padded = size > 1 and image.shape[1:3] != weight.shape[2:]
    shift = 0 if padded else (size - 1) * dilation // 2
    return [(k * dilation - shift, l * dilation - shift) for k in range(size) for l in range(size)]


# --------------------------------------------------------------------------- the op and its gradient


def _table(direction: str) -> dict[str, Callable[..., Any]]:
    from pallas_kernels import adacof as kernel

    functions: dict[str, dict[str, Callable[..., Any]]] = {
        "forward": {"xla": _xla_forward, "pallas": kernel.forward},
        "backward": {"xla": _xla_backward, "pallas": kernel.backward},
    }
    return functions[direction]


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _adacof(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    dilation: int,
    rounding: Rounding,
    implementation: str,
) -> jax.Array:
    arrays = (image, weight, offset_y, offset_x)
    return run(_table("forward"), implementation, *arrays, dilation=dilation, rounding=rounding)


def _adacof_forward(
    image: Any,
    weight: Any,
    offset_y: Any,
    offset_x: Any,
    dilation: int,
    rounding: Rounding,
    implementation: str,
) -> tuple[jax.Array, Any]:
    arrays = (image.value, weight.value, offset_y.value, offset_x.value)
    # An empty tuple or None, so that a pytree can carry the flag: the image is often plain data.
    image_grad = () if image.perturbed else None
    return _adacof(*arrays, dilation, rounding, implementation), (arrays, image_grad)


def _adacof_backward(
    dilation: int, rounding: Rounding, implementation: str, residuals: Any, cotangent: Any
) -> tuple[jax.Array | None, ...]:
    arrays, image_grad = residuals
    if isinstance(cotangent, SymbolicZero):
        return (None,) * 4
    static = {"dilation": dilation, "rounding": rounding, "image_grad": image_grad is not None}
    return tuple(run(_table("backward"), implementation, *arrays, cotangent, **static))


_adacof.defvjp(_adacof_forward, _adacof_backward, symbolic_zeros=True)


# --------------------------------------------------------------------------- XLA


def _rule(image: jax.Array, weight: jax.Array, dilation: int, rounding: Rounding) -> dict[str, Any]:
    """What `tap_sum` needs to know: where the taps stand, and how a position is split."""
    return {"origin": tap_origin(image, weight, dilation), "locate": partial(locate, rounding=rounding)}


def _xla_forward(
    image: jax.Array, weight: jax.Array, *offsets: jax.Array, dilation: int, rounding: Rounding
) -> jax.Array:
    return tap_sum.forward(image, weight, *offsets, **_rule(image, weight, dilation, rounding))


def _xla_backward(
    image: jax.Array,
    weight: jax.Array,
    *arrays: jax.Array,
    dilation: int,
    rounding: Rounding,
    image_grad: bool = True,
) -> tuple[jax.Array | None, ...]:
    rule = _rule(image, weight, dilation, rounding)
    return tap_sum.backward(image, weight, *arrays, **rule, image_grad=image_grad)
