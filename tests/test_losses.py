import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.state import digest, make_state, make_triplet
from vfijax.losses import LOSSES, LossWeights, charbonnier, load_networks, needs_flip, weighted
from vfijax.metrics import psnr, ssim_gaussian
from vfijax.models import create, forward
from vfijax.perceptual import load_vgg, vgg_features

GOLDEN = Path(__file__).parent / "golden"
NO_AUX = {"offsets": (), "masks": {}}
PERCEPTUAL = ("vgg", "vgg19")
OF_FRAMES = [name for name in LOSSES if "smoothness" not in name and name not in (*PERCEPTUAL, "motion")]
SUMMED = ("charbonnier_sum", "l1_sum", "l2_sum")


class Taps(NamedTuple):
    weight: np.ndarray
    offset_y: np.ndarray
    offset_x: np.ndarray


def only(**weights):
    """Weights of these terms, the default one off unless named."""
    return LossWeights(**{"charbonnier": 0.0, **weights})


def numbers(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def golden():
    """Prediction, target, aux of the stored case, and its float64 values by name."""
    arrays = np.load(GOLDEN / "losses.npz")
    prediction, target = (arrays[name].transpose(1, 2, 0)[None] for name in ("pred", "target"))
    offsets = tuple(Taps(*(arrays[name + n] for name in ("Weight", "Alpha", "Beta"))) for n in "12")
    aux = {"offsets": offsets, "masks": {"occlusion": arrays["Occlusion"].transpose(0, 2, 3, 1)}}
    return prediction, target, aux, numbers("losses")["values"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Seeded weights of both networks under torchvision's names."""
    folder = tmp_path_factory.mktemp("weights")
    vgg = numbers("losses")["vgg"]
    state = make_state(vgg["shapes"], numbers("losses")["seed"])
    assert digest(state) == vgg["state_sha256"]
    named = {name.replace("vgg16_conv_4_3", "features"): array for name, array in state.items()}
    np.savez(folder / "vgg16.npz", **named)
    np.savez(folder / "vgg19.npz", **make_state(numbers("losses_vfi")["shapes"], 11))
    return {"vgg16": folder / "vgg16.npz", "vgg19": folder / "vgg19.npz"}


@pytest.fixture(scope="module")
def networks(files):
    return load_networks(only(vgg=1, vgg19=1), **files)


@pytest.mark.parametrize(
    ("weights", "stored"),
    [
        (LossWeights(), "charbonnier"),
        (LossWeights(charbonnier=0, smoothness=1), "g_spatial"),
        (LossWeights(charbonnier=0, occlusion_smoothness=1), "g_occlusion"),
        (LossWeights(smoothness=0.01), "total_charb_spatial"),
        (LossWeights(smoothness=0.01, occlusion_smoothness=0.005), "total_upstream"),
        (only(vgg=1), "vgg_mse"),
        (LossWeights(smoothness=0.01, vgg=0.005), "total_cdfi"),
    ],
)
def test_loss_equals_the_published_value(golden, networks, weights, stored):
    prediction, target, aux, values = golden
    total, _ = weighted(weights, prediction, target, aux, networks)
    np.testing.assert_allclose(total, values[stored], rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "stored"),
    [
        (only(l1=1), "l1"),
        (only(l2=1), "l2"),
        (only(ssim=1), "ssim_loss"),
        (only(gradient=1), "gradient_two_directions"),
        (only(gradient=2), "gradient_four_directions"),
        (only(charbonnier_flip=1), "charbonnier_flip"),
        (only(charbonnier_flip=1, gradient=1), "dsepconv_total"),
        (only(charbonnier_sum=1), "zsm_charbonnier_sum"),
        (only(vgg19=1), "vgg_relu4_4_norm"),
        (only(l1=1, vgg19=1e-5), "combined_l1_plus_1e-5_vgg"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_loss_and_its_gradient_equal_the_published_ones_in_double_precision(
    float64, networks, weights, stored
):
    arrays = dict(np.load(GOLDEN / "losses_vfi.npz"))
    prediction, target, flipped = (
        jnp.asarray(arrays[name].transpose(0, 2, 3, 1)) for name in ("pred", "target", "pred_flip")
    )

    @jax.jit
    def total(frame, target, networks):
        return weighted(weights, frame, target, {"flipped": flipped}, networks)[0]

    value, gradient = jax.value_and_grad(total)(prediction, target, networks)
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, numbers("losses_vfi")["values"][stored], rtol=1e-9)
    expected = arrays[f"grad_{stored}"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_laplacian_equals_the_published_value():
    first, middle, _ = make_triplet(64, 96, 11)
    total = jax.jit(LOSSES["laplacian"])(first[None], middle[None], NO_AUX, {})
    stored = numbers("losses_vfi")["values"]["zsm_laplacian_64x96_first_vs_middle_float32"]
    np.testing.assert_allclose(total, stored, rtol=1e-6)


def test_psnr_and_ssim_as_validation_measures_equal_the_published_ones():
    arrays, stored = np.load(GOLDEN / "losses_vfi.npz"), numbers("losses_vfi")["values"]
    prediction, target = (arrays[name][0].transpose(1, 2, 0) for name in ("pred", "target"))
    score = psnr(prediction, target, peak=target.max())
    assert float(score) == pytest.approx(stored["psnr_target_max"], abs=1e-4)
    halves = psnr(
        np.stack([prediction, prediction / 2]), np.stack([target, target / 2]), peak=np.array([1, 0.5])
    )
    np.testing.assert_allclose(halves, float(score), rtol=1e-5)
    assert float(ssim_gaussian(prediction, target)) == pytest.approx(-stored["ssim_loss"], abs=1e-5)


def frames(*shape, seed=0):
    """Three random frames in [0, 1]."""
    generator = np.random.default_rng(seed)
    return tuple(jnp.asarray(generator.uniform(0, 1, shape)) for _ in range(3))


@pytest.mark.parametrize("name", OF_FRAMES)
def test_gradient_equals_finite_differences_in_double_precision(float64, name):
    prediction, target, flipped = frames(1, 33, 38, 3)
    (direction, *_) = frames(1, 33, 38, 3, seed=1)

    @jax.jit
    def along(distance):
        moved = prediction + distance * direction
        return weighted(only(**{name: 1}), moved, target, {"flipped": flipped})[0]

    step = 1e-7
    difference = (along(step) - along(-step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(along)(0.0), difference, rtol=1e-5)


@pytest.mark.parametrize("name", OF_FRAMES)
def test_equal_frames_have_the_least_loss_and_no_gradient(name, float64):
    frame, other, _ = frames(1, 32, 32, 3)

    @jax.jit
    def loss(prediction, target=frame):
        return weighted(only(**{name: 1}), prediction, target, {"flipped": prediction})[0]

    # As users get it: without lanes, one long sum is rounded 3,072 times.
    users = {"xla_backend_optimization_level": 3}
    value, gradient = jax.jit(jax.value_and_grad(loss), compiler_options=users)(frame, frame)
    epsilons = {
        "charbonnier": 1e-3,
        "charbonnier_sum": 1e-3 * frame.size,
        "charbonnier_flip": 2e-6,
        "ssim": -1,
        "log_mse": np.log(1e-5),
    }
    np.testing.assert_allclose(value, epsilons.get(name, 0), rtol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert loss(other) > value + 1e-3


@pytest.mark.parametrize("name", PERCEPTUAL)
def test_equal_frames_have_no_perceptual_loss_and_no_gradient(networks, name):
    frame, other, _ = frames(1, 16, 16, 3)
    value, gradient = jax.value_and_grad(LOSSES[name])(frame, frame, {}, networks)
    assert value == 0 and not np.any(gradient)
    assert LOSSES[name](other, frame, {}, networks) > 1e-3


@pytest.mark.parametrize("name", [name for name in OF_FRAMES if name not in SUMMED])
def test_the_loss_of_a_batch_is_the_mean_over_its_images(name):
    batch = frames(3, 32, 40, 3)

    @jax.jit
    def loss(prediction, target, flipped):
        return weighted(only(**{name: 1}), prediction, target, {"flipped": flipped})[0]

    alone = [loss(*(frame[i : i + 1] for frame in batch)) for i in range(3)]
    np.testing.assert_allclose(loss(*batch), np.mean(alone), rtol=1e-5)


@pytest.mark.parametrize("name", SUMMED)
def test_summed_losses_are_the_mean_times_the_number_of_elements(name):
    prediction, target, _ = frames(2, 5, 6, 3)
    mean = LOSSES[name.removesuffix("_sum")](prediction, target, {}, {})
    np.testing.assert_allclose(LOSSES[name](prediction, target, {}, {}), mean * target.size, rtol=1e-5)


def test_log_mse_follows_the_mean_psnr_of_the_images():
    prediction, target, _ = frames(3, 20, 24, 3)
    squares = np.square(np.asarray(prediction) - np.asarray(target)).mean((1, 2, 3))
    value = LOSSES["log_mse"](prediction, target, {}, {})
    np.testing.assert_allclose(value, np.log(squares + 1e-5).mean(), rtol=1e-5)
    np.testing.assert_allclose(-10 / np.log(10) * value, psnr(prediction, target).mean(), atol=1e-2)


def fields(known):
    """Three motions at the size of padded frames, and the truth, which is not known everywhere."""
    rng = np.random.default_rng(0)
    found = tuple(rng.normal(0, 20, (2, 2, 2, 16, 24)).astype(np.float32) for _ in range(3))
    truth = found[-1][..., :13, :21] + rng.normal(0, 5, (2, 2, 2, 13, 21)).astype(np.float32)
    if known == "not at all":
        truth[:] = np.nan
    elif known == "in part":
        truth[0] = np.nan  # an image
        truth[1, 0, :, :5] = np.nan
        truth[1, 1, 0, :, :4] = np.nan  # one of two coordinates
    return found, truth


@pytest.mark.parametrize("known", ["everywhere", "in part"])
def test_the_motion_loss_is_its_formula_over_what_is_known(known):
    found, truth = fields(known)
    expected = 0
    for found_field, share in zip(found, (0.64, 0.8, 1), strict=True):
        square = np.square(found_field[..., :13, :21] - truth, dtype=np.float64).sum(2)
        error = 16 * np.log(1 + (np.sqrt(square + 0.01) - 0.1) / 16)
        expected += share * np.nanmean(error)
    value = LOSSES["motion"](None, None, {"motion": found, "truth": truth}, {})
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("known", ["everywhere", "in part", "not at all"])
def test_the_motion_loss_has_a_finite_gradient_where_the_truth_is_known_and_none_elsewhere(known):
    found, truth = fields(known)
    value, gradient = jax.value_and_grad(
        lambda found: LOSSES["motion"](None, None, {"motion": found, "truth": jnp.asarray(truth)}, {})
    )(found)
    assert (value == 0) == (known == "not at all")
    learned = np.isfinite(truth).all(2, keepdims=True) & np.ones_like(truth, bool)
    for field in gradient:
        np.testing.assert_array_equal(np.asarray(field[..., :13, :21]) != 0, learned)
        assert np.isfinite(field).all() and not field[..., 13:, :].any() and not field[..., 21:].any()


@pytest.mark.parametrize("missing", ["motion", "truth"])
def test_the_motion_loss_without_motion_or_truth_is_one_clear_error(missing):
    found, truth = fields("everywhere")
    aux = {"motion": found, "truth": truth}
    del aux[missing]
    with pytest.raises(ValueError, match="needs a network that finds motion, and data that know it"):
        weighted(only(motion=1), *frames(1, 9, 8, 3)[:2], aux)


def test_charbonnier_flip_treats_both_predictions_alike():
    prediction, target, flipped = frames(1, 9, 8, 3)
    there = LOSSES["charbonnier_flip"](prediction, target, {"flipped": flipped}, {})
    back = LOSSES["charbonnier_flip"](flipped, target, {"flipped": prediction}, {})
    np.testing.assert_allclose(there, back, rtol=1e-6)


def test_a_second_pass_is_needed_by_charbonnier_flip_alone():
    assert [name for name in LOSSES if needs_flip(only(**{name: 1}))] == ["charbonnier_flip"]


def test_charbonnier_flip_without_the_second_prediction_is_one_clear_error():
    prediction, target, _ = frames(1, 9, 8, 3)
    with pytest.raises(ValueError, match="'charbonnier_flip' needs aux\\['flipped'\\]"):
        weighted(only(charbonnier_flip=1), prediction, target, NO_AUX)


def test_gradient_loss_ignores_brightness_and_sees_blur():
    sharp = jnp.asarray(np.indices((8, 8)).sum(0) % 2.0)[None, ..., None]
    assert float(LOSSES["gradient"](sharp + 0.3, sharp, {}, {})) == pytest.approx(0, abs=1e-6)
    assert float(LOSSES["gradient"](jnp.full_like(sharp, 0.5), sharp, {}, {})) == pytest.approx(2)


def test_frames_too_small_for_the_laplacian_pyramid_are_refused():
    prediction, target, _ = frames(1, 40, 31, 3)
    with pytest.raises(ValueError, match="'laplacian' needs frames of 32x32 or more, got 40x31"):
        weighted(only(laplacian=1), prediction, target, NO_AUX)


def test_vgg_features_equal_the_stored_ones(networks, files):
    arrays = np.load(GOLDEN / "losses_vfi.npz")
    found = vgg_features(networks["vgg19"], arrays["pred"].transpose(0, 2, 3, 1).astype(np.float32), 19)
    stored = arrays["vgg_features_pred"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[..., :8], stored, atol=1e-5)
    prediction = np.load(GOLDEN / "losses.npz")["pred"].transpose(1, 2, 0)[None]
    found = np.asarray(vgg_features(load_vgg(files["vgg16"]), prediction))
    stored = numbers("losses")["vgg"]
    assert [found.shape[i] for i in (0, 3, 1, 2)] == stored["features_shape"]
    assert np.mean(found < 0) == pytest.approx(stored["fraction_negative"], abs=0.1)


def test_networks_are_arguments_of_the_compiled_loss_and_get_no_gradient(networks):
    prediction, target, _ = frames(1, 8, 8, 3)

    @jax.jit
    def loss(network, prediction, target):
        return weighted(only(vgg=1), prediction, target, NO_AUX, {"vgg": network})[0]

    network = networks["vgg"]
    weaker = jax.tree.map(lambda array: array / 2, network)
    assert loss(weaker, prediction, target) < loss(network, prediction, target)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.grad(loss)(network, prediction, target)))


@pytest.mark.parametrize(("term", "network"), [("vgg", "vgg16"), ("vgg19", "vgg19")])
def test_a_perceptual_term_without_its_network_says_how_to_get_it(files, term, network):
    message = rf"--perceptual\.{network} FILE .*{network}-.*\.pth.*--losses\.{term} 0"
    frame = jnp.zeros((1, 16, 16, 3))
    with pytest.raises(ValueError, match=message):
        weighted(only(**{term: 0.005}), frame, frame, NO_AUX)
    with pytest.raises(ValueError, match=message):
        load_networks(only(**{term: 0.005}), **{**files, network: ""})


def test_files_of_terms_without_weight_are_not_read():
    assert load_networks(LossWeights(), vgg16="nowhere.pth", vgg19=None) == {}


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
    np.testing.assert_allclose(LOSSES["smoothness"](None, None, aux, {}), 8 * 0.001, rtol=1e-5)


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
