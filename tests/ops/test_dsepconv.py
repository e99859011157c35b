"""Deformable separable convolution is its equation: values, borders and all gradients."""

import math
import re
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tolerance import close
from vfijax.ops import adacof, dsepconv, sepconv

PATH = Path(__file__).parents[1] / "golden" / "ops_dsepconv.npz"
BOTH = pytest.mark.parametrize("implementation", ["reference", "xla"])
FIELDS = ("vertical", "horizontal", "offset_y", "offset_x", "mask")
NAMES = ("out", *(f"d_{name}" for name in ("image", *FIELDS)))


@dataclass(frozen=True)
class Case:
    """One call: sizes, static arguments, and how far the offsets reach (pixels)."""

    name: str
    n: int = 3
    height: int = 5
    width: int = 6
    channels: int = 3
    batch: int = 1
    padded: bool = False
    masked: bool = True
    reach: float = 2.0
    grid: str = "reference"

    def arrays(self, dtype=np.float32):
        """All arrays of the op; no offset is within 0.03 of an integer, where the op has its kinks."""
        rng = np.random.default_rng(5)
        apron = self.n - 1 if self.padded else 0
        image = rng.uniform(0, 1, (self.batch, self.height + apron, self.width + apron, self.channels))
        size = (self.height, self.width)
        kernels = (rng.uniform(-0.5, 1, (self.batch, self.n, *size)) for _ in "vh")
        field = (self.batch, self.n**2, *size)
        offsets = (np.floor(o := rng.normal(0, self.reach, field)) + (o % 1) * 0.94 + 0.03 for _ in "yx")
        masks = [rng.uniform(0, 1, field)] if self.masked else []
        return tuple(array.astype(dtype) for array in (image, *kernels, *offsets, *masks))

    def cotangent(self, dtype=np.float32):
        shape = (self.batch, self.height, self.width, self.channels)
        return np.random.default_rng(6).normal(size=shape).astype(dtype)


CASES = [
    Case("three taps a side"),
    Case("padded, two images, without a mask", batch=2, padded=True, masked=False, grid="centred"),
    Case("five taps a side, one channel", n=5, channels=1),
    Case("five taps, padded, two channels", n=5, channels=2, padded=True, grid="centred"),
    Case("a single tap", n=1, channels=4, batch=2),
    Case("an even number of taps, seven channels", n=4, channels=7, grid="centred"),
    Case("offsets far outside", n=3, reach=50.0, masked=False),
    Case("a single row", n=5, height=1, width=7),
]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


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


@partial(jax.jit, static_argnames=("grid", "implementation"))
def value_and_gradients(arrays, cotangent, **static):
    out, vjp = jax.vjp(partial(dsepconv, **static), *arrays)
    return out, *vjp(cotangent)


# ------------------------------------------------------------------------------------------ values


@EVERY_CASE
def test_reference_is_the_published_arithmetic_in_plain_python(case, float64):
    arrays = case.arrays(np.float64)
    actual = compiled(*arrays, grid=case.grid, implementation="reference")
    np.testing.assert_allclose(actual, plain_python(*arrays, grid=case.grid), rtol=1e-11, atol=1e-12)


@cache
def golden():
    with np.load(PATH) as stored:
        return dict(stored)


@BOTH
@pytest.mark.parametrize("case", ["n1_far", "n3", "n5_far", "n5_zero_offset"])
def test_values_and_gradients_are_the_stored_ones(case, implementation, float64):
    """The published formula in float64; with zero offsets positions lie exactly on the border."""
    keys = ("inp", "ver", "hor", "off_v", "off_h", "mask")

    def stored(name):
        array = golden()[f"{case}/{name}"]
        return array.transpose(0, 2, 3, 1) if name in ("out", "cotangent", "inp", "grad_inp") else array

    arrays = tuple(map(stored, keys))
    results = value_and_gradients(arrays, stored("cotangent"), implementation=implementation)
    for actual, name in zip(results, ("out", *(f"grad_{key}" for key in keys)), strict=True):
        np.testing.assert_allclose(actual, stored(name), rtol=1e-9, atol=1e-9, err_msg=name)


@BOTH
def test_no_offset_on_the_centred_grid_is_the_separable_convolution(implementation):
    image, vertical, horizontal, *_ = Case("", n=5, height=7, width=6).arrays()
    still = np.zeros((1, 25, 7, 6), np.float32)
    out = compiled(image, vertical, horizontal, still, still, grid="centred", implementation=implementation)
    expected = sepconv(image, vertical, horizontal)
    # The last row and the last column read the border of the padded image, which counts double.
    close(out[:, :-1, :-1], expected[:, :-1, :-1], terms=25)
    assert np.all(np.abs(out - expected)[:, -1, :].max(-1) > 1e-3)


@BOTH
def test_a_single_tap_is_backward_warping(implementation):
    image, vertical, horizontal, *_ = Case("", n=1, height=6, width=7).arrays()
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
    image, *fields = Case("", n=n).arrays()
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
    arrays = Case("").arrays()[:5]
    found = compiled(*arrays, implementation=implementation)
    close(found, compiled(*arrays, np.ones_like(arrays[3]), implementation=implementation), terms=9)


# --------------------------------------------------------------------------------------- gradients


@EVERY_CASE
def test_xla_equals_the_reference_in_values_and_all_gradients(case):
    run = partial(value_and_gradients, case.arrays(), case.cotangent(), grid=case.grid)
    results = zip(NAMES, run(implementation="xla"), run(implementation="reference"), strict=False)
    for name, actual, expected in results:
        close(actual, expected, terms=case.n**2 * case.channels, gradient=name != "out")


SMOOTH = [
    Case("three taps, two images", height=4, width=3, batch=2, reach=3.0),
    Case("two taps, padded", n=2, height=3, width=4, channels=5, padded=True, grid="centred"),
]


@BOTH
@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.name)
def test_gradients_are_finite_differences(case, implementation, float64):
    arrays, cotangent = case.arrays(np.float64), case.cotangent(np.float64)
    static = {"grid": case.grid, "implementation": implementation}
    _, *gradients = value_and_gradients(arrays, cotangent, **static)
    energy = jax.jit(lambda *arrays: jnp.vdot(cotangent, dsepconv(*arrays, **static)))
    rng, step = np.random.default_rng(0), 1e-4  # in a piece that is linear in every single array
    for i, gradient in enumerate(gradients):  # each array alone, so that none hides in the sum of all
        for _ in range(3):
            direction = rng.choice([-1.0, 1.0], gradient.shape)
            ends = [energy(*arrays[:i], arrays[i] + s * direction, *arrays[i + 1 :]) for s in (step, -step)]
            slope = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("grid", "implementation"), [("reference", "xla"), ("centred", "reference")])
def test_padding_by_the_edges_beforehand_changes_nothing(grid, implementation, float64):
    case = Case("", n=4 if grid == "centred" else 5, reach=4.0)
    (image, *fields), cotangent = case.arrays(np.float64), case.cotangent(np.float64)
    around = (case.n // 2, case.n - 1 - case.n // 2)
    widths = [(0, 0), around, around, (0, 0)]
    padded, unpad = jax.vjp(lambda image: jnp.pad(image, widths, mode="edge"), image)
    run = partial(value_and_gradients, cotangent=cotangent, grid=grid, implementation=implementation)
    out, d_image, *d_fields = run((image, *fields))
    out_padded, d_padded, *d_fields_padded = run((padded, *fields))
    expected = (out_padded, *unpad(d_padded), *d_fields_padded)
    for actual, wanted in zip((out, d_image, *d_fields), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-13)


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


def test_image_gradient_is_left_out_where_the_image_is_data():
    arrays = Case("").arrays()

    def energy(*arrays):
        return jnp.sum(dsepconv(*arrays) ** 2)

    fields_only, everything = (jax.jit(jax.grad(energy, range(first, 6))) for first in (1, 0))
    assert "scatter-add" in str(jax.make_jaxpr(everything)(*arrays))
    assert "scatter-add" not in str(jax.make_jaxpr(fields_only)(*arrays))
    for actual, wanted in zip(fields_only(*arrays), everything(*arrays)[1:], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)


def test_an_output_that_nothing_uses_has_no_gradient():
    def mask_alone(*arrays):
        dsepconv(*arrays)
        return jnp.sum(arrays[-1])

    gradients = jax.grad(mask_alone, argnums=range(6))(*map(jnp.asarray, Case("").arrays()))
    assert [float(jnp.max(jnp.abs(g))) for g in gradients] == [0, 0, 0, 0, 0, 1]


# ------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize(("dtype", "implementation"), [("bfloat16", "xla"), ("float16", "reference")])
@pytest.mark.usefixtures("strict")
def test_half_precision_is_float32_inside(dtype, implementation):
    case = Case("", n=5)
    arrays = tuple(jnp.asarray(array, dtype) for array in case.arrays())
    cotangent = jnp.asarray(case.cotangent(), dtype)
    in_float32 = jax.tree.map(lambda array: array.astype(jnp.float32), (arrays, cotangent))
    results = value_and_gradients(arrays, cotangent, implementation=implementation)
    assert {result.dtype for result in results} == {jnp.dtype(dtype)}
    expected = value_and_gradients(*in_float32, implementation=implementation)
    for actual, wanted in zip(results, expected, strict=True):
        # One rounding of the result; a half precision sum over the taps would be off by more.
        step = float(jnp.finfo(dtype).eps)
        limit = 1e-6 * np.abs(wanted).max()
        np.testing.assert_allclose(np.asarray(actual, np.float32), wanted, rtol=step, atol=limit)


@BOTH
@pytest.mark.usefixtures("strict")
def test_every_result_has_the_dtype_of_its_array(implementation):
    dtypes = ("bfloat16", "float32", "float16", "bfloat16", "float32", "float16")
    arrays = [jnp.asarray(array, dtype) for array, dtype in zip(Case("").arrays(), dtypes, strict=True)]
    out, vjp = jax.vjp(partial(dsepconv, implementation=implementation), *arrays)
    assert out.dtype == jnp.bfloat16
    assert [str(gradient.dtype) for gradient in vjp(out)] == list(dtypes)


# --------------------------------------------------------------------------------------- under jax


@BOTH
def test_vmap_over_a_new_axis_equals_one_call_each(implementation):
    calls = [tuple(array * (1 + i) for array in Case("").arrays()) for i in range(2)]
    op = jax.jit(partial(dsepconv, implementation=implementation))
    gradient = jax.jit(jax.grad(lambda *arrays: jnp.sum(op(*arrays) ** 2), argnums=range(6)))
    together = [np.stack(arrays) for arrays in zip(*calls, strict=True)]
    for i, arrays in enumerate(calls):
        np.testing.assert_allclose(jax.vmap(op)(*together)[i], op(*arrays), rtol=1e-5, atol=1e-6)
        for actual, expected in zip(jax.vmap(gradient)(*together), gradient(*arrays), strict=True):
            close(actual[i], expected, terms=9, gradient=True)


@pytest.mark.parametrize("implementation", ["reference", "xla", "auto"])
def test_jit_equals_the_plain_call(implementation):
    arrays = Case("", n=5).arrays()
    op = partial(dsepconv, implementation=implementation)
    close(jax.jit(op)(*arrays), op(*arrays), terms=25)


# ------------------------------------------------------------------------------------------ errors


def changed(**changes):
    named = dict(zip(("image", *FIELDS), Case("").arrays(), strict=True))
    return [changes.get(name, lambda x: x)(array) for name, array in named.items()]


ERRORS = [
    (
        "image of rank 3",
        changed(image=lambda x: x[0]),
        {},
        ValueError,
        "image has shape (5, 6, 3); four axes",
    ),
    ("mask of rank 3", changed(mask=lambda x: x[0]), {}, ValueError, "mask has shape (9, 5, 6); four axes"),
    (
        "integer image",
        changed(image=lambda x: x.astype(np.uint8)),
        {},
        TypeError,
        "image is uint8; a floating",
    ),
    ("integer mask", changed(mask=lambda x: x.astype(np.int32)), {}, TypeError, "mask is int32; a floating"),
    (
        "kernels that differ",
        changed(horizontal=lambda x: x[:, :2]),
        {},
        ValueError,
        "vertical and horizontal have shapes ((1, 3, 5, 6), (1, 2, 5, 6)); they must be equal",
    ),
    (
        "offsets of another number of taps",
        changed(offset_x=lambda x: x[:, :8]),
        {},
        ValueError,
        "offset_x is (1, 8, 5, 6) but kernels of (1, 3, 5, 6) need [1, 3*3, 5, 6], tap-major",
    ),
    ("mask of another size", changed(mask=lambda x: x[:, :, 1:]), {}, ValueError, "mask is (1, 9, 4, 6)"),
    (
        "image of another size",
        changed(image=lambda x: x[:, 1:]),
        {},
        ValueError,
        "image is (1, 4, 6, 3) but kernels of 3 taps over 1x5x6 need [1, 5, 6, C], or padded [1, 7, 8, C]",
    ),
    (
        "image of another batch",
        changed(image=lambda x: np.repeat(x, 2, 0)),
        {},
        ValueError,
        "image is (2, 5, 6, 3)",
    ),
    (
        "unknown grid",
        changed(),
        {"grid": "centered"},
        ValueError,
        "grid is 'centered'; give one of reference, centred",
    ),
    ("misspelt implementation", changed(), {"implementation": "xal"}, ValueError, "did you mean 'xla'?"),
    (
        "no kernel",
        changed(),
        {"implementation": "pallas"},
        ValueError,
        "no Pallas kernel yet; use implementation='auto' or 'xla'",
    ),
]


@pytest.mark.parametrize(
    ("arrays", "options", "kind", "message"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS]
)
def test_bad_input_is_named(arrays, options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        dsepconv(*arrays, **options)
