"""The deformable convolution is its equation, values and gradients, in both implementations."""

import re
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.ops.adacof_cases import away_from_integers
from tests.tolerance import close
from vfijax.ops import deform_conv

BOTH = pytest.mark.parametrize("implementation", ["reference", "xla"])
NAMES = ("out", "d_image", "d_offset_y", "d_offset_x", "d_mask", "d_kernel")
EVERY = tuple(range(5))
GOLDEN = Path(__file__).parents[1] / "golden" / "ops_deform_conv.npz"


@dataclass(frozen=True)
class Case:
    """One call: sizes, static arguments, and how far the offsets reach (pixels)."""

    name: str
    height: int = 5
    width: int = 7
    channels: int = 4
    features: int = 3
    groups: int = 2
    size: int = 3  # K
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    batch: int = 1
    reach: float = 2.0

    @property
    def static(self):
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}

    @property
    def out(self):
        apron = 2 * self.padding - self.dilation * (self.size - 1) - 1
        return (self.height + apron) // self.stride + 1, (self.width + apron) // self.stride + 1

    def arrays(self, dtype=np.float32):
        """Image, offsets, mask and kernel; no offset is near an integer, where the op has its kinks."""
        rng = np.random.default_rng(7)
        image = rng.normal(size=(self.batch, self.height, self.width, self.channels))
        field = (self.batch, self.groups * self.size**2, *self.out)
        offsets = [away_from_integers(rng.normal(0, self.reach, field)) for _ in "yx"]
        mask = rng.uniform(0, 1, field)
        kernel = rng.normal(size=(self.size, self.size, self.channels, self.features)) / self.size
        return tuple(array.astype(dtype) for array in (image, *offsets, mask, kernel))

    def cotangent(self, dtype=np.float32):
        shape = (self.batch, *self.out, self.features)
        return np.random.default_rng(8).normal(size=shape).astype(dtype)


CASES = [
    Case("one group", groups=1),
    Case("two groups, two images", batch=2),
    Case("eight channels per group", channels=16, height=3, width=4),
    Case("many channels per group", channels=40, height=3, width=4),
    Case("stride 2", stride=2),
    Case("dilation 2", dilation=2, padding=2),
    Case("stride 3, wide padding, a group per channel", height=6, width=8, groups=4, stride=3, padding=4),
    Case("a single tap", size=1, padding=0),
    Case("five taps a side, no padding", size=5, padding=0, height=6),
    Case("a single row, an even number of taps a side", size=2, height=1),
    Case("offsets far outside", reach=40.0),
]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@partial(jax.jit, static_argnames=("stride", "padding", "dilation", "implementation"))
def value_and_gradients(arrays, cotangent, **static):
    out, vjp = jax.vjp(partial(deform_conv, **static), *arrays)
    return out, *vjp(cotangent)


def plain_python(image, offset_y, offset_x, mask, kernel, *, stride, padding, dilation):
    """The equation, one number at a time."""
    batch, height, width, channels = image.shape
    size, _, _, features = kernel.shape
    rows, columns = mask.shape[2:]
    groups = mask.shape[1] // size**2
    out = np.zeros((batch, rows, columns, features))
    for b, g, k, l, i, j in product(*map(range, (batch, groups, size, size, rows, columns))):
        at = (b, g * size**2 + k * size + l, i, j)
        y = i * stride - padding + k * dilation + float(offset_y[at])
        x = j * stride - padding + l * dilation + float(offset_x[at])
        top, left = int(np.floor(y)), int(np.floor(x))
        share = channels // groups
        mine = slice(g * share, (g + 1) * share)
        for row, column in product((top, top + 1), (left, left + 1)):
            if 0 <= row < height and 0 <= column < width:
                weight = float(mask[at]) * (1 - abs(y - row)) * (1 - abs(x - column))
                out[b, i, j] += weight * image[b, row, column, mine] @ kernel[k, l, mine]
    return out


# ------------------------------------------------------------------------------------------ values


@EVERY_CASE
@BOTH
def test_the_op_is_plain_python(case, implementation):
    arrays = case.arrays()
    static = {**case.static, "implementation": implementation}
    actual, *_ = value_and_gradients(arrays, case.cotangent(), **static)
    close(actual, plain_python(*arrays, **case.static), terms=case.size**2 * case.channels)


GEOMETRIES = {
    "dcn_v2_g1": {},
    "dcn_v2_g2": {},
    "dcn_v2_g4_stride2": {"stride": 2},
    "dcn_v2_g2_dil2": {"dilation": 2, "padding": 2},
}


@BOTH
@pytest.mark.parametrize("name", GEOMETRIES)
def test_values_and_gradients_are_the_published_ones(name, implementation, float64):
    with np.load(GOLDEN) as file:
        stored = {key.split("/")[1]: file[key] for key in file if key.startswith(name + "/")}

    def arrays(prefix=""):  # the published offsets alternate: rows, columns
        offset = stored[prefix + "offset"]
        image, kernel = stored[prefix + "inp"], stored[prefix + "weight"]
        fields = (offset[:, 0::2], offset[:, 1::2], stored[prefix + "mask"])
        return image.transpose(0, 2, 3, 1), *fields, kernel.transpose(2, 3, 1, 0)

    op = partial(deform_conv, **GEOMETRIES[name], implementation=implementation)
    out, vjp = jax.vjp(op, *arrays())
    found = (out + stored["bias"], *vjp(stored["cotangent"].transpose(0, 2, 3, 1)))
    expected = (stored["out"].transpose(0, 2, 3, 1), *arrays("grad_"))
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-9)


@BOTH
@EVERY_CASE
def test_without_offsets_and_masks_it_is_an_ordinary_convolution(case, implementation):
    image, offset_y, offset_x, mask, kernel = case.arrays()
    arrays = (image, 0 * offset_y, 0 * offset_x, np.ones_like(mask), kernel)
    static = {**case.static, "implementation": implementation}
    actual, *_ = value_and_gradients(arrays, case.cotangent(), **static)
    expected = lax.conv_general_dilated(
        image,
        kernel,
        (case.stride,) * 2,
        ((case.padding,) * 2,) * 2,
        rhs_dilation=(case.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    close(actual, expected, terms=case.size**2 * case.channels)


# How far the taps over 5 x 7 pixels must stray until none has a neighbour inside.
STRAYED = [("above", -6.5, 0), ("below", 6.0, 0), ("left", 0, -8.5), ("right", 0, 8.0)]
STRAYED += [("as far as numbers go", 3e38, -3e38), ("beyond integers", -1e10, 1e10)]


@BOTH
@pytest.mark.parametrize(("dy", "dx"), [s[1:] for s in STRAYED], ids=[s[0] for s in STRAYED])
def test_positions_outside_give_zero_and_no_gradient(dy, dx, implementation):
    case = Case("")
    image, offset_y, offset_x, mask, kernel = case.arrays()
    arrays = (image, np.full_like(offset_y, dy), np.full_like(offset_x, dx), mask, kernel)
    results = value_and_gradients(arrays, case.cotangent(), **case.static, implementation=implementation)
    for name, result in zip(NAMES, results, strict=True):
        assert not np.any(result), name


@BOTH
def test_each_neighbour_outside_counts_as_zero_by_itself(implementation):
    def sample(dy, dx):
        field = jnp.ones((1, 1, 1, 1))
        image = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
        op = partial(deform_conv, stride=2, padding=0, implementation=implementation)
        return float(op(image, field * dy, field * dx, field, jnp.ones((1, 1, 1, 1)))[0, 0, 0, 0])

    expected = {(-0.25, 0): 0.75, (-1, 0): 0, (1.5, 0): 1.5, (2, 0): 0, (0, -0.5): 0.5, (0, 1.75): 0.5}
    expected |= {(-0.5, -0.5): 0.25, (1.5, 1.5): 1, (0.5, 0.5): 2.5, (1, 1): 4}
    assert {at: sample(*at) for at in expected} == expected


# --------------------------------------------------------------------------------------- gradients


@EVERY_CASE
def test_xla_equals_the_reference_in_values_and_all_gradients(case):
    run = partial(value_and_gradients, case.arrays(), case.cotangent(), **case.static)
    results = zip(NAMES, run(implementation="xla"), run(implementation="reference"), strict=True)
    for name, actual, expected in results:
        close(actual, expected, terms=case.size**2 * case.channels, gradient=name != "out")


SMOOTH = [Case("plain"), Case("stride 2, dilation 2, two images", stride=2, dilation=2, batch=2)]


@BOTH
@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.name)
def test_gradients_are_finite_differences(case, implementation, float64):
    arrays, cotangent = case.arrays(np.float64), case.cotangent(np.float64)
    static = {**case.static, "implementation": implementation}
    _, *gradients = value_and_gradients(arrays, cotangent, **static)
    energy = jax.jit(lambda *arrays: jnp.vdot(cotangent, deform_conv(*arrays, **static)))
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
        return jnp.sum(deform_conv(*arrays, implementation="xla") ** 2)

    without_image = str(jax.make_jaxpr(jax.grad(energy, argnums=EVERY[1:]))(*arrays))
    everything = str(jax.make_jaxpr(jax.grad(energy, argnums=EVERY))(*arrays))
    assert "scatter-add" in everything
    assert "scatter-add" not in without_image
    _, *expected = jax.grad(energy, argnums=EVERY)(*arrays)
    for actual, wanted in zip(jax.grad(energy, argnums=EVERY[1:])(*arrays), expected, strict=True):
        close(actual, wanted, gradient=True)


def test_an_output_that_nothing_uses_has_no_gradient():
    def mask_alone(image, offset_y, offset_x, mask, kernel):
        deform_conv(image, offset_y, offset_x, mask, kernel)
        return jnp.sum(mask)

    gradients = jax.grad(mask_alone, argnums=EVERY)(*map(jnp.asarray, Case("").arrays()))
    assert [float(jnp.max(jnp.abs(g))) for g in gradients] == [0, 0, 0, 1, 0]


# ------------------------------------------------------------------------------------------- dtypes


@BOTH
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.usefixtures("strict")
def test_half_precision_is_float32_inside(dtype, implementation):
    case = Case("")
    arrays = tuple(jnp.asarray(array, dtype) for array in case.arrays())
    cotangent = jnp.asarray(case.cotangent(), dtype)
    in_float32 = tuple(array.astype(jnp.float32) for array in arrays), cotangent.astype(jnp.float32)
    static = {**case.static, "implementation": implementation}
    results = value_and_gradients(arrays, cotangent, **static)
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
    dtypes = ("bfloat16", "float32", "float16", "float32", "bfloat16")
    arrays = [jnp.asarray(array, dtype) for array, dtype in zip(Case("").arrays(), dtypes, strict=True)]
    out, vjp = jax.vjp(partial(deform_conv, implementation=implementation), *arrays)
    assert out.dtype == jnp.bfloat16
    assert [str(gradient.dtype) for gradient in vjp(out)] == list(dtypes)


# --------------------------------------------------------------------------------------- under jax


@BOTH
def test_vmap_over_a_new_axis_equals_one_call_each(implementation):
    calls = [tuple(array * (1 + n) for array in Case("").arrays()) for n in range(2)]
    op = jax.jit(partial(deform_conv, implementation=implementation))
    gradient = jax.jit(jax.grad(lambda *arrays: jnp.sum(op(*arrays) ** 2), argnums=EVERY))
    together = [np.stack(arrays) for arrays in zip(*calls, strict=True)]
    for n, arrays in enumerate(calls):
        close(jax.vmap(op)(*together)[n], op(*arrays), terms=36)
        for actual, expected in zip(jax.vmap(gradient)(*together), gradient(*arrays), strict=True):
            close(actual[n], expected, terms=36, gradient=True)


@pytest.mark.parametrize("implementation", ["reference", "xla", "auto"])
def test_jit_equals_the_plain_call(implementation):
    arrays = Case("").arrays()
    op = partial(deform_conv, implementation=implementation)
    close(jax.jit(op)(*arrays), op(*arrays), terms=36)


def test_auto_is_xla_to_the_last_bit():
    arrays = Case("").arrays()
    found, expected = (deform_conv(*arrays, implementation=name) for name in ("auto", "xla"))
    np.testing.assert_array_equal(found, expected)


def test_the_samples_of_one_band_of_rows_are_held_at_a_time():
    def temporary_bytes(height):
        case = Case("", height, 64, channels=64, features=64, groups=1, size=5, padding=2)
        op = jax.jit(partial(deform_conv, padding=2, implementation="xla"))
        return op.lower(*case.arrays()).compile().memory_analysis().temp_size_in_bytes

    all_samples = 5 * 5 * 64 * 4  # bytes for every pixel of the result
    growth = (temporary_bytes(192) - temporary_bytes(96)) / (96 * 64)
    assert growth < all_samples / 4


# ------------------------------------------------------------------------------------------ errors


def test_options_are_given_by_name_alone():
    with pytest.raises(TypeError, match="positional"):
        deform_conv(*Case("").arrays(), 1)


FIELDS = ("offset_y", "offset_x", "mask")


def changed(**changes):
    names = ("image", *FIELDS, "kernel")
    arrays = dict(zip(names, Case("").arrays(), strict=True))
    return tuple({name: changes.get(name, lambda x: x)(x) for name, x in arrays.items()}.values())


def fields(change):
    return changed(**dict.fromkeys(FIELDS, change))


ERRORS = [
    ("image of rank 3", changed(image=lambda x: x[0]), {}, ValueError, "image has shape (5, 7, 4); four"),
    ("field of rank 3", changed(mask=lambda x: x[0]), {}, ValueError, "mask has shape (18, 5, 7); four"),
    (
        "kernel of rank 0",
        changed(kernel=lambda x: x[0, 0, 0, 0]),
        {},
        ValueError,
        "kernel has shape (); four",
    ),
    (
        "integer image",
        changed(image=lambda x: x.astype(np.uint8)),
        {},
        TypeError,
        "image is uint8; a floating",
    ),
    ("integer offsets", changed(offset_x=lambda x: x.astype(int)), {}, TypeError, "offset_x is int32"),
    ("fields that differ", changed(offset_y=lambda x: x[:, :9]), {}, ValueError, "must be equal"),
    (
        "kernel for other channels",
        changed(kernel=lambda x: x[:, :, :3]),
        {},
        ValueError,
        "kernel is (3, 3, 3, 3); an image of 4 channels needs [K, K, 4, O]",
    ),
    ("kernel that is no square", changed(kernel=lambda x: x[:2]), {}, ValueError, "kernel is (2, 3, 4, 3)"),
    ("taps that do not fit", fields(lambda x: x[:, :17]), {}, ValueError, "17 taps are not G*K*K with K=3"),
    ("no taps", fields(lambda x: x[:, :0]), {}, ValueError, "0 taps are not G*K*K"),
    (
        "groups that do not divide the channels",
        fields(lambda x: np.concatenate([x, x[:, :9]], 1)),
        {},
        ValueError,
        "G that divides 4 channels",
    ),
    ("image of another size", changed(image=lambda x: x[:, 1:]), {}, ValueError, "needs (1, 18, 4, 7)"),
    ("image of another batch", changed(image=lambda x: np.repeat(x, 2, 0)), {}, ValueError, "(2, 18, 5, 7)"),
    (
        "fields of another stride",
        changed(),
        {"stride": 2},
        ValueError,
        "stride=2, padding=1, dilation=1 needs",
    ),
    ("stride 0", changed(), {"stride": 0}, ValueError, "stride is 0; at least 1 is needed"),
    ("negative padding", changed(), {"padding": -1}, ValueError, "padding is -1; at least 0 is needed"),
    ("dilation 0", changed(), {"dilation": 0}, ValueError, "dilation is 0; at least 1 is needed"),
    ("kernel larger than the image", changed(), {"dilation": 9}, ValueError, "no room"),
    ("misspelt implementation", changed(), {"implementation": "xlaa"}, ValueError, "did you mean 'xla'?"),
    ("no kernel yet", changed(), {"implementation": "pallas"}, ValueError, "no Pallas kernel yet"),
]


@pytest.mark.parametrize(
    ("arrays", "options", "kind", "message"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS]
)
def test_bad_input_is_named(arrays, options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        deform_conv(*arrays, **options)
