"""The sampling op is its equation, values and gradients, in both implementations that run everywhere."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.adacof_cases import CASES, Case, plain_python
from tests.tolerance import close
from vfijax.ops import adacof, tap_sum
from vfijax.ops.adacof import _xla_backward as xla_backward
from vfijax.ops.bilinear import split

BOTH = pytest.mark.parametrize("implementation", ["reference", "xla"])
ROUNDINGS = pytest.mark.parametrize("rounding", ["floor", "trunc"])
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
NAMES = ("out", "d_image", "d_weight", "d_offset_y", "d_offset_x")


@partial(jax.jit, static_argnames=("dilation", "rounding", "implementation"))
def value_and_gradients(arrays, cotangent, **static):
    out, vjp = jax.vjp(partial(adacof, **static), *arrays)
    return out, *vjp(cotangent)


# ------------------------------------------------------------------------------------------ values


@EVERY_CASE
def test_reference_is_plain_python(case):
    arrays = case.arrays()
    actual = adacof(*arrays, **case.static, implementation="reference")
    close(actual, plain_python(*arrays, **case.static), terms=case.size**2)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("padded", [False, True])
@ROUNDINGS
def test_reference_is_plain_python_in_double_precision(channels, padded, rounding, float64):
    case = Case("", 3, 4, channels, padded=padded, rounding=rounding, reach=3.0)
    arrays = case.arrays(np.float64)
    actual = adacof(*arrays, **case.static, implementation="reference")
    np.testing.assert_allclose(actual, plain_python(*arrays, **case.static), rtol=1e-12, atol=1e-14)


@BOTH
def test_no_offset_and_all_weight_on_the_centre_tap_copies_the_image(implementation):
    image = Case("").arrays()[0]
    weight = np.zeros((1, 9, 6, 7), np.float32)
    weight[:, 4] = 1
    still = np.zeros_like(weight)
    for dilation in (1, 2):
        out = adacof(image, weight, still, still, dilation=dilation, implementation=implementation)
        np.testing.assert_array_equal(out, image)


@BOTH
@ROUNDINGS
def test_constant_image_times_the_sum_of_the_weights(implementation, rounding):
    _, weight, *offsets = Case("").arrays()
    out = adacof(np.ones((1, 6, 7, 2)), weight, *offsets, rounding=rounding, implementation=implementation)
    close(out, np.broadcast_to(weight.sum(1)[..., None], out.shape), terms=9)


@BOTH
def test_padding_by_the_edges_beforehand_changes_nothing(implementation):
    image, *fields = Case("", size=5).arrays()
    padded = np.pad(image, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="edge")
    assert_equal = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    assert_equal(*(adacof(x, *fields, implementation=implementation) for x in (image, padded)))


# --------------------------------------------------------------------------------------- gradients


@EVERY_CASE
def test_xla_equals_the_reference_in_values_and_all_gradients(case):
    run = partial(value_and_gradients, case.arrays(), case.cotangent(), **case.static)
    results = zip(NAMES, run(implementation="xla"), run(implementation="reference"), strict=True)
    for name, actual, expected in results:
        terms = case.size**2 if name in ("out", "d_image") else case.channels
        close(actual, expected, terms=terms, gradient=name != "out")


@pytest.mark.parametrize("rows", [1, 4, 5])
@pytest.mark.parametrize("channels", [3, 7])
def test_bands_of_rows_change_no_gradient(rows, channels, monkeypatch):
    case = Case("", size=3, channels=channels, batch=2)
    arrays, cotangent = jax.tree.map(jnp.asarray, (case.arrays(), case.cotangent()))
    backward = partial(xla_backward, *arrays, cotangent, dilation=1, rounding="floor")
    whole = backward()
    batch, _, width, _ = cotangent.shape
    monkeypatch.setattr(tap_sum, "BAND_SIZE", rows * batch * width * channels)
    for name, actual, expected in zip(NAMES[1:], backward(), whole, strict=True):
        close(actual, expected, terms=9 if name == "d_image" else channels)


SMOOTH = [
    Case("floor", 4, 5, 2),
    Case(
        "trunc, padded, dilation 2, two images", 4, 3, 3, dilation=2, batch=2, padded=True, rounding="trunc"
    ),
]


@BOTH
@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.name)
def test_gradients_are_finite_differences(case, implementation, float64):
    arrays, cotangent = case.arrays(np.float64), case.cotangent(np.float64)
    static = {**case.static, "implementation": implementation}
    _, *gradients = value_and_gradients(arrays, cotangent, **static)
    energy = jax.jit(lambda *arrays: jnp.vdot(cotangent, adacof(*arrays, **static)))
    rng, step = np.random.default_rng(0), 1e-4  # in a piece that is linear in every single array
    for i, gradient in enumerate(gradients):  # each array alone, so that none hides in the sum of all
        for _ in range(3):
            direction = rng.choice([-1.0, 1.0], gradient.shape)
            ends = [energy(*arrays[:i], arrays[i] + s * direction, *arrays[i + 1 :]) for s in (step, -step)]
            slope = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=1e-7, atol=1e-7)


def test_image_gradient_is_left_out_where_the_image_is_data():
    arrays = Case("").arrays()

    def energy(*arrays):
        return jnp.sum(adacof(*arrays, implementation="xla") ** 2)

    fields_only = str(jax.make_jaxpr(jax.grad(energy, argnums=(1, 2, 3)))(*arrays))
    everything = str(jax.make_jaxpr(jax.grad(energy, argnums=(0, 1, 2, 3)))(*arrays))
    assert "scatter-add" in everything
    assert "scatter-add" not in fields_only
    _, *expected = jax.grad(energy, argnums=(0, 1, 2, 3))(*arrays)
    for actual, wanted in zip(jax.grad(energy, argnums=(1, 2, 3))(*arrays), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)


def test_an_output_that_nothing_uses_has_no_gradient():
    def weight_alone(image, weight, offset_y, offset_x):
        adacof(image, weight, offset_y, offset_x)
        return jnp.sum(weight)

    gradients = jax.grad(weight_alone, argnums=(0, 1, 2, 3))(*map(jnp.asarray, Case("").arrays()))
    assert [float(jnp.max(jnp.abs(g))) for g in gradients] == [0, 1, 0, 0]


# ------------------------------------------------------------------------------- rounding at integers


def sample(offset, rounding, implementation="reference"):
    """What one tap reads from the column 0, 1, 4, 9, ... when it stands on row 4."""
    image = jnp.arange(9.0).reshape(1, 9, 1, 1) ** 2
    weight, still = jnp.ones((1, 1, 9, 1)), jnp.zeros((1, 1, 9, 1))
    static = {"rounding": rounding, "implementation": implementation}
    return float(adacof(image, weight, still + offset, still, **static)[0, 4, 0, 0])


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
        slope = value_and_gradients(arrays, here, **static)[3][0, 0, 4, 0]
        assert slope == (4 + offset + 1) ** 2 - (4 + offset) ** 2


@ROUNDINGS
def test_an_offset_is_its_whole_part_and_the_rest(rounding):
    offset = jnp.asarray([-2.75, -1.0, -0.25, 0.0, 0.25, 1.0, 2.75])
    whole, rest = split(offset, rounding)
    np.testing.assert_array_equal(whole + rest, offset)
    low, high = (0, 1) if rounding == "floor" else (-1, 1)
    assert np.all(rest >= low) and np.all(rest < high)
    assert np.all(np.abs(whole) <= np.abs(offset)) == (rounding == "trunc")


# ------------------------------------------------------------------------------------------- dtypes


@BOTH
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", [CASES[1], CASES[5], CASES[10]], ids=lambda case: case.name)
@pytest.mark.usefixtures("strict")
def test_half_precision_is_float32_inside(case, dtype, implementation):
    arrays = [jnp.asarray(array, dtype) for array in case.arrays()]
    cotangent = jnp.asarray(case.cotangent(), dtype)
    in_float32 = tuple(array.astype(jnp.float32) for array in arrays), cotangent.astype(jnp.float32)
    static = {**case.static, "implementation": implementation}
    results = value_and_gradients(tuple(arrays), cotangent, **static)
    assert {result.dtype for result in results} == {jnp.dtype(dtype)}
    for actual, expected in zip(results, value_and_gradients(*in_float32, **static), strict=True):
        # One rounding of the result; a half precision sum over the taps would be off by more.
        step = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(
            np.asarray(actual, np.float32), expected, rtol=step, atol=1e-6 * np.abs(expected).max()
        )


@BOTH
@pytest.mark.usefixtures("strict")
def test_every_result_has_the_dtype_of_its_array(implementation):
    dtypes = ("bfloat16", "float32", "float16", "float32")
    arrays = [jnp.asarray(array, dtype) for array, dtype in zip(Case("").arrays(), dtypes, strict=True)]
    out, vjp = jax.vjp(partial(adacof, implementation=implementation), *arrays)
    assert out.dtype == jnp.bfloat16
    assert [str(gradient.dtype) for gradient in vjp(out)] == list(dtypes)


@pytest.mark.parametrize("implementation", ["reference", "xla", "auto"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.usefixtures("strict")
def test_nothing_is_broadcast_over_ranks_or_promoted(implementation, dtype):
    arrays = [jnp.asarray(array, dtype) for array in Case("", padded=True).arrays()]
    out, vjp = jax.vjp(partial(adacof, implementation=implementation), *arrays)
    vjp(out)


# --------------------------------------------------------------------------------------- under jax


@BOTH
def test_vmap_over_a_new_axis_equals_one_call_each(implementation):
    calls = [tuple(array * (1 + n) for array in Case("").arrays()) for n in range(2)]
    op = jax.jit(partial(adacof, rounding="trunc", implementation=implementation))
    gradient = jax.jit(jax.grad(lambda *arrays: jnp.sum(op(*arrays) ** 2), argnums=(0, 1, 2, 3)))
    together = [np.stack(arrays) for arrays in zip(*calls, strict=True)]
    for n, arrays in enumerate(calls):
        np.testing.assert_allclose(jax.vmap(op)(*together)[n], op(*arrays), rtol=1e-5, atol=1e-6)
        for actual, expected in zip(jax.vmap(gradient)(*together), gradient(*arrays), strict=True):
            close(actual[n], expected, terms=9, gradient=True)


@pytest.mark.parametrize("implementation", ["reference", "xla", "auto"])
def test_jit_equals_the_plain_call(implementation):
    arrays = Case("", size=5, rounding="trunc").arrays()
    op = partial(adacof, implementation=implementation)
    close(jax.jit(op)(*arrays), op(*arrays), terms=25)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a GPU runs the kernel; see tests/kernels")
def test_auto_on_a_cpu_is_xla_to_the_last_bit():
    arrays = Case("").arrays()
    found, expected = (adacof(*arrays, implementation=name) for name in ("auto", "xla"))
    np.testing.assert_array_equal(found, expected)


# ------------------------------------------------------------------------------------------ memory


def temporary_bytes(function, *arrays):
    return jax.jit(function).lower(*arrays).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_samples_of_a_few_taps_are_held_at_a_time(direction):
    case = Case("", 24, 32, channels=32, size=11)
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


def test_options_are_given_by_name_alone():
    with pytest.raises(TypeError, match="positional"):
        adacof(*Case("").arrays(), 1)


def changed(**changes):
    names = ("image", "weight", "offset_y", "offset_x")
    arrays = dict(zip(names, Case("").arrays(), strict=True))
    return tuple({name: changes.get(name, lambda x: x)(x) for name, x in arrays.items()}.values())


ERRORS = [
    (
        "image of rank 3",
        changed(image=lambda x: x[0]),
        {},
        ValueError,
        "image has shape (6, 7, 3); four axes",
    ),
    (
        "field of rank 3",
        changed(offset_x=lambda x: x[0]),
        {},
        ValueError,
        "offset_x has shape (9, 6, 7); four",
    ),
    (
        "integer image",
        changed(image=lambda x: x.astype(np.uint8)),
        {},
        TypeError,
        "image is uint8; a floating",
    ),
    (
        "integer offsets",
        changed(offset_y=lambda x: x.astype(int)),
        {},
        TypeError,
        "offset_y is int32; a floating",
    ),
    ("fields that differ", changed(offset_y=lambda x: x[:, :4]), {}, ValueError, "(1, 4, 6, 7)"),
    (
        "taps that are no square",
        changed(**dict.fromkeys(("weight", "offset_y", "offset_x"), lambda x: x[:, :8])),
        {},
        ValueError,
        "8 taps are no square",
    ),
    (
        "image of another size",
        changed(image=lambda x: x[:, 1:]),
        {},
        ValueError,
        "need [1, 6, 7, C], or padded [1, 8, 9, C]",
    ),
    (
        "image of another batch",
        changed(image=lambda x: np.repeat(x, 2, 0)),
        {},
        ValueError,
        "image is (2, 6, 7, 3)",
    ),
    (
        "padding of another dilation",
        Case("", padded=True).arrays(),
        {"dilation": 2},
        ValueError,
        "padded [1, 10, 11, C]",
    ),
    ("dilation 0", changed(), {"dilation": 0}, ValueError, "dilation is 0; it must be at least 1"),
    (
        "unknown rounding",
        changed(),
        {"rounding": "round"},
        ValueError,
        "rounding is 'round'; give one of floor, trunc",
    ),
    ("misspelt implementation", changed(), {"implementation": "palas"}, ValueError, "did you mean 'pallas'?"),
    (
        "unknown implementation",
        changed(),
        {"implementation": "numba"},
        ValueError,
        "known: auto, reference, xla, pallas",
    ),
]


@pytest.mark.parametrize(
    ("arrays", "options", "kind", "message"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS]
)
def test_bad_input_is_named(arrays, options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        adacof(*arrays, **options)
