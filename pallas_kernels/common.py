"""What the kernels share: tiles of pixels, loops, bilinear corners, access to device memory, the call.

Every array is handed to a kernel whole, in device memory. A program reads and writes it by arrays of
indices, one lane per pixel, so that neighbouring lanes touch neighbouring addresses. Image axes
(height, width) are flattened into one pixel axis.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from pallas_kernels.blocks import BlockConfig

Kernel = Callable[..., None]
WHOLE = pl.BlockSpec(memory_space=pl.ANY)


class Tile(NamedTuple):
    """The consecutive pixels of one program, one per lane; all fields have shape [pixels]."""

    pixel: jax.Array  # row * width + column
    row: jax.Array
    column: jax.Array
    inside: jax.Array  # False in the lanes of the last tile that lie behind the last pixel


def pixel_tile(number: Any, pixels: int, height: int, width: int) -> Tile:
    """Tile `number` of an image cut into runs of `pixels` (a power of two) pixels."""
    pixel = number * pixels + lax.broadcasted_iota(jnp.int32, (pixels,), 0)
    row = pixel // width
    return Tile(pixel, row, pixel - row * width, pixel < height * width)


def loop(count: int, body: Callable[[Any, Any], Any], carry: Any, *, unroll: int) -> Any:
    """`for i in range(count): carry = body(i, carry)`, unrolled by `unroll`.

    The backend has no unrolled loops of its own, and `%` on a traced loop index may not lower: nest two
    loops where a flat index would have to be taken apart. Fewer than two full turns unroll completely,
    and then `i` is a Python integer.
    """
    turns = count // unroll if count >= 2 * unroll else 0

    def turn(number: jax.Array, carry: Any) -> Any:
        for i in range(unroll):
            carry = body(number * unroll + i, carry)
        return carry

    if turns:
        carry = lax.fori_loop(jnp.int32(0), jnp.int32(turns), turn, carry)
    for i in range(turns * unroll, count):
        carry = body(i, carry)
    return carry


class Corners(NamedTuple):
    """The four neighbours of a sampling position, in the order (y0,x0), (y0,x1), (y1,x0), (y1,x1)."""

    pixels: tuple[jax.Array, ...]  # flat pixel indices, each clamped into the image by itself
    fraction_y: jax.Array  # in [0, 1) for "floor", in (-1, 1) for "trunc"
    fraction_x: jax.Array

    def blend(self) -> tuple[jax.Array, ...]:
        """The bilinear weight of each corner."""
        fy, fx = self.fraction_y, self.fraction_x
        return (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx


def split_offset(offset: jax.Array, rounding: str) -> tuple[jax.Array, jax.Array]:
    """Integer part (int32) and remainder of an offset."""
    whole = jnp.floor(offset) if rounding == "floor" else jnp.trunc(offset)
    return whole.astype(jnp.int32), offset - whole


def corners(
    row: jax.Array,
    column: jax.Array,
    offset_y: jax.Array,
    offset_x: jax.Array,
    *,
    height: int,
    width: int,
    rounding: str,
) -> Corners:
    """The corners around (row + offset_y, column + offset_x) in an image of `height` x `width`."""
    whole_y, fraction_y = split_offset(offset_y, rounding)
    whole_x, fraction_x = split_offset(offset_x, rounding)
    y, x = row + whole_y, column + whole_x
    rows = [jnp.clip(v, 0, height - 1) * width for v in (y, y + 1)]
    columns = [jnp.clip(v, 0, width - 1) for v in (x, x + 1)]
    return Corners(tuple(r + c for r in rows for c in columns), fraction_y, fraction_x)


def dot(factors: Sequence[jax.Array], values: Sequence[jax.Array]) -> jax.Array:
    """Sum of products over a sequence of tiles."""
    first, *rest = (f * v for f, v in zip(factors, values, strict=True))
    return sum(rest, start=first)


def load(array: Any, index: tuple[Any, ...], inside: jax.Array, dtype: Any) -> jax.Array:
    """`array[index]` in the lanes `inside`, else zero, as `dtype`."""
    return plgpu.load(array.at[index], mask=inside, other=0).astype(dtype)


def store(array: Any, index: tuple[Any, ...], value: jax.Array, inside: jax.Array) -> None:
    """`array[index] = value` in the lanes `inside`, in the dtype of `array`."""
    plgpu.store(array.at[index], value.astype(array.dtype), mask=inside)


def scatter_add(array: Any, index: tuple[Any, ...], value: jax.Array) -> None:
    """`array[index] += value`, atomically; equal indices add up, within a program and between programs.

    There is no mask: lanes outside the image must come with a valid index and the value zero. (This is
    `addupdate` because the backend's `atomic_add` loses equal indices in interpret mode. Both lower to
    the same instruction.)
    """
    jax.ref.addupdate(array, index, value)


def call(
    kernel: Kernel,
    inputs: Sequence[jax.Array],
    outputs: Sequence[jax.ShapeDtypeStruct],
    *,
    accumulated: Sequence[jax.ShapeDtypeStruct] = (),
    grid: tuple[int, ...],
    block: BlockConfig,
    name: str,
    interpret: bool,
) -> list[jax.Array]:
    """Runs `kernel(*inputs, *outputs, *accumulated)` once for every point of `grid`.

    `outputs` start undefined, and every element must be stored; `accumulated` start as zeros, because a
    zero array is aliased to each.
    """
    zeros = [jnp.zeros(array.shape, array.dtype) for array in accumulated]

    def without_zeros(*references: Any) -> None:
        kernel(*references[: len(inputs)], *references[len(inputs) + len(zeros) :])

    return pl.pallas_call(
        without_zeros,
        grid=grid,
        in_specs=[WHOLE] * (len(inputs) + len(zeros)),
        out_specs=[WHOLE] * (len(outputs) + len(zeros)),
        out_shape=[*outputs, *accumulated],
        input_output_aliases={len(inputs) + i: len(outputs) + i for i in range(len(zeros))},
        # Explicit, because these parameters are also what selects the Triton backend.
        compiler_params=plgpu.CompilerParams(num_warps=block.warps, num_stages=block.stages),
        interpret=interpret,
        name=name,
    )(*inputs, *zeros)
