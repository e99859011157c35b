import itertools
from dataclasses import replace

import numpy as np
import pytest

from datasets import (
    AUGMENTATIONS,
    Augmentation,
    Reading,
    SceneSource,
    SyntheticSource,
    TimedTriplet,
    sample_batches,
)
from datasets.timed import random_triplet, randomly_reduced
from datasets.transforms import oriented, oriented_motion
from tests.data.warping import error_where_seen
from vfijax.media.flow import QUALITIES, find_motion

MEDIUM = QUALITIES["medium"]
CLIP = SyntheticSource(80, seed=2, motion=20.0, frames=9)
STEPS = ("reverse", "rows", "columns", "transpose")
TURNS = {
    "left": Augmentation(one_of=("left",)),
    "right": Augmentation(one_of=("right",)),
    "all": Augmentation(
        flip_rows=True, flip_columns=True, transpose=True, reverse=True, one_of=("left", "right", "rows")
    ),
}


def plain(scene):
    return replace(scene, shutter=0.0, exposures=1, fading=0.0, noise=0.0)


def sample(item, seed=0, **fields):
    return TimedTriplet(**{"crop": 48} | fields).random_map(item, np.random.default_rng(seed))


def batches(*sources, batch=3, start=0, **reading):
    shares = [(source, 1.0) for source in sources]
    reading = Reading(**{"threads": 0} | reading)
    return sample_batches(shares, TimedTriplet(32, MEDIUM), batch=batch, seed=0, start=start, reading=reading)


def numbered(count):
    """A clip whose levels are the numbers of the frames."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 40, 44, 3))


# ------------------------------------------------------------------------------------- one triplet


@pytest.mark.parametrize("item", [CLIP[0], SceneSource(80)[0]], ids=["clip", "scene"])
@pytest.mark.parametrize("quality", ["medium", "best"])
def test_a_sample_has_frames_time_guesses_and_truth(item, quality):
    searches = QUALITIES[quality]
    found = sample(item, searches=searches)
    assert list(found) == ["first", "middle", "last", "time", "motion", "truth"]
    for role in ("first", "middle", "last"):
        assert found[role].shape == (48, 48, 3) and found[role].dtype == np.uint8
    assert found["time"].shape == () and found["time"].dtype == np.float32 and 0 < found["time"] < 1
    assert found["motion"].shape == (2 * len(searches), 2, 48, 48) and found["motion"].dtype == np.float32
    assert found["truth"].shape == (2, 2, 48, 48) and found["truth"].dtype == np.float32
    assert np.isnan(found["truth"]).all() == isinstance(item, np.ndarray)
    assert "motion" not in sample(item)


def test_frames_of_a_clip_are_in_order_and_the_time_says_where_the_middle_one_is():
    rng, seen = np.random.default_rng(0), []
    for _ in range(600):
        triplet, time = random_triplet(numbered(13), 3, rng)
        first, middle, last = triplet[:, 0, 0, 0].astype(int)
        assert first < middle < last and time == (middle - first) / (last - first)
        seen.append((last - first, first))
    lengths, starts = np.array(seen).T
    assert {*lengths} == {2, 3, 4, 5, 6} and (np.bincount(lengths)[2:] > 85).all()
    assert {*starts[lengths == 2]} == set(range(11))


@pytest.mark.parametrize(("count", "lengths"), [(3, {2}), (4, {2, 3}), (20, {2, 3, 4})])
def test_triplets_reach_as_far_as_the_clip_and_twice_the_reach_allow(count, lengths):
    rng = np.random.default_rng(0)
    runs = [random_triplet(numbered(count), 2, rng)[0][:, 0, 0, 0].astype(int) for _ in range(100)]
    assert {int(run[-1] - run[0]) for run in runs} == lengths


def test_a_clip_that_is_too_short_or_too_small_is_refused():
    with pytest.raises(ValueError, match="a clip of 2 frames has no triplet"):
        sample(numbered(2))
    with pytest.raises(ValueError, match="frames have 40 pixels on a side, the crop 48"):
        sample(numbered(5), augmentation=AUGMENTATIONS["none"])


def test_time_runs_backwards_with_the_frames():
    how = Augmentation(reverse=True)
    for seed in range(30):
        found = sample(numbered(9), seed, crop=32, augmentation=how, reduce=0.0)
        first, middle, last = (int(found[role][0, 0, 0]) for role in ("first", "middle", "last"))
        assert found["time"] == pytest.approx((middle - first) / (last - first))


@pytest.mark.parametrize("least", [20, 39, 40])
def test_frames_are_reduced_to_no_less_than_half_and_no_less_than_the_crop(least):
    rng = np.random.default_rng(0)
    shapes = np.array([randomly_reduced(numbered(3), least, rng).shape for _ in range(60)])
    assert (shapes[:, 1:3].min() >= least) and shapes[:, 1].max() <= 40 and shapes[:, 2].max() <= 44
    assert (shapes[:, 1].min() < 25) == (least == 20)
    assert np.abs(shapes[:, 2] / shapes[:, 1] - 1.1).max() < 0.05


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_clips_are_reduced_as_often_as_asked_and_scenes_never(share):
    columns = np.arange(60, dtype=np.uint8) % 2 * 255
    stripes = np.broadcast_to(columns[None, None, :, None], (3, 60, 60, 3))
    found = [sample(stripes, seed, crop=24, reduce=share)["first"] for seed in range(80)]
    reduced = [not np.isin(frame, (0, 255)).all() for frame in found]
    assert np.mean(reduced) == pytest.approx(share, abs=0.12)
    scene = plain(SceneSource(80)[0])
    whole = sample(scene, crop=80, reduce=share, augmentation=AUGMENTATIONS["none"])
    np.testing.assert_array_equal(whole["first"], scene.draw(0.0))


# ------------------------------------------------------------------------------------ the motion


@pytest.mark.parametrize("name", [*AUGMENTATIONS, *TURNS])
def test_the_truth_leads_from_frame_to_frame_after_every_augmentation(name):
    how, errors = (AUGMENTATIONS | TURNS)[name], []
    for seed in range(8):
        scene = plain(SceneSource(96, seed, displacement=8)[0])
        found = sample(scene, seed, crop=80, augmentation=how)
        error, seen = error_where_seen(found)
        assert seen > 0.2 and error < 4
        still, _ = error_where_seen(found | {"truth": 0 * found["truth"]})
        errors.append((error, still))
    right, without = np.mean(errors, axis=0)
    assert right < without / 3


@pytest.mark.parametrize("steps", [s for n in range(5) for s in itertools.permutations(STEPS, n)])
def test_truth_is_turned_as_frames_are_in_any_order_of_steps(steps):
    scene = plain(SceneSource(64, 9, displacement=6)[1])
    frames, truth = oriented(scene.triplet(), steps), oriented_motion(scene.truth(), steps)
    error, seen = error_where_seen({"first": frames[0], "last": frames[2], "truth": truth})
    assert seen > 0.3 and error < 4


def test_guesses_are_of_the_motion_of_the_crop_as_it_is_turned():
    how, close = TURNS["all"], []
    for seed in range(12):
        found = sample(plain(SceneSource(96, seed, motion=6)[0]), seed, searches=MEDIUM, augmentation=how)
        assert not np.isnan(found["truth"]).any()
        errors = np.hypot(*(found["motion"] - found["truth"]).transpose(1, 0, 2, 3))
        close.append(np.median(errors) < 0.5)
    assert np.mean(close) > 0.8


@pytest.mark.parametrize("margin", [0, 8, 200])
def test_guesses_are_found_with_the_margin_that_the_frame_has(margin):
    scene = plain(SceneSource(96, 1)[0])
    found = sample(scene, searches=MEDIUM, margin=margin, augmentation=AUGMENTATIONS["none"])
    reach = min(margin, 24)  # the crop of 48 lies in the middle of 96
    window = slice(24 - reach, 72 + reach)
    first, last = (scene.draw(t)[window, window] for t in (0.0, 1.0))
    inner = slice(reach, reach + 48)
    motion = find_motion(first, last, MEDIUM)[..., inner, inner]
    np.testing.assert_array_equal(found["motion"], motion)


# --------------------------------------------------------------------------------------- batches


def assert_equal_batches(some, others):
    for batch, other in zip(some, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def test_batches_mix_clips_and_scenes():
    batch = next(batches(replace(CLIP, length=5), SceneSource(48, length=5), batch=4))
    assert batch["first"].shape == (4, 32, 32, 3) and batch["time"].shape == (4,)
    assert batch["motion"].shape == (4, 2, 2, 32, 32) and batch["truth"].shape == (4, 2, 2, 32, 32)
    assert [bool(np.isnan(truth).all()) for truth in batch["truth"]].count(True) == 2
    assert batch["time"].dtype == np.float32


@pytest.mark.parametrize("reading", [{"threads": 3}, {"workers": 2}], ids=["threads", "workers"])
def test_batches_do_not_depend_on_who_prepares_them_or_on_restarts(reading):
    sources = replace(CLIP, size=48, length=5), SceneSource(48, length=7)
    expected = list(itertools.islice(batches(*sources), 4))
    assert_equal_batches(list(itertools.islice(batches(*sources, start=1, **reading), 3)), expected[1:])
