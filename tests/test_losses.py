import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vfijax.losses import LOSSES, LossWeights, charbonnier, weighted
from vfijax.models import create, forward

GOLDEN = Path(__file__).parent / "golden"


class Taps(NamedTuple):
    weight: np.ndarray
    offset_y: np.ndarray
    offset_x: np.ndarray


@pytest.fixture(scope="module")
def golden():
    """Prediction, target, aux of the stored case, and its float64 values by name."""
    arrays = np.load(GOLDEN / "losses.npz")
    values = json.loads((GOLDEN / "losses.json").read_text())["values"]
    prediction, target = (arrays[name].transpose(1, 2, 0)[None] for name in ("pred", "target"))
    offsets = tuple(Taps(*(arrays[name + n] for name in ("Weight", "Alpha", "Beta"))) for n in "12")
    aux = {"offsets": offsets, "masks": {"occlusion": arrays["Occlusion"].transpose(0, 2, 3, 1)}}
    return prediction, target, aux, values


@pytest.mark.parametrize(
    ("weights", "stored"),
    [
        (LossWeights(), "charbonnier"),
        (LossWeights(charbonnier=0, smoothness=1), "g_spatial"),
        (LossWeights(charbonnier=0, occlusion_smoothness=1), "g_occlusion"),
        (LossWeights(smoothness=0.01), "total_charb_spatial"),
        (LossWeights(smoothness=0.01, occlusion_smoothness=0.005), "total_upstream"),
    ],
)
def test_loss_equals_the_published_value(golden, weights, stored):
    prediction, target, aux, values = golden
    total, _ = weighted(weights, prediction, target, aux)
    np.testing.assert_allclose(total, values[stored], rtol=1e-5)


def test_every_term_has_a_weight_and_every_weight_a_term():
    assert [field.name for field in dataclasses.fields(LossWeights)] == list(LOSSES)


def test_total_is_the_weighted_sum_of_the_terms_that_are_on(golden):
    prediction, target, aux, _ = golden
    weights = LossWeights(charbonnier=2.0, l1=0.5, l2=3.0)
    total, terms = weighted(weights, prediction, target, aux)
    assert set(terms) == {"charbonnier", "l1", "l2"}
    difference = prediction - target
    np.testing.assert_allclose(terms["l1"], np.abs(difference).mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["l2"], np.square(difference).mean(), rtol=1e-5)
    expected = 2 * terms["charbonnier"] + 0.5 * terms["l1"] + 3 * terms["l2"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_charbonnier_has_a_finite_gradient_for_equal_frames():
    frame = jnp.full((1, 4, 4, 3), 0.5)
    np.testing.assert_array_equal(jax.grad(charbonnier)(frame, frame), 0)


def test_smoothness_of_constant_fields_is_that_of_no_difference():
    taps = Taps(*(np.full((1, 9, 6, 7), value, np.float32) for value in (1 / 9, 3.0, -2.0)))
    aux = {"offsets": (taps, taps), "masks": {}}
    np.testing.assert_allclose(LOSSES["smoothness"](None, None, aux), 8 * 0.001, rtol=1e-5)


@pytest.mark.parametrize("term", ["smoothness", "occlusion_smoothness"])
def test_a_term_on_what_the_network_lacks_is_one_clear_error(term):
    frame = jnp.zeros((1, 8, 8, 3))
    _, aux = forward(create("blend", 0), frame, frame)
    with pytest.raises(ValueError, match=f"{term}.*set its weight to 0"):
        weighted(LossWeights(**{term: 0.01}), frame, frame, aux)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(LossWeights(charbonnier=0), "all loss weights are 0"), (LossWeights(l1=-1), "must not be negative")],
)
def test_weights_that_make_no_loss_are_refused(weights, message):
    frame = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(ValueError, match=message):
        weighted(weights, frame, frame, {"offsets": (), "masks": {}})
