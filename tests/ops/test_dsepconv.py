"""Deformable separable convolution is its equation: values and borders; `test_every_op.py` has the rest."""

import math
from functools import cache, partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.cases import (
    BOTH,
    DSEPCONV,
    dsepconv_case,
    every,
    every_refusal,
    first,
    integers,
    refusal,
    twice,
    value_and_gradients,
)
from tests.tolerance import close
from vfijax.ops import adacof, dsepconv, sepconv

PATH = Path(__file__).parents[1] / "golden" / "ops_dsepconv.npz"


def plain_python(image, vertical, horizontal, offset_y, offset_x, mask=None, *, grid):
    """The published arithmetic on the padded image, one number at a time."""
    batch, n, height, width = vertical.shape
    if image.shape[1:3] == (height, width):
        around = (n // 2, n - 1 - n // 2)
        image = np.pad(image, [(0, 0), around, around, (0, 0)], mode="edge")
    start = 1 - (n - 1) // 2 if grid == "reference" else 0
    out = np.zeros((batch, height, width, image.shape[3]))

    def axis(position, length):
        """Indices and weights of both neighbours."""
        last = length - 1
        inside = min(max(position, 0), last)
        low, high = (min(max(math.floor(position) + step, 0), last) for step in (0, 1))
        return (low, 1 + (low - inside)), (high, 1 - (high - inside))

    for b, i, j, k, l in product(*map(range, (batch, height, width, n, n))):
        t = k * n + l
        rows = axis(i + k + start + float(offset_y[b, t, i, j]), image.shape[1])
        columns = axis(j + l + start + float(offset_x[b, t, i, j]), image.shape[2])
        sample = sum(wy * wx * image[b, y, x] for (y, wy), (x, wx) in product(rows, columns))
        weight = vertical[b, k, i, j] * horizontal[b, l, i, j]
        out[b, i, j] += sample * weight * (1 if mask is None else mask[b, t, i, j])
    return out


# Compiled as a whole: one by one, the operations within take longer to compile.
compiled = jax.jit(dsepconv, static_argnames=("grid", "implementation"))


# ------------------------------------------------------------------------------------------ values


@every(DSEPCONV)
def test_reference_is_the_published_arithmetic_in_plain_python(case, float64):
    arrays = case.arrays(np.float64)
    actual = compiled(*arrays, **case.options, implementation="reference")
    np.testing.assert_allclose(actual, plain_python(*arrays, **case.options), rtol=1e-11, atol=1e-12)


@cache
def golden():
    with np.load(PATH) as stored:
        return dict(stored)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("case", ["n1_far", "n3", "n5_far", "n5_zero_offset"])
def test_values_and_gradients_are_the_stored_ones(case, implementation, float64):
    """The published formula in float64; with zero offsets positions lie exactly on the border."""
    keys = ("inp", "ver", "hor", "off_v", "off_h", "mask")

    def stored(name):
        array = golden()[f"{case}/{name}"]
        return array.transpose(0, 2, 3, 1) if name in ("out", "cotangent", "inp", "grad_inp") else array

    arrays = tuple(map(stored, keys))
    results = value_and_gradients(dsepconv, arrays, stored("cotangent"), implementation=implementation)
    for actual, name in zip(results, ("out", *(f"grad_{key}" for key in keys)), strict=True):
        np.testing.assert_allclose(actual, stored(name), rtol=1e-9, atol=1e-9, err_msg=name)


@BOTH
def test_no_offset_on_the_centred_grid_is_the_separable_convolution(implementation):
    image, vertical, horizontal, *_ = dsepconv_case("", 7, 6, n=5).arrays()
    still = np.zeros((1, 25, 7, 6), np.float32)
    out = compiled(image, vertical, horizontal, still, still, grid="centred", implementation=implementation)
    expected = sepconv(image, vertical, horizontal)
    # The last row and the last column read the border of the padded image, which counts double.
    close(out[:, :-1, :-1], expected[:, :-1, :-1], terms=25)
    assert np.all(np.abs(out - expected)[:, -1, :].max(-1) > 1e-3)


@BOTH
def test_a_single_tap_is_backward_warping(implementation):
    image, vertical, horizontal, *_ = dsepconv_case("", 6, 7, n=1).arrays()
    rows, columns = np.mgrid[:6, :7][:, None, None].astype(np.float32)
    rng = np.random.default_rng(0)
    offset_y = rng.uniform(0, 4.99, rows.shape).astype(np.float32) - rows  # positions in [0, H - 1)
    offset_x = rng.uniform(0, 5.99, rows.shape).astype(np.float32) - columns
    options = {"grid": "centred", "implementation": implementation}
    out = compiled(image, vertical, horizontal, offset_y, offset_x, **options)
    close(out, adacof(image, vertical * horizontal, offset_y, offset_x), terms=4)


@BOTH
@pytest.mark.parametrize("n", [1, 5])
def test_the_published_grid_is_shifted_by_half_of_three_minus_n(n, implementation):
    image, *fields = dsepconv_case(n=n).arrays()
    shifted = [field + (3 - n) // 2 * (i in (2, 3)) for i, field in enumerate(fields)]
    published = compiled(image, *fields, grid="reference", implementation=implementation)
    centred = compiled(image, *shifted, grid="centred", implementation=implementation)
    close(published, centred, terms=n * n)


@BOTH
@pytest.mark.parametrize(
    ("n", "place", "edge", "corner"), [(5, 0, 1.2, 1.44), (3, -1, 4 / 3, 16 / 9)], ids=["first", "last"]
)
def test_a_border_counts_double(n, place, edge, corner, implementation):
    """Of a constant image and kernels 1/n without offsets: one tap of n is counted twice at the edge."""
    image = np.ones((1, 6, 7, 1), np.float32)
    kernel, still = np.full((1, n, 6, 7), 1 / n, np.float32), np.zeros((1, n * n, 6, 7), np.float32)
    out = np.asarray(compiled(image, kernel, kernel, still, still, implementation=implementation))[0, ..., 0]
    close(out[3, 3], 1)
    close(out[place, 3], edge)
    close(out[3, place], edge)
    close(out[place, place], corner)


@BOTH
def test_no_mask_is_a_mask_of_ones(implementation):
    arrays = dsepconv_case().arrays()[:5]
    found = compiled(*arrays, implementation=implementation)
    close(found, compiled(*arrays, np.ones_like(arrays[3]), implementation=implementation), terms=9)


# --------------------------------------------------------------------------------------- gradients


@partial(jax.jit, static_argnums=1)
def row_slope(position, implementation):
    """What a single tap reads at a row of the column 1, 4, 9, 16, 25, and the slope of that."""
    image = jnp.arange(1.0, 6).reshape(1, 5, 1, 1) ** 2 * jnp.ones((1, 1, 2, 1))
    ones = jnp.ones((1, 1, 5, 2))
    op = partial(dsepconv, grid="centred", implementation=implementation)
    return jax.value_and_grad(lambda offset: op(image, ones, ones, offset * ones, 0 * ones)[0, 0, 0, 0])(
        position
    )


@BOTH
def test_the_first_row_has_its_full_derivative_and_the_last_row_none(implementation):
    expected = {
        -1.5: (2, 0),  # beyond the first row: twice the border
        -0.25: (2, 0),
        0.0: (1, 3),  # on it: a plain sample
        0.5: (2.5, 3),
        3.0: (16, 9),
        3.5: (20.5, 9),
        4.0: (50, 0),  # on the last row: twice the border
        9.0: (50, 0),
    }
    for position, values in expected.items():
        assert tuple(map(float, row_slope(position, implementation))) == values, position


# ------------------------------------------------------------------------------------------ errors


ERRORS = {
    "image of rank 3": refusal("image has shape (5, 6, 3); four axes", image=first),
    "mask of rank 3": refusal("mask has shape (9, 5, 6); four axes", mask=first),
    "integer image": refusal(
        "image is uint8; a floating", TypeError, image=lambda image: image.astype(np.uint8)
    ),
    "integer mask": refusal("mask is int32; a floating", TypeError, mask=integers),
    "kernels that differ": refusal(
        "vertical and horizontal have shapes ((1, 3, 5, 6), (1, 2, 5, 6)); they must be equal",
        horizontal=lambda kernel: kernel[:, :2],
    ),
    "offsets of another number of taps": refusal(
        "offset_x is (1, 8, 5, 6) but kernels of (1, 3, 5, 6) need [1, 3*3, 5, 6], tap-major",
        offset_x=lambda field: field[:, :8],
    ),
    "mask of another size": refusal("mask is (1, 9, 4, 6)", mask=lambda field: field[:, :, 1:]),
    "image of another size": refusal(
        "image is (1, 4, 6, 3) but kernels of 3 taps over 1x5x6 need [1, 5, 6, C], or padded [1, 7, 8, C]",
        image=lambda image: image[:, 1:],
    ),
    "image of another batch": refusal("image is (2, 5, 6, 3)", image=twice),
    "unknown grid": refusal(
        "grid is 'centered'; give one of reference, centred", options={"grid": "centered"}
    ),
}


@every_refusal(ERRORS)
def test_bad_input_is_named(refuses):
    refuses(dsepconv_case())
