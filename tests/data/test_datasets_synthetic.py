from dataclasses import replace

import numpy as np
import pytest
import skimage.data

from datasets import SyntheticSource
from datasets.synthetic import PHOTOGRAPHS, TIMES, draw, scene

SIZE = 48


def psnr(a, b):
    return -10 * np.log10(np.square(a / 255 - b / 255).mean())


def some_scene(seed, motion=6.0):
    return scene("train", SIZE, motion, np.random.default_rng(seed))


@pytest.mark.parametrize("split", PHOTOGRAPHS)
def test_photographs_come_with_scikit_image_and_are_not_shared_between_splits(split):
    for name in PHOTOGRAPHS[split]:
        assert getattr(skimage.data, name)().dtype == np.uint8
    others = {name for other, names in PHOTOGRAPHS.items() if other != split for name in names}
    assert not others & set(PHOTOGRAPHS[split])


def test_triplet_is_a_function_of_seed_and_index_alone():
    source, again, other = SyntheticSource(SIZE, 3), SyntheticSource(SIZE, 3), SyntheticSource(SIZE, 4)
    later = source[7]
    np.testing.assert_array_equal(again[7], later)
    assert later.shape == (3, SIZE, SIZE, 3) and later.dtype == np.uint8
    assert (source[8] != later).any() and (other[7] != later).any()


@pytest.mark.parametrize("seed", range(3))
def test_frames_are_drawn_each_at_its_own_time(seed):
    first, middle, last = SyntheticSource(SIZE, seed)[0]
    layers = scene("train", SIZE, 8.0, np.random.default_rng((seed, 0)))
    for frame, time in zip((first, middle, last), TIMES, strict=True):
        np.testing.assert_array_equal(frame, draw(layers, SIZE, time))


@pytest.mark.parametrize("seed", range(4))
def test_motion_backwards_in_time_swaps_first_and_last_and_keeps_the_middle(seed):
    layers = some_scene(seed)
    backwards = [
        replace(
            layer, velocity=(-layer.velocity[0], -layer.velocity[1]), spin=-layer.spin, growth=-layer.growth
        )
        for layer in layers
    ]
    for time in TIMES:
        np.testing.assert_array_equal(draw(backwards, SIZE, time), draw(layers, SIZE, -time))


def test_a_whole_pixel_shift_moves_the_picture_exactly():
    background = some_scene(0)[0]
    shifting = replace(background, velocity=(4.0, -6.0), spin=0.0, growth=0.0, angle=0.0, log_scale=0.0)
    first, middle, last = (draw([shifting], SIZE, time) for time in TIMES)
    np.testing.assert_array_equal(middle[2:, :-3], first[:-2, 3:])
    np.testing.assert_array_equal(last[2:, :-3], middle[:-2, 3:])


def test_the_blend_is_near_the_middle_frame_but_not_equal_to_it():
    triplets = [SyntheticSource(64)[i] / 1.0 for i in range(12)]
    scores = [psnr((first + last) / 2, middle) for first, middle, last in triplets]
    swapped = [psnr((first + last) / 2, triplets[i - 1][1]) for i, (first, _, last) in enumerate(triplets)]
    assert max(scores) < 48
    assert np.mean(scores) > np.mean(swapped) + 6


def test_shapes_hide_what_is_behind_them():
    layers = some_scene(5)
    without = draw(layers[:1], SIZE, 0.0)
    assert (draw(layers, SIZE, 0.0) != without).any(axis=-1).mean() > 0.02
