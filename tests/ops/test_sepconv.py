"""Filtering every pixel with a kernel of its own is its equation, separable and full, gradients included."""

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
from vfijax.ops import adaptive_conv, sepconv

GOLDEN = Path(__file__).parents[1] / "golden" / "ops_sepconv.npz"
OPS = {"sepconv": sepconv, "adaptive_conv": adaptive_conv}

EVERY_OP = pytest.mark.parametrize("op", OPS)
BOTH = pytest.mark.parametrize("implementation", ["reference", "xla"])


@dataclass(frozen=True)
class Case:
    """Sizes of one call."""

    name: str = ""
    n: int = 3
    height: int = 6
    width: int = 7
    channels: int = 3
    batch: int = 1
    padded: bool = True

    def arrays(self, op, dtype=np.float32):
        """The image, then the kernels of the op, all of both signs."""
        rng = np.random.default_rng(7)
        apron = self.n - 1 if self.padded else 0
        image = (self.batch, self.height + apron, self.width + apron, self.channels)
        taps = (self.n, self.n) if op == "sepconv" else (self.n**2,)
        shapes = (image, *((self.batch, count, self.height, self.width) for count in taps))
        return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)

    def cotangent(self, dtype=np.float32):
        shape = (self.batch, self.height, self.width, self.channels)
        return np.random.default_rng(8).normal(size=shape).astype(dtype)


CASES = [
    Case("three taps, edges replicated", padded=False),
    Case("a single tap", n=1),
    Case("two taps, two images", n=2, batch=2),
    Case("many channels", n=4, channels=17, height=3),
    Case("kernels larger than the image, edges replicated", n=9, height=2, width=3, padded=False),
    Case("a single column", n=5, height=9, width=1, batch=2),
    Case("one column more than two tiles, two images", n=5, height=3, width=65, batch=2),
    Case("kernels wider than a tile", n=41, height=2, width=40, channels=2),
]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def plain_python(op, image, *kernels):
    """The equations, one number at a time, of a padded image."""
    batch, taps, height, width = kernels[0].shape
    n = taps if op == "sepconv" else math.isqrt(taps)
    out = np.zeros((batch, height, width, image.shape[-1]))
    for b, y, x, k, l in product(*map(range, (batch, height, width, n, n))):
        if op == "sepconv":
            weight = kernels[0][b, k, y, x] * kernels[1][b, l, y, x]
        else:
            weight = kernels[0][b, k * n + l, y, x]
        out[b, y, x] += weight * image[b, y + k, x + l]
    return out


def pad(image, n):
    return np.pad(image, [(0, 0), (n // 2, n // 2), (n // 2, n // 2), (0, 0)], mode="edge")


@partial(jax.jit, static_argnames=("op", "implementation"))
def value_and_gradients(op, arrays, cotangent, implementation="xla"):
    out, vjp = jax.vjp(partial(OPS[op], implementation=implementation), *arrays)
    return out, *vjp(cotangent)


# ------------------------------------------------------------------------------------------ golden


@cache
def golden():
    with np.load(GOLDEN) as stored:
        return dict(stored)


KERNELS = {"sepconv_n5": ("ver", "hor"), "sepconv_n7": ("ver", "hor"), "adaconv_n3": ("ker",)}


@BOTH
@pytest.mark.parametrize("case", KERNELS)
@pytest.mark.usefixtures("float64")
def test_values_and_all_gradients_are_the_published_ones(case, implementation):
    def stored(name):
        array = golden()[f"{case}/{name}"]
        return array if name.removeprefix("grad_") in KERNELS[case] else array.transpose(0, 2, 3, 1)

    op = "sepconv" if case.startswith("sepconv") else "adaptive_conv"
    arrays = tuple(map(stored, ("inp", *KERNELS[case])))
    names = ("out", "grad_inp", *(f"grad_{name}" for name in KERNELS[case]))
    results = value_and_gradients(op, arrays, stored("cotangent"), implementation)
    for name, actual in zip(names, results, strict=True):
        expected = stored(name)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9 * np.abs(expected).max(), err_msg=name)


# ------------------------------------------------------------------------------------------ values


@EVERY_OP
@EVERY_CASE
@pytest.mark.usefixtures("float64")
def test_values_are_plain_python_and_xla_has_the_gradients_of_the_reference(op, case):
    arrays, cotangent = case.arrays(op, np.float64), case.cotangent(np.float64)
    image = arrays[0] if case.padded else pad(arrays[0], case.n)
    results = [value_and_gradients(op, arrays, cotangent, name) for name in ("xla", "reference")]
    np.testing.assert_allclose(results[1][0], plain_python(op, image, *arrays[1:]), rtol=1e-11, atol=1e-12)
    for actual, expected in zip(*results, strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


@EVERY_OP
def test_float32_stays_near_float64_at_the_published_size(op):
    case = Case(n=51 if op == "sepconv" else 41, height=4, width=50)
    arrays, cotangent = case.arrays(op), case.cotangent()
    arrays = (arrays[0], *(array / case.n for array in arrays[1:]))
    single = value_and_gradients(op, arrays, cotangent)
    with jax.enable_x64(True):
        wide = [array.astype(np.float64) for array in (*arrays, cotangent)]
        double = value_and_gradients(op, tuple(wide[:-1]), wide[-1])
    for actual, expected in zip(single, double, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@BOTH
@EVERY_OP
@pytest.mark.parametrize("n", [1, 5])
def test_padding_by_the_edges_beforehand_changes_nothing(op, n, implementation):
    image, *kernels = Case(n=n, padded=False).arrays(op)
    run = partial(OPS[op], implementation=implementation)
    np.testing.assert_array_equal(run(image, *kernels), run(pad(image, n), *kernels))


@BOTH
def test_all_weight_on_the_middle_taps_copies_the_image(implementation):
    image, *_ = Case(n=5, padded=False).arrays("sepconv")
    middle, square = np.zeros((1, 5, 6, 7), np.float32), np.zeros((1, 25, 6, 7), np.float32)
    middle[:, 2] = square[:, 12] = 1
    np.testing.assert_array_equal(sepconv(image, middle, middle, implementation=implementation), image)
    np.testing.assert_array_equal(adaptive_conv(image, square, implementation=implementation), image)


@BOTH
def test_vertical_taps_go_down_and_horizontal_ones_to_the_right(implementation):
    image = np.arange(42, dtype=np.float32).reshape(1, 6, 7, 1)
    taps = np.zeros((2, 1, 3, 6, 7), np.float32)
    taps[0, :, 2] = taps[1, :, 0] = 1  # one row down, one column to the left
    out = sepconv(image, *taps, implementation=implementation)
    np.testing.assert_array_equal(out[:, :-1, 1:], image[:, 1:, :-1])


def test_a_separable_kernel_is_the_full_kernel_of_its_products():
    image, vertical, horizontal = Case(n=5, batch=2, padded=False).arrays("sepconv")
    full = np.einsum("bkyx,blyx->bklyx", vertical, horizontal).reshape(2, 25, 6, 7)
    close(sepconv(image, vertical, horizontal), adaptive_conv(image, full), terms=25)


# --------------------------------------------------------------------------------------- gradients


@BOTH
@EVERY_OP
def test_gradients_are_finite_differences(op, implementation, float64):
    case = Case(n=3, height=3, width=4, channels=2, batch=2, padded=False)
    arrays, cotangent = case.arrays(op, np.float64), case.cotangent(np.float64)
    _, *gradients = value_and_gradients(op, arrays, cotangent, implementation)
    energy = jax.jit(lambda *a: jnp.vdot(cotangent, OPS[op](*a, implementation=implementation)))
    rng = np.random.default_rng(0)
    for i, gradient in enumerate(gradients):  # linear in each array alone, so that a long step is exact
        direction = rng.choice([-1.0, 1.0], gradient.shape)
        ends = [energy(*arrays[:i], arrays[i] + s * direction, *arrays[i + 1 :]) for s in (0.5, -0.5)]
        np.testing.assert_allclose(np.vdot(gradient, direction), ends[0] - ends[1], rtol=1e-10)


@EVERY_OP
def test_image_gradient_is_left_out_where_the_image_is_data(op):
    arrays, cotangent = Case(n=5, channels=2).arrays(op), Case(channels=2).cotangent()

    def energy(image, *kernels):
        return jnp.vdot(cotangent, OPS[op](image, *kernels))

    kernels = tuple(range(1, len(arrays)))
    some, every = (jax.jit(jax.grad(energy, argnums=wanted)) for wanted in (kernels, (0, *kernels)))
    flops = [gradient.lower(*arrays).compile().cost_analysis()["flops"] for gradient in (some, every)]
    assert flops[0] < 0.85 * flops[1]
    for actual, expected in zip(some(*arrays), every(*arrays)[1:], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@EVERY_OP
def test_an_output_that_nothing_uses_has_no_gradient(op):
    def kernel_alone(image, *kernels):
        OPS[op](image, *kernels)
        return jnp.sum(kernels[0])

    arrays = tuple(map(jnp.asarray, Case().arrays(op)))
    gradients = jax.grad(kernel_alone, argnums=tuple(range(len(arrays))))(*arrays)
    assert [float(jnp.max(jnp.abs(g))) for g in gradients] == [0, 1, 0][: len(arrays)]


# ------------------------------------------------------------------------------------------- dtypes


@EVERY_OP
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.usefixtures("strict")
def test_half_precision_is_float32_inside(op, dtype):
    case = Case(n=9, height=4, width=5, padded=False)
    arrays = tuple(jnp.asarray(array, dtype) for array in case.arrays(op))
    cotangent = jnp.asarray(case.cotangent(), dtype)
    results = value_and_gradients(op, arrays, cotangent)
    assert {result.dtype for result in results} == {jnp.dtype(dtype)}
    wide = [array.astype(jnp.float32) for array in (*arrays, cotangent)]
    exact = value_and_gradients(op, tuple(wide[:-1]), wide[-1])
    for actual, expected in zip(results, exact, strict=True):
        # One rounding of the result; a half precision sum over the taps would be off by more.
        step = float(jnp.finfo(dtype).eps)
        atol = 1e-6 * float(np.abs(expected).max())
        np.testing.assert_allclose(np.asarray(actual, np.float32), expected, rtol=step, atol=atol)


@BOTH
@EVERY_OP
@pytest.mark.usefixtures("strict")
def test_every_result_has_the_dtype_of_its_array(op, implementation):
    arrays = Case().arrays(op)
    dtypes = ("bfloat16", "float32", "float16")[: len(arrays)]
    mixed = [jnp.asarray(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
    out, vjp = jax.vjp(partial(OPS[op], implementation=implementation), *mixed)
    assert out.dtype == jnp.bfloat16
    assert [str(gradient.dtype) for gradient in vjp(out)] == list(dtypes)


# --------------------------------------------------------------------------------------- under jax


@EVERY_OP
def test_vmap_over_a_new_axis_equals_one_call_each(op):
    case = Case(padded=False)
    calls = [tuple(array * (1 + i) for array in case.arrays(op)) for i in range(2)]
    run = partial(value_and_gradients, op, cotangent=case.cotangent())
    together = jax.vmap(run)(tuple(np.stack(arrays) for arrays in zip(*calls, strict=True)))
    for i, arrays in enumerate(calls):
        for actual, expected in zip(together, run(arrays), strict=True):
            close(actual[i], expected, terms=9, gradient=True)


@EVERY_OP
def test_jit_equals_the_plain_call(op):
    arrays = Case(n=5, padded=False).arrays(op)
    close(jax.jit(OPS[op])(*arrays), OPS[op](*arrays), terms=25)


@EVERY_OP
def test_auto_is_xla_to_the_last_bit(op):
    arrays = Case(n=5).arrays(op)
    found, expected = (OPS[op](*arrays, implementation=name) for name in ("auto", "xla"))
    np.testing.assert_array_equal(found, expected)


# ------------------------------------------------------------------------------------------ memory


def temporary_bytes(function, *arrays):
    return jax.jit(function).lower(*arrays).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(("op", "n"), [("sepconv", 51), ("adaptive_conv", 21)])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_memory_is_a_few_images_whatever_the_kernel_size(op, n, direction):
    case = Case(n=n, height=96, width=100)
    arrays, cotangent = case.arrays(op), case.cotangent()

    def run(*arrays):
        return OPS[op](*arrays) if direction == "forward" else jax.vjp(OPS[op], *arrays)[1](cotangent)

    assert temporary_bytes(run, *arrays) < 10 * arrays[0].nbytes


# ------------------------------------------------------------------------------------------ errors


def changed(op, **changes):
    names = ("image", "vertical", "horizontal") if op == "sepconv" else ("image", "kernel")
    arrays = dict(zip(names, Case(n=3).arrays(op), strict=True))
    return tuple(changes.get(name, lambda x: x)(array) for name, array in arrays.items())


def both(change):
    return {"vertical": change, "horizontal": change}


SEPCONV_ERRORS = {
    "image of rank 3": (
        {"image": lambda x: x[0]},
        ValueError,
        "sepconv: image has shape (8, 9, 3); four axes",
    ),
    "kernels of rank 3": (both(lambda x: x[0]), ValueError, "vertical has shape (3, 6, 7); four axes"),
    "integer image": ({"image": lambda x: x.astype(np.uint8)}, TypeError, "image is uint8; a floating"),
    "integer kernels": (both(lambda x: x.astype(int)), TypeError, "vertical is int32; a floating"),
    "kernels that differ": (
        {"horizontal": lambda x: x[:, :1]},
        ValueError,
        "(1, 1, 6, 7)); they must be equal",
    ),
    "no taps": (both(lambda x: x[:, :0]), ValueError, "shape (1, 0, 6, 7); at least one tap"),
    "image of another size": (
        {"image": lambda x: x[:, 1:]},
        ValueError,
        "image is (1, 7, 9, 3) but kernels of n=3 over 1x6x7 need [1, 6, 7, C], or padded [1, 8, 9, C]",
    ),
    "image of another batch": ({"image": lambda x: np.repeat(x, 2, 0)}, ValueError, "image is (2, 8, 9, 3)"),
    "an even kernel without padding": (
        {"image": lambda x: x[:, 1:-1, 1:-1], **both(lambda x: x[:, :2])},
        ValueError,
        "n=2 is even, so that no tap is the centre; pad the image to [1, 7, 8, C]",
    ),
}
ADAPTIVE_ERRORS = {
    "kernel of rank 3": ({"kernel": lambda x: x[0]}, ValueError, "kernel has shape (9, 6, 7); four axes"),
    "integer kernels": ({"kernel": lambda x: x.astype(int)}, TypeError, "kernel is int32; a floating"),
    "taps that are no square": ({"kernel": lambda x: x[:, :8]}, ValueError, "8 taps are no square"),
    "no taps": (
        {"kernel": lambda x: x[:, :0]},
        ValueError,
        "adaptive_conv: the kernels have shape (1, 0, 6, 7)",
    ),
    "image of another size": (
        {"kernel": lambda x: x[..., 1:]},
        ValueError,
        "need [1, 6, 6, C], or padded [1, 8, 8",
    ),
}
ERRORS = [("sepconv", *e) for e in SEPCONV_ERRORS.items()] + [
    ("adaptive_conv", *e) for e in ADAPTIVE_ERRORS.items()
]


@pytest.mark.parametrize(
    ("op", "error"), [(op, error) for op, _, error in ERRORS], ids=[f"{op}: {name}" for op, name, _ in ERRORS]
)
def test_bad_input_is_named(op, error):
    changes, kind, message = error
    with pytest.raises(kind, match=re.escape(message)):
        OPS[op](*changed(op, **changes))


@EVERY_OP
@pytest.mark.parametrize(
    ("implementation", "message"),
    [
        ("pallas", "has no Pallas kernel yet; use implementation='auto' or 'xla'"),
        ("referense", "did you mean 'reference'?"),
    ],
)
def test_an_implementation_that_does_not_exist_is_refused(op, implementation, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        OPS[op](*Case().arrays(op), implementation=implementation)


@EVERY_OP
def test_the_implementation_is_given_by_name_alone(op):
    with pytest.raises(TypeError, match="positional"):
        OPS[op](*Case().arrays(op), "xla")
