"""The sampling op is its equation: values, roundings, memory; `test_every_op.py` has the rest."""

import math
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.cases import (
    ADACOF,
    BOTH,
    adacof_case,
    every,
    every_refusal,
    first,
    integers,
    refusal,
    temporary_bytes,
    twice,
    value_and_gradients,
)
from tests.tolerance import close
from vfijax.ops import adacof, tap_sum
from vfijax.ops.bilinear import split

ROUNDINGS = pytest.mark.parametrize("rounding", ["floor", "trunc"])


def plain_python(image, weight, offset_y, offset_x, *, dilation, rounding):
    """The equation, one number at a time."""
    batch, height, width, channels = image.shape
    _, taps, rows, columns = weight.shape
    size = math.isqrt(taps)
    padded = size > 1 and (rows, columns) != (height, width)
    shift = 0 if padded else (size - 1) * dilation // 2
    whole = {"floor": math.floor, "trunc": math.trunc}[rounding]
    out = np.zeros((batch, rows, columns, channels))
    for b, i, j, k, l in product(*map(range, (batch, rows, columns, size, size))):
        t = k * size + l
        y, x = float(offset_y[b, t, i, j]), float(offset_x[b, t, i, j])
        fy, fx = y - whole(y), x - whole(x)
        for dy, dx in product((0, 1), (0, 1)):
            row = min(max(i + k * dilation - shift + whole(y) + dy, 0), height - 1)
            column = min(max(j + l * dilation - shift + whole(x) + dx, 0), width - 1)
            share = (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
            for c in range(channels):
                out[b, i, j, c] += float(weight[b, t, i, j]) * share * float(image[b, row, column, c])
    return out


# ------------------------------------------------------------------------------------------ values


@every(ADACOF)
def test_reference_is_plain_python(case):
    arrays, cotangent = case.arrays(), case.cotangent()
    actual, *_ = value_and_gradients(adacof, arrays, cotangent, **case.options, implementation="reference")
    close(actual, plain_python(*arrays, **case.options), terms=case.taps)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("padded", [False, True])
@ROUNDINGS
def test_reference_is_plain_python_in_double_precision(channels, padded, rounding, float64):
    case = adacof_case("", 3, 4, channels, padded=padded, rounding=rounding, reach=3.0)
    arrays = case.arrays(np.float64)
    actual = jax.jit(partial(adacof, **case.options, implementation="reference"))(*arrays)
    np.testing.assert_allclose(actual, plain_python(*arrays, **case.options), rtol=1e-12, atol=1e-14)


@BOTH
def test_no_offset_and_all_weight_on_the_centre_tap_copies_the_image(implementation):
    image = adacof_case().arrays()[0]
    weight = np.zeros((1, 9, 6, 7), np.float32)
    weight[:, 4] = 1
    still = np.zeros_like(weight)
    for dilation in (1, 2):
        op = jax.jit(partial(adacof, dilation=dilation, implementation=implementation))
        np.testing.assert_array_equal(op(image, weight, still, still), image)


@BOTH
@ROUNDINGS
def test_constant_image_times_the_sum_of_the_weights(implementation, rounding):
    _, weight, *offsets = adacof_case().arrays()
    out = adacof(np.ones((1, 6, 7, 2)), weight, *offsets, rounding=rounding, implementation=implementation)
    close(out, np.broadcast_to(weight.sum(1)[..., None], out.shape), terms=9)


# --------------------------------------------------------------------------------------- gradients


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 4, 5])
@pytest.mark.parametrize("channels", [3, 7])
def test_bands_of_rows_change_no_gradient(rows, channels, monkeypatch):
    case = adacof_case(channels=channels, batch=2)
    arrays, cotangent = jax.tree.map(jnp.asarray, (case.arrays(), case.cotangent()))

    def backward():
        op = partial(adacof, rounding="floor", implementation="xla")
        return jax.jit(lambda *arrays: jax.vjp(op, *arrays)[1](cotangent))(*arrays)

    whole = backward()
    batch, _, width, _ = cotangent.shape
    monkeypatch.setattr(tap_sum, "BAND_SIZE", rows * batch * width * channels)
    for name, actual, expected in zip(case.results[1:], backward(), whole, strict=True):
        close(actual, expected, terms=9 if name == "d_image" else channels)


# ------------------------------------------------------------------------------- rounding at integers


@partial(jax.jit, static_argnums=(1, 2))
def sampled(offset, rounding, implementation):
    image = jnp.arange(9.0).reshape(1, 9, 1, 1) ** 2
    weight, still = jnp.ones((1, 1, 9, 1)), jnp.zeros((1, 1, 9, 1))
    static = {"rounding": rounding, "implementation": implementation}
    return adacof(image, weight, still + offset, still, **static)[0, 4, 0, 0]


def sample(offset, rounding, implementation):
    """What one tap reads from the column 0, 1, 4, 9, ... when it stands on row 4."""
    return float(sampled(offset, rounding, implementation))


@BOTH
def test_roundings_agree_at_integers_and_for_offsets_that_are_not_negative(implementation):
    for offset in (-3.0, -2.0, -1.0, 0.0, 0.25, 0.999, 1.0, 2.5, 7.0):
        values = [sample(offset, rounding, implementation) for rounding in ("floor", "trunc")]
        assert values[0] == values[1], offset


@BOTH
def test_floor_interpolates_on_both_sides_of_zero(implementation):
    for offset, expected in ((-1.5, 6.5), (-0.5, 12.5), (0.5, 20.5)):
        assert sample(offset, "floor", implementation) == pytest.approx(expected)


@BOTH
def test_trunc_extrapolates_below_zero_and_jumps_at_negative_integers(implementation):
    # Row 4 holds 16 and row 5 holds 25: from -1 + e the tap reads 2 * 16 - 25 = 7, at -1 itself row 3, 9.
    assert sample(-1.0, "trunc", implementation) == 9
    assert sample(np.nextafter(np.float32(-1), np.float32(0)), "trunc", implementation) == pytest.approx(7)
    assert sample(-0.5, "trunc", implementation) == pytest.approx(16 - 0.5 * 9)
    # At zero it is continuous.
    assert sample(-1e-6, "trunc", implementation) == pytest.approx(16, abs=1e-4)


@BOTH
@ROUNDINGS
def test_gradient_at_an_integer_is_that_of_the_interval_above(rounding, implementation):
    image = jnp.arange(9.0).reshape(1, 9, 1, 1) ** 2
    ones = jnp.ones((1, 1, 9, 1))
    here = jnp.zeros((1, 9, 1, 1)).at[0, 4, 0, 0].set(1)
    static = {"dilation": 1, "rounding": rounding, "implementation": implementation}
    for offset in (-2, 0, 1):
        arrays = (image, ones, offset * ones, 0 * ones)
        slope = value_and_gradients(adacof, arrays, here, **static)[3][0, 0, 4, 0]
        assert slope == (4 + offset + 1) ** 2 - (4 + offset) ** 2


@ROUNDINGS
def test_an_offset_is_its_whole_part_and_the_rest(rounding):
    offset = jnp.asarray([-2.75, -1.0, -0.25, 0.0, 0.25, 1.0, 2.75])
    whole, rest = split(offset, rounding)
    np.testing.assert_array_equal(whole + rest, offset)
    low, high = (0, 1) if rounding == "floor" else (-1, 1)
    assert np.all(rest >= low) and np.all(rest < high)
    assert np.all(np.abs(whole) <= np.abs(offset)) == (rounding == "trunc")


# ------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_samples_of_a_few_taps_are_held_at_a_time(direction):
    case = adacof_case("", 24, 32, 32, size=11)
    arrays, cotangent = case.arrays(), case.cotangent()

    def run(*arrays, implementation):
        op = partial(adacof, implementation=implementation)
        return op(*arrays) if direction == "forward" else jax.vjp(op, *arrays)[1](cotangent)

    one_tap = cotangent.nbytes
    used = temporary_bytes(partial(run, implementation="xla"), *arrays)
    # The four corners and their gradients, sums, image and its gradient; and, small, the fields.
    assert used < 20 * one_tap + 4 * arrays[1].nbytes
    assert used < temporary_bytes(partial(run, implementation="reference"), *arrays) / 3
    assert 121 * one_tap > 40 * one_tap + 4 * arrays[1].nbytes  # else the bound would say nothing


# ------------------------------------------------------------------------------------------ errors


FIELDS = ("weight", "offset_y", "offset_x")

ERRORS = {
    "image of rank 3": refusal("image has shape (6, 7, 3); four axes", image=first),
    "field of rank 3": refusal("offset_x has shape (9, 6, 7); four", offset_x=first),
    "integer image": refusal(
        "image is uint8; a floating", TypeError, image=lambda image: image.astype(np.uint8)
    ),
    "integer offsets": refusal("offset_y is int32; a floating", TypeError, offset_y=integers),
    "fields that differ": refusal("(1, 4, 6, 7)", offset_y=lambda field: field[:, :4]),
    "taps that are no square": refusal(
        "8 taps are no square", **dict.fromkeys(FIELDS, lambda field: field[:, :8])
    ),
    "image of another size": refusal(
        "need [1, 6, 7, C], or padded [1, 8, 9, C]", image=lambda image: image[:, 1:]
    ),
    "image of another batch": refusal("image is (2, 6, 7, 3)", image=twice),
    "padding of another dilation": refusal(
        "padded [1, 10, 11, C]",
        options={"dilation": 2},
        image=lambda image: np.pad(image, [(0, 0), (1, 1), (1, 1), (0, 0)]),
    ),
    "dilation 0": refusal("dilation is 0; at least 1 is needed", options={"dilation": 0}),
    "unknown rounding": refusal(
        "rounding is 'round'; give one of floor, trunc", options={"rounding": "round"}
    ),
}


@every_refusal(ERRORS)
def test_bad_input_is_named(refuses):
    refuses(adacof_case())
