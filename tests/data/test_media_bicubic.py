import numpy as np
import pytest
from PIL import Image

from vfijax.media.bicubic import cubic, reduce_bicubic, resize_bicubic


def picture(height=48, width=64):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("factor", [2, 4])
def test_away_from_the_border_it_is_the_anti_aliased_cubic_of_pillow(factor):
    image = picture()
    size = image.shape[1] // factor, image.shape[0] // factor
    channels = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(3)]
    expected = np.stack([np.asarray(c.resize(size, Image.Resampling.BICUBIC)) for c in channels], -1)
    actual = resize_bicubic(image, (size[1], size[0]))
    np.testing.assert_allclose(actual[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-3)


def test_the_border_is_mirrored():
    row = np.arange(8, dtype=np.float32).reshape(8, 1, 1)
    mirrored = np.concatenate([row[::-1], row, row[::-1]])
    inner = resize_bicubic(mirrored, (6, 1))[2:4]
    np.testing.assert_allclose(resize_bicubic(row, (2, 1)), inner, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 16), (48, 64), (96, 128)])
def test_a_constant_image_stays_constant(size):
    image = np.full((48, 64, 3), 77, np.uint8)
    np.testing.assert_allclose(resize_bicubic(image, size), 77, atol=1e-4)


def test_the_same_size_changes_nothing():
    np.testing.assert_allclose(resize_bicubic(picture(), (48, 64)), picture(), atol=1e-3)


def test_a_step_by_hand():
    # Halving stretches the kernel to eight pixels: distances 0.25, 0.75, 1.25, 1.75 on both sides.
    weights = cubic(np.array([0.25, 0.75, 1.25, 1.75]))
    step = np.repeat([0.0, 1.0], 8).reshape(16, 1, 1)
    below = weights[3] / (2 * weights.sum())  # the nearest row above the step sees one row beyond it
    two_below = resize_bicubic(step, (8, 1))[2, 0, 0]
    assert two_below == pytest.approx(below, abs=1e-6)


def test_reduced_images_are_8_bit_and_sizes_must_be_multiples():
    assert reduce_bicubic(picture(), 4).dtype == np.uint8
    with pytest.raises(ValueError, match="64x50; crop it to multiples of 4"):
        reduce_bicubic(picture(50), 4)
