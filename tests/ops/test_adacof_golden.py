"""The op gives the stored numbers of the published kernel: values, all gradients, edge cases."""

from functools import cache, partial
from pathlib import Path

import jax
import numpy as np
import pytest

from vfijax.ops import adacof

PATH = Path(__file__).parents[1] / "golden" / "adacof_op.npz"
LIMIT = 1e-5  # of the largest value of an array

BOTH = pytest.mark.parametrize("implementation", ["reference", "xla"])
ROUNDINGS = pytest.mark.parametrize("rounding", ["floor", "trunc"])


@cache
def golden():
    """The stored arrays; fields in our layout as they are, images still [B, C, H, W]."""
    with np.load(PATH) as stored:
        return dict(stored)


def channels_last(image):
    return image.transpose(0, 2, 3, 1)


def fields(group):
    return [golden()[f"{group}/{name}"] for name in ("weight", "alpha", "beta")]


def assert_near(actual, expected):
    assert np.abs(actual - expected).max() <= LIMIT * np.abs(expected).max()


@pytest.mark.slow
@BOTH
@ROUNDINGS
@pytest.mark.parametrize(("group", "case", "dilation"), [("f5_d1", "c8", 1), ("f11_d2", "c3", 2)])
def test_values_and_gradients_are_the_published_ones(group, case, dilation, rounding, implementation):
    stored, here = golden(), f"{group}/{case}"
    op = partial(adacof, dilation=dilation, rounding=rounding, implementation=implementation)
    image, cotangent = (channels_last(stored[f"{here}/{name}"]) for name in ("input", "cotangent"))
    out, vjp = jax.vjp(op, image, *fields(group))
    d_image, *d_fields = vjp(cotangent)
    assert_near(out, channels_last(stored[f"{here}/{rounding}/out"]))
    assert_near(d_image, channels_last(stored[f"{here}/{rounding}/grad_input"]))
    for actual, name in zip(d_fields, ("weight", "alpha", "beta"), strict=True):
        assert_near(actual, stored[f"{here}/{rounding}/grad_{name}"])


@BOTH
@ROUNDINGS
def test_integer_and_far_offsets_give_the_published_values(rounding, implementation):
    image = channels_last(golden()["edge/input"])
    out = adacof(image, *fields("edge"), rounding=rounding, implementation=implementation)
    assert_near(out, channels_last(golden()[f"edge/{rounding}/out"]))
