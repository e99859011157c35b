"""The deformable convolution is its equation: values, edges, memory; `test_every_op.py` has the rest."""

from functools import partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.ops.cases import (
    BOTH,
    DEFORM_CONV,
    deform_case,
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
from vfijax.ops import deform_conv

GOLDEN = Path(__file__).parents[1] / "golden" / "ops_deform_conv.npz"


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


@every(DEFORM_CONV)
@BOTH
def test_the_op_is_plain_python(case, implementation):
    arrays, options = case.arrays(), {**case.options, "implementation": implementation}
    actual, *_ = value_and_gradients(deform_conv, arrays, case.cotangent(), **options)
    close(actual, plain_python(*arrays, **case.options), terms=case.terms)


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

    cotangent = stored["cotangent"].transpose(0, 2, 3, 1)
    options = {**GEOMETRIES[name], "implementation": implementation}
    out, *gradients = value_and_gradients(deform_conv, arrays(), cotangent, **options)
    expected = (stored["out"].transpose(0, 2, 3, 1), *arrays("grad_"))
    for actual, wanted in zip((out + stored["bias"], *gradients), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-9)


@BOTH
@every(DEFORM_CONV)
def test_without_offsets_and_masks_it_is_an_ordinary_convolution(case, implementation):
    image, offset_y, offset_x, mask, kernel = case.arrays()
    arrays = (image, 0 * offset_y, 0 * offset_x, np.ones_like(mask), kernel)
    options = {**case.options, "implementation": implementation}
    actual, *_ = value_and_gradients(deform_conv, arrays, case.cotangent(), **options)
    expected = lax.conv_general_dilated(
        image,
        kernel,
        (case.options["stride"],) * 2,
        ((case.options["padding"],) * 2,) * 2,
        rhs_dilation=(case.options["dilation"],) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    close(actual, expected, terms=case.terms)


# How far the taps over 5 x 7 pixels must stray until none has a neighbour inside.
STRAYED = [("above", -6.5, 0), ("below", 6.0, 0), ("left", 0, -8.5), ("right", 0, 8.0)]
STRAYED += [("as far as numbers go", 3e38, -3e38), ("beyond integers", -1e10, 1e10)]


@BOTH
@pytest.mark.parametrize(("dy", "dx"), [s[1:] for s in STRAYED], ids=[s[0] for s in STRAYED])
def test_positions_outside_give_zero_and_no_gradient(dy, dx, implementation):
    case = deform_case()
    image, offset_y, offset_x, mask, kernel = case.arrays()
    arrays = (image, np.full_like(offset_y, dy), np.full_like(offset_x, dx), mask, kernel)
    options = {**case.options, "implementation": implementation}
    results = value_and_gradients(deform_conv, arrays, case.cotangent(), **options)
    for name, result in zip(case.results, results, strict=True):
        assert not np.any(result), name


@BOTH
def test_each_neighbour_outside_counts_as_zero_by_itself(implementation):
    op = jax.jit(partial(deform_conv, stride=2, padding=0, implementation=implementation))

    def sample(dy, dx):
        field = jnp.ones((1, 1, 1, 1))
        image = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
        return float(op(image, field * dy, field * dx, field, jnp.ones((1, 1, 1, 1)))[0, 0, 0, 0])

    expected = {(-0.25, 0): 0.75, (-1, 0): 0, (1.5, 0): 1.5, (2, 0): 0, (0, -0.5): 0.5, (0, 1.75): 0.5}
    expected |= {(-0.5, -0.5): 0.25, (1.5, 1.5): 1, (0.5, 0.5): 2.5, (1, 1): 4}
    assert {at: sample(*at) for at in expected} == expected


# ------------------------------------------------------------------------------------------ memory


def test_the_samples_of_one_band_of_rows_are_held_at_a_time():
    def used(height):
        case = deform_case("", height, 64, 64, features=64, groups=1, size=5, padding=2)
        return temporary_bytes(partial(deform_conv, **case.options, implementation="xla"), *case.arrays())

    all_samples = 5 * 5 * 64 * 4  # bytes for every pixel of the result
    growth = (used(192) - used(96)) / (96 * 64)
    assert growth < all_samples / 4


# ------------------------------------------------------------------------------------------ errors


def fields(change):
    return dict.fromkeys(("offset_y", "offset_x", "mask"), change)


ERRORS = {
    "image of rank 3": refusal("image has shape (5, 7, 4); four", image=first),
    "field of rank 3": refusal("mask has shape (18, 5, 7); four", mask=first),
    "kernel of rank 0": refusal("kernel has shape (); four", kernel=lambda kernel: kernel[0, 0, 0, 0]),
    "integer image": refusal(
        "image is uint8; a floating", TypeError, image=lambda image: image.astype(np.uint8)
    ),
    "integer offsets": refusal("offset_x is int32", TypeError, offset_x=integers),
    "fields that differ": refusal("must be equal", offset_y=lambda field: field[:, :9]),
    "kernel for other channels": refusal(
        "kernel is (3, 3, 3, 3); an image of 4 channels needs [K, K, 4, O]",
        kernel=lambda kernel: kernel[:, :, :3],
    ),
    "kernel that is no square": refusal("kernel is (2, 3, 4, 3)", kernel=lambda kernel: kernel[:2]),
    "taps that do not fit": refusal("17 taps are not G*K*K with K=3", **fields(lambda field: field[:, :17])),
    "no taps": refusal(
        "offset_y has shape (1, 0, 5, 7); every axis needs at least 1", **fields(lambda field: field[:, :0])
    ),
    "groups that do not divide the channels": refusal(
        "G that divides 4 channels", **fields(lambda field: np.concatenate([field, field[:, :9]], 1))
    ),
    "image of another size": refusal("needs (1, 18, 4, 7)", image=lambda image: image[:, 1:]),
    "image of another batch": refusal("(2, 18, 5, 7)", image=twice),
    "fields of another stride": refusal("stride=2, padding=1, dilation=1 needs", options={"stride": 2}),
    "half a stride": refusal("stride is 0.5; a whole number is needed", TypeError, options={"stride": 0.5}),
    "stride 0": refusal("stride is 0; at least 1 is needed", options={"stride": 0}),
    "negative padding": refusal("padding is -1; at least 0 is needed", options={"padding": -1}),
    "dilation 0": refusal("dilation is 0; at least 1 is needed", options={"dilation": 0}),
    "kernel larger than the image": refusal("no room", options={"dilation": 9}),
}


@every_refusal(ERRORS)
def test_bad_input_is_named(refuses):
    refuses(deform_case())
