"""Filtering every pixel with a kernel of its own is its equation; `test_every_op.py` has the rest."""

import math
from functools import cache, partial
from itertools import product
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.ops.cases import (
    BOTH,
    SEPCONV,
    every,
    every_refusal,
    first,
    integers,
    kernel_case,
    refusal,
    temporary_bytes,
    twice,
    value_and_gradients,
)
from tests.tolerance import close
from vfijax.ops import adaptive_conv, sepconv

GOLDEN = Path(__file__).parents[1] / "golden" / "ops_sepconv.npz"

EVERY_OP = pytest.mark.parametrize("op", [sepconv, adaptive_conv])


def plain_python(op, image, *kernels):
    """The equations, one number at a time, of a padded image."""
    batch, taps, height, width = kernels[0].shape
    n = taps if op is sepconv else math.isqrt(taps)
    out = np.zeros((batch, height, width, image.shape[-1]))
    for b, y, x, k, l in product(*map(range, (batch, height, width, n, n))):
        if op is sepconv:
            weight = kernels[0][b, k, y, x] * kernels[1][b, l, y, x]
        else:
            weight = kernels[0][b, k * n + l, y, x]
        out[b, y, x] += weight * image[b, y + k, x + l]
    return out


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

    op = sepconv if case.startswith("sepconv") else adaptive_conv
    arrays = tuple(map(stored, ("inp", *KERNELS[case])))
    names = ("out", "grad_inp", *(f"grad_{name}" for name in KERNELS[case]))
    results = value_and_gradients(op, arrays, stored("cotangent"), implementation=implementation)
    for name, actual in zip(names, results, strict=True):
        expected = stored(name)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9 * np.abs(expected).max(), err_msg=name)


# ------------------------------------------------------------------------------------------ values


@every(SEPCONV)
def test_reference_is_plain_python(case, float64):
    image, *kernels = case.arrays(np.float64)
    run = partial(value_and_gradients, case.op, cotangent=case.cotangent(np.float64))
    actual, *_ = run((image, *kernels), implementation="reference")
    if case.edges:
        image = np.pad(image, [(0, 0), case.edges, case.edges, (0, 0)], "edge")
    np.testing.assert_allclose(actual, plain_python(case.op, image, *kernels), rtol=1e-11, atol=1e-12)


@EVERY_OP
def test_float32_stays_near_float64_at_the_published_size(op):
    n = 51 if op is sepconv else 41
    case = kernel_case(op, "", 4, 50, n=n)
    image, *kernels = case.arrays()
    arrays, cotangent = (image, *(kernel / n for kernel in kernels)), case.cotangent()
    single = value_and_gradients(op, arrays, cotangent)
    with jax.enable_x64(True):
        double = value_and_gradients(op, *jax.tree.map(np.float64, (arrays, cotangent)))
    for actual, expected in zip(single, double, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@BOTH
def test_all_weight_on_the_middle_taps_copies_the_image(implementation):
    image, *_ = kernel_case(sepconv, n=5, padded=False).arrays()
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
    image, vertical, horizontal = kernel_case(sepconv, n=5, batch=2, padded=False).arrays()
    full = np.einsum("bkyx,blyx->bklyx", vertical, horizontal).reshape(2, 25, 6, 7)
    close(sepconv(image, vertical, horizontal), adaptive_conv(image, full), terms=25)


# ------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize(("op", "n"), [(sepconv, 51), (adaptive_conv, 21)])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_memory_is_a_few_images_whatever_the_kernel_size(op, n, direction):
    case = kernel_case(op, "", 96, 100, n=n)
    arrays, cotangent = case.arrays(), case.cotangent()

    def run(*arrays):
        return op(*arrays) if direction == "forward" else jax.vjp(op, *arrays)[1](cotangent)

    assert temporary_bytes(run, *arrays) < 10 * arrays[0].nbytes


# ------------------------------------------------------------------------------------------ errors


def both(change):
    return {"vertical": change, "horizontal": change}


SEPCONV_ERRORS = {
    "image of rank 3": refusal("sepconv: image has shape (8, 9, 3); four axes", image=first),
    "kernels of rank 3": refusal("vertical has shape (3, 6, 7); four axes", **both(first)),
    "integer image": refusal(
        "image is uint8; a floating", TypeError, image=lambda image: image.astype(np.uint8)
    ),
    "integer kernels": refusal("vertical is int32; a floating", TypeError, **both(integers)),
    "kernels that differ": refusal(
        "(1, 1, 6, 7)); they must be equal", horizontal=lambda kernel: kernel[:, :1]
    ),
    "no taps": refusal(
        "shape (1, 0, 6, 7); every axis needs at least 1", **both(lambda kernel: kernel[:, :0])
    ),
    "image of another size": refusal(
        "image is (1, 7, 9, 3) but kernels of n=3 over 1x6x7 need [1, 6, 7, C], or padded [1, 8, 9, C]",
        image=lambda image: image[:, 1:],
    ),
    "image of another batch": refusal("image is (2, 8, 9, 3)", image=twice),
    "an even kernel without padding": refusal(
        "n=2 is even, so that no tap is the centre; pad the image to [1, 7, 8, C]",
        image=lambda image: image[:, 1:-1, 1:-1],
        **both(lambda kernel: kernel[:, :2]),
    ),
}
ADAPTIVE_ERRORS = {
    "kernel of rank 3": refusal("kernel has shape (9, 6, 7); four axes", kernel=first),
    "integer kernels": refusal("kernel is int32; a floating", TypeError, kernel=integers),
    "taps that are no square": refusal("8 taps are no square", kernel=lambda kernel: kernel[:, :8]),
    "no taps": refusal(
        "adaptive_conv: kernel has shape (1, 0, 6, 7); every axis", kernel=lambda kernel: kernel[:, :0]
    ),
    "image of another size": refusal(
        "need [1, 6, 6, C], or padded [1, 8, 8", kernel=lambda kernel: kernel[..., 1:]
    ),
}


@every_refusal(SEPCONV_ERRORS)
def test_bad_input_of_sepconv_is_named(refuses):
    refuses(kernel_case(sepconv))


@every_refusal(ADAPTIVE_ERRORS)
def test_bad_input_of_adaptive_conv_is_named(refuses):
    refuses(kernel_case(adaptive_conv))
