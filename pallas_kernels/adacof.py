"""Kernels of the adaptive sampling op of AdaCoF (Lee et al., CVPR 2020, equation 3), any tap grid.

    out[b,i,j,c] = sum over k, l of  W[b,t,i,j] * I[b, i + k*d - p + alpha[b,t,i,j],
                                                       j + l*d - p + beta[b,t,i,j], c],   t = k*F + l

with W, alpha, beta the fields `weight`, `offset_y`, `offset_x`, I read bilinearly with each corner
clamped into the image, and p = (F-1)*d//2, or 0 when the image comes already padded.

What a program owns. Forward: 128 consecutive pixels of one image and a group of channels, for which it
runs over all taps with its sums in registers; a field is read once per group and the output written
once. Backward: 128 consecutive pixels and all channels; it reads the inputs, recomputes the corners,
and owns the gradients of the fields at its pixels. The image gradient belongs to nobody: every program
adds to it atomically.

Inside, images are planar `[B, C, pixels]`, so that the lanes of a gather read neighbouring addresses
whatever the number of channels; fields are `[B, T, pixels]`, as they come.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from pallas_kernels import blocks, common

ROUNDINGS = ("floor", "trunc")
Primals = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
Gradients = tuple[jax.Array | None, jax.Array, jax.Array, jax.Array]


@dataclass(frozen=True)
class Geometry:
    """The static sizes of one call."""

    batch: int
    height: int  # of the output
    width: int
    channels: int
    image_height: int
    image_width: int
    side: int  # F, of the F x F grid of taps
    dilation: int
    pad: int  # p of the equation
    rounding: str
    dtype: Any  # of all arithmetic

    @classmethod
    def of(cls, image: jax.Array, fields: Sequence[jax.Array], dilation: int, rounding: str) -> "Geometry":
        """Raises ValueError where a kernel would read outside an array, or not know what to compute."""
        batch, image_height, image_width, channels = image.shape
        _, taps, height, width = fields[0].shape
        side = isqrt(taps)
        extent = (side - 1) * dilation
        margin = (image_height - height, image_width - width)
        wanted = (batch, side * side, height, width)
        if margin not in ((0, 0), (extent, extent)) or any(field.shape != wanted for field in fields):
            raise ValueError(
                f"adacof kernel: image {image.shape} and fields {', '.join(str(f.shape) for f in fields)} do "
                f"not fit; fields must be [B, F*F, H, W], and the image [B, H, W, C] or "
                f"[B, H + (F-1)*{dilation}, W + (F-1)*{dilation}, C]"
            )
        if rounding not in ROUNDINGS:
            raise ValueError(f"adacof kernel: rounding is {rounding!r}; give one of {', '.join(ROUNDINGS)}")
        return cls(
            batch=batch,
            height=height,
            width=width,
            channels=channels,
            image_height=image_height,
            image_width=image_width,
            side=side,
            dilation=dilation,
            pad=0 if any(margin) else extent // 2,
            rounding=rounding,
            dtype=jnp.float64 if any(a.dtype == jnp.float64 for a in (image, *fields)) else jnp.float32,
        )

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.height, self.width, self.channels


# ---------------------------------------------------------------------------------------- one program


@dataclass(frozen=True)
class Program:
    """What one program works on, and how it reads: the pixels `tile` of image `batch`."""

    geometry: Geometry
    tile: common.Tile
    batch: Any

    @classmethod
    def current(cls, geometry: Geometry, block: blocks.BlockConfig) -> "Program":
        tile = common.pixel_tile(pl.program_id(1), block.pixels, geometry.height, geometry.width)
        return cls(geometry, tile, pl.program_id(2))

    def load(self, array: Any, plane: Any, pixel: jax.Array) -> jax.Array:
        """`array[batch, plane, pixel]`, where a plane is a channel or a tap."""
        return common.load(array, (self.batch, plane, pixel), self.tile.inside, self.geometry.dtype)

    def store(self, array: Any, plane: Any, value: jax.Array) -> None:
        common.store(array, (self.batch, plane, self.tile.pixel), value, self.tile.inside)

    def tap(self, fields: Sequence[Any], row: Any, column: Any) -> tuple[jax.Array, common.Corners]:
        """The weight of one tap at every pixel of the tile, and the corners it reads."""
        sizes, tile = self.geometry, self.tile
        weight, offset_y, offset_x = (
            self.load(field, row * sizes.side + column, tile.pixel) for field in fields
        )
        return weight, common.corners(
            tile.row + (row * sizes.dilation - sizes.pad),
            tile.column + (column * sizes.dilation - sizes.pad),
            offset_y,
            offset_x,
            height=sizes.image_height,
            width=sizes.image_width,
            rounding=sizes.rounding,
        )

    def samples(self, image: Any, channel: Any, corners: common.Corners) -> list[jax.Array]:
        """The value of one channel at each of the four corners."""
        return [self.load(image, channel, pixel) for pixel in corners.pixels]


def _over_taps(side: int, columns: int, body: Callable[[Any, Any, Any], Any], carry: Any) -> Any:
    """`carry = body(row, column, carry)` for every tap, `columns` taps of a row unrolled."""

    def over_row(row: Any, carry: Any) -> Any:
        return common.loop(side, lambda column, carry: body(row, column, carry), carry, unroll=columns)

    return common.loop(side, over_row, carry, unroll=1)


# --------------------------------------------------------------------------------- around the kernels


def _planar(image: jax.Array) -> jax.Array:
    """[B, H, W, C] to [B, C, pixels]."""
    batch, height, width, channels = image.shape
    return jnp.moveaxis(image, -1, 1).reshape(batch, channels, height * width)


def _flat(field: jax.Array) -> jax.Array:
    """[B, T, H, W] to [B, T, pixels]."""
    batch, taps, height, width = field.shape
    return field.reshape(batch, taps, height * width)


def _grid(geometry: Geometry, block: blocks.BlockConfig, groups: int) -> tuple[int, int, int]:
    """Groups vary fastest: programs that read the same fields run at the same time."""
    return groups, pl.cdiv(geometry.pixels, block.pixels), geometry.batch


# ------------------------------------------------------------------------------------------- forward


def _forward_kernel(image: Any, *references: Any, geometry: Geometry, block: blocks.BlockConfig) -> None:
    *fields, output = references
    program = Program.current(geometry, block)
    # The last group ends with the last channel; where it overlaps its neighbour, both store the same.
    first = jnp.minimum(pl.program_id(0) * block.channels, geometry.channels - block.channels)

    def add_tap(row: Any, column: Any, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        weight, corners = program.tap(fields, row, column)
        factors = [weight * share for share in corners.blend()]
        return tuple(
            total + common.dot(factors, program.samples(image, first + c, corners))
            for c, total in enumerate(sums)
        )

    zeros = (jnp.zeros(block.pixels, geometry.dtype),) * block.channels
    sums = _over_taps(geometry.side, block.columns, add_tap, zeros)
    for c, total in enumerate(sums):  # channels last, so that the result needs no transpose
        common.store(output, (program.batch, program.tile.pixel, first + c), total, program.tile.inside)


def forward(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    dilation: int,
    rounding: str,
    interpret: bool = False,
) -> jax.Array:
    """Samples `image` at the taps of every pixel.

    Args:
      image: [B, H, W, C], or [B, H + (F-1)*dilation, W + (F-1)*dilation, C] already padded.
      weight, offset_y, offset_x: [B, F*F, H, W]; offsets in pixels.
      dilation: distance between neighbouring taps, in pixels.
      rounding: "floor" or "trunc", how an offset is split into a whole and a fractional part.
      interpret: run as ordinary JAX operations on any device, slowly; for tests.

    Returns:
      [B, H, W, C] in the dtype of `image`; the sums are float32 or wider.

    Raises:
      ValueError: the shapes do not belong together.
    """
    fields = (weight, offset_y, offset_x)
    geometry = Geometry.of(image, fields, dilation, rounding)
    block = blocks.adacof_forward(geometry.channels, geometry.side)
    flat_output = (geometry.batch, geometry.pixels, geometry.channels)
    (output,) = common.call(
        functools.partial(_forward_kernel, geometry=geometry, block=block),
        [_planar(image), *map(_flat, fields)],
        [jax.ShapeDtypeStruct(flat_output, image.dtype)],
        grid=_grid(geometry, block, pl.cdiv(geometry.channels, block.channels)),
        block=block,
        name="adacof_forward",
        interpret=interpret,
    )
    return output.reshape(geometry.output_shape)


# ------------------------------------------------------------------------------------------ backward


def _backward_kernel(image: Any, *references: Any, geometry: Geometry, block: blocks.BlockConfig) -> None:
    fields, cotangent = references[:3], references[3]
    d_fields, d_image = references[4:7], references[7:]  # d_image: one reference, or none
    program = Program.current(geometry, block)

    def load_cotangent(channel: Any) -> jax.Array:
        return program.load(cotangent, channel, program.tile.pixel)

    few = geometry.channels <= block.channels  # enough to keep all in registers over the taps
    kept = [load_cotangent(c) for c in range(geometry.channels)] if few else []

    def one_tap(row: Any, column: Any, carry: tuple[()]) -> tuple[()]:
        weight, corners = program.tap(fields, row, column)
        blend = corners.blend()

        def add_channel(c: Any, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            g = kept[c] if few else load_cotangent(c)
            for target in d_image:
                for share, pixel in zip(blend, corners.pixels, strict=True):
                    common.scatter_add(target, (program.batch, c, pixel), weight * share * g)
            samples = program.samples(image, c, corners)
            return tuple(total + g * sample for total, sample in zip(sums, samples, strict=True))

        zeros = (jnp.zeros(block.pixels, geometry.dtype),) * 4
        # Per corner, the sum over channels of cotangent times sample.
        dots = common.loop(geometry.channels, add_channel, zeros, unroll=block.channels)
        d00, d01, d10, d11 = dots
        fy, fx = corners.fraction_y, corners.fraction_x
        values = (
            common.dot(blend, dots),
            weight * ((d10 - d00) * (1 - fx) + (d11 - d01) * fx),
            weight * ((d01 - d00) * (1 - fy) + (d11 - d10) * fy),
        )
        for target, value in zip(d_fields, values, strict=True):
            program.store(target, row * geometry.side + column, value)
        return carry

    _over_taps(geometry.side, block.columns, one_tap, ())


def backward(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    cotangent: jax.Array,
    *,
    dilation: int,
    rounding: str,
    image_grad: bool = True,
    interpret: bool = False,
) -> Gradients:
    """The gradients of `forward` at the same arguments.

    Args:
      cotangent: [B, H, W, C], the gradient of the output.
      image_grad: whether to compute the gradient of the image. It is the expensive part; leave it out
        where the image is data.

    Returns:
      The gradients of image (None without `image_grad`), weight, offset_y and offset_x, each in the
      shape and dtype of its primal. That of the image is summed in float32 or wider, in no fixed order:
      its last bits may vary from run to run.

    Raises:
      ValueError: the shapes do not belong together.
    """
    fields = (weight, offset_y, offset_x)
    geometry = Geometry.of(image, fields, dilation, rounding)
    if cotangent.shape != geometry.output_shape:
        raise ValueError(f"adacof kernel: cotangent is {cotangent.shape}; needs {geometry.output_shape}")
    block = blocks.adacof_backward(geometry.channels, geometry.side)
    planar = _planar(image)
    gradients = common.call(
        functools.partial(_backward_kernel, geometry=geometry, block=block),
        [planar, *map(_flat, fields), _planar(cotangent)],
        [
            jax.ShapeDtypeStruct((geometry.batch, geometry.side**2, geometry.pixels), field.dtype)
            for field in fields
        ],
        accumulated=[jax.ShapeDtypeStruct(planar.shape, geometry.dtype)] if image_grad else [],
        grid=_grid(geometry, block, 1),
        block=block,
        name="adacof_backward",
        interpret=interpret,
    )
    d_weight, d_offset_y, d_offset_x = (g.reshape(weight.shape) for g in gradients[:3])
    d_image = None
    if image_grad:
        d_image = jnp.moveaxis(gradients[3], 1, -1).reshape(image.shape).astype(image.dtype)
    return d_image, d_weight, d_offset_y, d_offset_x


# ---------------------------------------------------------------------------------------- custom_vjp


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def adacof(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    dilation: int = 1,
    rounding: str = "floor",
    interpret: bool = False,
) -> jax.Array:
    """`forward`, differentiable in its four arrays through `backward`."""
    return forward(
        image, weight, offset_y, offset_x, dilation=dilation, rounding=rounding, interpret=interpret
    )


def _adacof_forward(
    image: jax.Array,
    weight: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    dilation: int,
    rounding: str,
    interpret: bool,
) -> tuple[jax.Array, Primals]:
    primals = (image, weight, offset_y, offset_x)
    return adacof(*primals, dilation, rounding, interpret), primals


def _adacof_backward(
    dilation: int, rounding: str, interpret: bool, primals: Primals, cotangent: jax.Array
) -> Gradients:
    return backward(*primals, cotangent, dilation=dilation, rounding=rounding, interpret=interpret)


adacof.defvjp(_adacof_forward, _adacof_backward)
