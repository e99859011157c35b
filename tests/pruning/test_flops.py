"""Multiply-adds are counted right: by hand, with loops, and against the published figures."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from pallas_kernels import adacof as kernel
from vfijax.layers import convolve
from vfijax.models import MODELS, narrow, shapes
from vfijax.ops import adacof
from vfijax.params import ModelParams
from vfijax.prune.flops import (
    counts,
    leaf_multiply_adds,
    model_counts,
    model_multiply_adds,
    multiply_adds,
    xla_flops,
)


def of(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def model(name):
    config = MODELS[name]
    return ModelParams(shapes(config), config)


def conv(x, kernel, **options):
    strides = options.pop("strides", (1, 1))
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=numbers, **options)


def times(n):
    """A loop of n rounds, each of which multiplies its array with a matrix."""
    return lambda x, m: lax.fori_loop(0, n, lambda i, x: x @ m, x)


@jax.custom_vjp
def squared(x):
    return x * x


squared.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))

IMAGE, SQUARE = of(2, 8, 8, 6), of(5, 5)

# name: function, arguments, multiply-adds
BY_HAND = {
    "convolution": (conv, (IMAGE, of(3, 3, 6, 7)), 2 * 8 * 8 * 7 * 9 * 6),
    "our convolution": (lambda x, k: convolve(x, k, 1), (IMAGE, of(3, 3, 6, 7)), 2 * 8 * 8 * 7 * 9 * 6),
    "with stride": (
        lambda x, k: conv(x, k, strides=(2, 2)),
        (IMAGE, of(3, 3, 6, 7)),
        2 * 4 * 4 * 7 * 9 * 6,
    ),
    "grouped": (
        lambda x, k: conv(x, k, feature_group_count=3),
        (IMAGE, of(3, 3, 2, 9)),
        2 * 8 * 8 * 9 * 9 * 2,
    ),
    "depthwise": (lambda x, k: conv(x, k, feature_group_count=6), (IMAGE, of(5, 5, 1, 6)), 2 * 64 * 6 * 25),
    "transposed, from 8x8 to 16x16": (
        lambda x, k: lax.conv_transpose(x, k, (2, 2), "SAME"),
        (IMAGE, of(4, 4, 6, 7)),
        2 * 8 * 8 * 7 * 16 * 6,
    ),
    "matrix product": (jnp.matmul, (of(3, 5), of(5, 7)), 3 * 5 * 7),
    "product with two batch axes": (jnp.matmul, (of(2, 4, 3, 5), of(2, 4, 5, 7)), 2 * 4 * 3 * 5 * 7),
    "scalar product": (jnp.vdot, (of(3, 5), of(3, 5)), 15),
    "elementwise": (lambda x: 2 * x * x + x, (of(4, 6),), 48),
    "additions": (lambda x: jnp.sum(x + x), (of(4, 6),), 0),
    "products of integers": (lambda x: x * x, (of(4, 6, dtype=jnp.int32),), 0),
    "loop": (times(11), (SQUARE, SQUARE), 11 * 125),
    "loop within a loop": (
        lambda x, m: lax.fori_loop(0, 3, lambda i, x: times(4)(x, m), x),
        (SQUARE,) * 2,
        1500,
    ),
    "scan": (lambda x, ms: lax.scan(lambda x, m: (x @ m, None), x, ms)[0], (SQUARE, of(9, 5, 5)), 9 * 125),
    "mapped": (lambda xs: lax.map(lambda x: x @ x, xs), (of(6, 5, 5),), 6 * 125),
    "the dearer branch": (
        lambda x: lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x),
        (SQUARE,),
        250,
    ),
    "the default platform": (
        lambda x: lax.platform_dependent(x, cuda=lambda x: x @ x @ x, default=lambda x: x @ x),
        (SQUARE,),
        125,
    ),
    "jit": (jax.jit(lambda x: x @ x), (SQUARE,), 125),
    "checkpoint": (jax.checkpoint(lambda x: x @ x), (SQUARE,), 125),
    "own gradient": (squared, (SQUARE,), 25),
    "own tangent": (jax.nn.relu, (SQUARE,), 0),
    "gradient of a matrix product": (
        jax.grad(lambda x, m: jnp.sum(x @ m), argnums=(0, 1)),
        (SQUARE,) * 2,
        375,
    ),
    "a loop without products, of unknown length": (
        lambda n: lax.while_loop(lambda x: x < n, lambda x: x + 1, 0.0),
        (of(),),
        0,
    ),
    "a scatter": (lambda x: x.at[0].add(x[1]), (SQUARE,), 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_count_is_that_of_the_pen(name):
    function, args, expected = BY_HAND[name]
    assert multiply_adds(function, *args) == expected


def test_kinds_are_told_apart():
    found = counts(lambda x, k, m: 3 * conv(x, k) @ m, of(1, 4, 4, 2), of(1, 1, 2, 5), of(5, 7))
    assert found == {"convolutions": 16 * 10, "products": 16 * 35, "elementwise": 16 * 5}


@pytest.mark.parametrize(("channels", "taps"), [(3, 25), (3, 121), (63, 9)])
def test_the_sampling_op_takes_8_and_4_per_channel_for_every_tap(channels, taps):
    image, field = of(2, 6, 7, channels), of(2, taps, 6, 7)
    for implementation in ("auto", "xla"):
        found = counts(partial(adacof, implementation=implementation), image, field, field, field)
        assert found == {
            "convolutions": 0,
            "products": 0,
            "elementwise": 2 * 6 * 7 * taps * (8 + 4 * channels),
        }


def test_a_loop_of_unknown_length_is_refused():
    def grow(x):
        return lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="within while run; use fori_loop or scan with a known length"):
        multiply_adds(grow, SQUARE)


def test_a_kernel_is_refused():
    field = of(1, 9, 16, 16)
    with pytest.raises(ValueError, match="within pallas_call run; use implementation='xla'"):
        multiply_adds(
            lambda *a: kernel.forward(*a, dilation=1, rounding="floor"), of(1, 16, 16, 3), *[field] * 3
        )


# --------------------------------------------------------------------------------------- networks

# Multiply-adds of one frame of 1280x720 in G: as the paper (CDFI, table 1) has them, and of the
# convolutions alone on the frame padded to 1280x736, from the published networks.
PUBLISHED = {"adacof": (359.2, 356.0), "compressed_adacof": (185.9, 183.5)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_take_what_the_paper_says(name):
    paper, convolutions = PUBLISHED[name]
    assert model_multiply_adds(model(name), 720, 1280) / 1e9 == pytest.approx(paper, rel=0.02)
    assert model_counts(model(name), 720, 1280)["convolutions"] / 1e9 == pytest.approx(convolutions, abs=0.05)


def test_frames_are_padded_as_when_the_network_runs():
    params = model("compressed_adacof")
    assert model_multiply_adds(params, 720, 1280) == model_multiply_adds(params, 736, 1280)
    assert model_multiply_adds(params, 737, 1280) > model_multiply_adds(params, 736, 1280)


def test_a_network_without_convolutions_takes_a_few():
    assert model_multiply_adds(model("blend"), 10, 20) <= 2 * 10 * 20 * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adacof", "cdfi", "sepconv", "adaconv", "edsc_m"])
def test_every_convolution_is_put_down_to_its_kernel(name):
    params = model(name)
    by_leaf = leaf_multiply_adds(params, 64, 96)
    assert len(by_leaf) == len(jax.tree.leaves(params.tree))
    counted = model_counts(params, 64, 96)["convolutions"]
    assert counted - len(by_leaf) <= sum(by_leaf.values()) <= counted  # shares are rounded down
    for path, amount in by_leaf.items():
        assert (amount > 0) == path.endswith("/kernel"), path


@pytest.mark.parametrize("name", ["adacof", "cdfi"])
def test_kernels_that_are_concatenated_and_small_pictures_count_as_they_should(name):
    params = model(name)
    by_leaf = leaf_multiply_adds(params, 64, 96)
    assert by_leaf["unet/occlusion_0/kernel"] == 32 * 48 * params.tree["unet"]["occlusion_0"]["kernel"].size
    assert by_leaf["unet/conv5_1/kernel"] == 4 * 6 * params.tree["unet"]["conv5_1"]["kernel"].size


def test_xlas_own_count_is_two_per_multiply_add_of_the_convolutions_and_zeros_beside_odd_channels():
    params = model("compressed_adacof")
    ratio = xla_flops(params, 256, 448) / 2 / model_counts(params, 256, 448)["convolutions"]
    assert 0.95 < ratio < 1.25


def test_frames_of_one_pixel_are_refused():
    config = narrow("adacof")
    with pytest.raises(ValueError, match="1x64 pixels are too small"):
        model_multiply_adds(ModelParams(shapes(config), config), 1, 64)
