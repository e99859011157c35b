"""Image measures against stored numbers, scikit-image, and their own properties."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vfijax.levels import to_float, to_uint8
from vfijax.metrics import mean_absolute_error, psnr, rmse, ssim, ssim_map

GOLDEN = Path(__file__).parent / "golden"
MEASURES = {"psnr": psnr, "ssim": ssim, "rmse": rmse, "mean_absolute_error": mean_absolute_error}
PHOTOGRAPHS = {"astronaut": data.astronaut, "coffee": data.coffee, "cat": data.chelsea}


def to_image(pixels):
    return pixels.astype(np.float32) / 255


def photograph(name="coffee", size=(96, 130)):
    return PHOTOGRAPHS[name]()[100 : 100 + size[0], 150 : 150 + size[1]]


def noisy(pixels, deviation, seed=0):
    noise = np.random.default_rng(seed).normal(0, deviation, pixels.shape)
    return np.clip(pixels + noise, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "metrics.npz")), json.loads((GOLDEN / "metrics.json").read_text())


def test_the_8_bit_rounding_equals_the_published_one(golden):
    arrays, _ = golden
    rounded = jax.jit(to_uint8)(arrays["pred_float"].transpose(1, 2, 0))
    np.testing.assert_array_equal(rounded, arrays["pred_u8"])


def test_psnr_and_ssim_equal_the_published_evaluation(golden):
    arrays, numbers = golden
    prediction, target = to_image(arrays["pred_u8"]), to_image(arrays["target_u8"])
    assert float(psnr(prediction, target)) == pytest.approx(numbers["psnr"], abs=1e-4)
    assert float(ssim(prediction, target)) == pytest.approx(numbers["ssim"], abs=1e-5)
    assert abs(float(ssim(prediction, target)) - numbers["ssim_gaussian_for_contrast"]) > 0.02


def test_psnr_of_the_raw_prediction_equals_the_upstream_evaluation(golden):
    arrays, numbers = golden
    score = psnr(arrays["pred_float"].transpose(1, 2, 0), to_image(arrays["target_u8"]))
    assert float(score) == pytest.approx(numbers["psnr_unquantised_upstream"], abs=1e-4)


def test_the_ssim_map_equals_the_stored_one_inside_the_border(golden):
    arrays, _ = golden
    found = ssim_map(to_image(arrays["pred_u8"]), to_image(arrays["target_u8"]))
    stored = arrays["ssim_map"][2:-1, 2:-1]  # every second pixel, from 4 on; our map begins at pixel 3
    np.testing.assert_allclose(found[1::2, 1::2][: stored.shape[0], : stored.shape[1]], stored, atol=1e-4)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("deviation", [1, 6, 40])
@pytest.mark.parametrize("size", [(7, 7), (61, 118)], ids=str)
def test_psnr_and_ssim_equal_scikit_image_in_double_precision(name, deviation, size):
    target = photograph(name, size)
    a, b = to_image(noisy(target, deviation)), to_image(target)
    doubles = b.astype(float), a.astype(float)
    expected = peak_signal_noise_ratio(*doubles, data_range=1)
    assert float(jax.jit(psnr)(a, b)) == pytest.approx(expected, abs=1e-4)
    expected = structural_similarity(*doubles, data_range=1, channel_axis=-1)
    assert float(jax.jit(ssim)(a, b)) == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_ssim_equals_scikit_image_on_the_float32_images_of_the_protocol(name):
    a, b = to_image(noisy(photograph(name), 6)), to_image(photograph(name))
    expected = structural_similarity(a, b, data_range=1, channel_axis=-1)
    assert float(jax.jit(ssim)(a, b)) == pytest.approx(float(expected), abs=1e-5)


def test_ssim_keeps_its_precision_on_bright_flat_images():
    target = np.full((64, 80, 3), 250, np.uint8)
    a, b = to_image(noisy(target, 1)), to_image(target)
    exact = structural_similarity(a.astype(float), b.astype(float), data_range=1, channel_axis=-1)
    assert float(ssim(a, b)) == pytest.approx(exact, abs=2e-6)


def test_rmse_and_mean_absolute_error_equal_numpy_in_double_precision():
    a, b = (to_image(noisy(photograph(), 10, seed)) for seed in (1, 2))
    error = a.astype(float) - b
    assert float(rmse(a, b)) == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    assert float(mean_absolute_error(a, b)) == pytest.approx(np.abs(error).mean(), rel=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_a_batch_gives_one_score_per_image(name):
    target = np.stack([to_image(photograph(p)) for p in PHOTOGRAPHS])
    prediction = np.stack([to_image(noisy(photograph(p), 9)) for p in PHOTOGRAPHS])
    scores = jax.jit(MEASURES[name])(prediction, target)
    alone = [float(MEASURES[name](p, t)) for p, t in zip(prediction, target, strict=True)]
    np.testing.assert_allclose(scores, alone, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("psnr", np.inf), ("ssim", 1), ("rmse", 0), ("mean_absolute_error", 0)]
)
def test_equal_images_reach_the_best_score(name, value):
    image = to_image(photograph())
    assert float(MEASURES[name](image, image)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_the_order_of_the_two_images_does_not_matter(name):
    a, b = to_image(photograph()), to_image(noisy(photograph(), 20))
    assert float(MEASURES[name](a, b)) == pytest.approx(float(MEASURES[name](b, a)), rel=1e-6)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_peak_makes_the_score_independent_of_the_scale(measure):
    a, b = to_image(photograph()), to_image(noisy(photograph(), 20))
    assert float(measure(a * 255, b * 255, peak=255)) == pytest.approx(float(measure(a, b)), rel=1e-5)


def test_the_gradient_of_ssim_is_finite_on_flat_images_and_leads_to_the_target():
    flat, target = jnp.full((16, 16, 3), 0.5), to_image(photograph(size=(16, 16)))
    gradient = jax.grad(lambda image: ssim(image, target))(flat)
    assert bool(jnp.isfinite(gradient).all())
    assert float(ssim(flat + 0.1 * gradient, target)) > float(ssim(flat, target))


def test_values_outside_the_range_are_scored_as_they_are():
    target = np.ones((8, 8, 3), np.float32)
    assert float(mean_absolute_error(target + 0.5, target)) == pytest.approx(0.5)


def image(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("prediction", "target", "error", "message"),
    [
        (image(8, 8, 3), image(8, 9, 3), ValueError, r"\(8, 8, 3\) but target is \(8, 9, 3\)"),
        (image(8, 8), image(8, 8), ValueError, r"give \[..., H, W, C\]"),
        (to_uint8(image(8, 8, 3)), image(8, 8, 3), TypeError, "uint8 / 255"),
    ],
    ids=["sizes", "rank", "integers"],
)
@pytest.mark.parametrize("name", MEASURES)
def test_images_that_cannot_be_compared_are_refused(name, prediction, target, error, message):
    with pytest.raises(error, match=f"{name}: .*{message}"):
        MEASURES[name](prediction, target)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="6x40 are smaller than 7x7"):
        ssim(image(6, 40, 3), image(6, 40, 3))


def test_scores_of_8_bit_frames_do_not_depend_on_how_they_became_floats():
    pixels = photograph()
    assert float(psnr(to_float(jnp.asarray(pixels)), to_image(pixels))) > 140
