import pickle
from dataclasses import replace

import numpy as np
import pytest

from datasets import SceneSource
from tests.data.warping import error_where_seen
from vfijax.media import MediaError

SIZE = 96
PLAIN = {"shutter": 0.0, "exposures": 1, "fading": 0.0, "noise": 0.0}


def some_scene(index, **fields):
    return replace(SceneSource(SIZE, 5, motion=30)[index], **fields)


def test_a_scene_is_a_function_of_seed_and_index_alone():
    source, other = SceneSource(SIZE, 3), SceneSource(SIZE, 4)
    again = pickle.loads(pickle.dumps(source))
    later = source[7].triplet(0.3)
    source[2].triplet()
    np.testing.assert_array_equal(again[7].triplet(0.3), later)
    np.testing.assert_array_equal(again[7].truth(), source[7].truth())
    assert later.shape == (3, SIZE, SIZE, 3) and later.dtype == np.uint8
    assert (source[8].triplet(0.3) != later).any() and (other[7].triplet(0.3) != later).any()


@pytest.mark.parametrize("index", range(8))
def test_the_motion_leads_from_each_frame_to_the_other(index):
    scene = some_scene(index, **PLAIN)
    first, _, last = scene.triplet()
    right, seen = error_where_seen({"first": first, "last": last, "truth": scene.truth()})
    assert scene.truth().dtype == np.float32 and seen > 0.2
    still, _ = error_where_seen({"first": first, "last": last, "truth": 0 * scene.truth()})
    assert right < 4 and right < still / 2


@pytest.mark.parametrize("displacement", [5, 20, 80])
def test_the_greatest_displacement_is_the_one_asked_for(displacement):
    source = SceneSource(128, 1, displacement=displacement)
    for index in range(6):
        lengths = np.hypot(source[index].truth()[:, 0], source[index].truth()[:, 1])
        assert lengths.max() == pytest.approx(displacement, rel=0.01)


def test_greatest_displacements_are_spread_evenly_over_the_scales_up_to_the_motion():
    lengths = np.array([SceneSource(64, 2, motion=40)[i].greatest() for i in range(120)])
    assert lengths.max() < 40 * 1.4
    shares, _ = np.histogram(np.log(lengths) / np.log(40), 3, (0, 1.05))
    assert (shares > 20).all()


def test_without_noise_the_frame_between_lies_between():
    scene = some_scene(1, **PLAIN)
    differences = [np.abs(scene.draw(t) - scene.draw(0.0) / 1.0).mean() for t in (0.1, 0.5, 1.0)]
    assert differences == sorted(differences) and differences[0] > 0


def test_noise_is_independent_in_every_frame_and_as_strong_as_it_says():
    scene = some_scene(3, **PLAIN | {"noise": 4.0})
    grain = [scene.draw(t) - replace(scene, noise=0.0).draw(t) / 1.0 for t in (0.0, 0.5, 1.0)]
    assert [g.std() for g in grain] == pytest.approx([4.0] * 3, rel=0.1)
    assert abs(np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(scene.draw(0.5), scene.draw(0.5))


def test_motion_blur_smooths_along_the_motion_and_fading_changes_the_brightness():
    scene = some_scene(4, **PLAIN)
    sharp, blurred = scene.draw(0.5) / 1.0, replace(scene, shutter=0.5, exposures=8).draw(0.5) / 1.0
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.9 * np.abs(np.diff(sharp, axis=1)).mean()
    assert abs(sharp.mean() - blurred.mean()) < 2
    faded = replace(scene, fading=0.06)
    assert faded.draw(1.0).mean() == pytest.approx(1.03 * scene.draw(1.0).mean(), rel=0.01)


def test_scenes_have_thin_bars_noise_blur_and_resting_backgrounds_now_and_then():
    scenes = [SceneSource(SIZE, 5)[i] for i in range(60)]
    surfaces = [len(scene.surfaces) for scene in scenes]
    assert min(surfaces) == 2 and max(surfaces) == 6
    masks = [surface.mask for scene in scenes for surface in scene.surfaces[1:]]
    for share in (
        np.mean([scene.noise > 0 for scene in scenes]),
        np.mean([scene.exposures > 1 for scene in scenes]),
        np.mean([scene.fading != 0 for scene in scenes]),
        np.mean([mask.shape[0] != mask.shape[1] for mask in masks]),
        np.mean([(scene.truth()[0] == 0).any() for scene in scenes]),
    ):
        assert 0.03 < share < 0.7


def test_splits_share_no_photograph():
    textures = [
        {id(surface.texture) for i in range(40) for surface in SceneSource(32, split=split)[i].surfaces}
        for split in ("train", "val")
    ]
    assert not textures[0] & textures[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 801}, "sides of up to 800 pixels, not 801"),
        (
            {"size": 64, "motion": 1e5},
            "motion of scenes is 100000 pixels; frames of 64 pixels show at most 256",
        ),
        ({"size": 64, "displacement": 300.0}, "displacement of scenes is 300 pixels"),
    ],
)
def test_scenes_that_cannot_be_drawn_are_refused_before_any_is(fields, message):
    with pytest.raises(MediaError, match=message):
        SceneSource(**fields)
