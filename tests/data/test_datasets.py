import itertools
from fractions import Fraction

import numpy as np
import pytest

from datasets import (
    AUGMENTATIONS,
    Augmentation,
    BadItem,
    Choice,
    ClipSource,
    Reading,
    Scene,
    SceneSource,
    SyntheticSource,
    TrainingClip,
    TrainingTriplet,
    TripletSource,
    evaluation_triplets,
    open_sources,
    sample_batches,
    spread,
    training_batches,
)
from datasets.sources import Tolerant
from datasets.transforms import centre_crop, colour_jitter, random_crop, random_orientation, random_run
from vfijax.media import Frame, MediaError, VideoInfo, VideoWriter, write_image


class Numbered:
    """Sequences of frames whose pixels tell item, frame, row and column."""

    def __init__(self, items, frames=5, height=12, width=16):
        self.items, self.shape = items, (frames, height, width)

    def __len__(self):
        return self.items

    def __getitem__(self, index):
        frame, row, column = np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij")
        return np.stack([np.full_like(frame, index) * 16 + frame, row, column], axis=-1).astype(np.uint8)


CROP = TrainingTriplet(8)


def batches(*sources, batch=3, seed=0, start=0, transform=CROP, **reading):
    shares = [(source, 1.0) for source in sources]
    reading = Reading(**{"threads": 0} | reading)
    return training_batches(shares, transform, batch=batch, seed=seed, start=start, reading=reading)


def take(count, **changes):
    return list(itertools.islice(batches(Numbered(7), **changes), count))


def assert_equal_batches(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def test_batches_are_crops_of_three_consecutive_frames():
    for batch in take(20):
        first, middle, last = (batch[role].astype(int) for role in ("first", "middle", "last"))
        assert middle.shape == (3, 8, 8, 3) and batch["middle"].dtype == np.uint8
        step = (last - first)[..., 0]
        assert np.isin(step, (2, -2)).all() and (step == step[:, :1, :1]).all()
        assert ((first + last)[..., 0] == 2 * middle[..., 0]).all()
        assert (first[..., 1:] == last[..., 1:]).all()  # one crop and one flip for all three
        for axis, channel in ((1, 1), (2, 2)):
            assert (np.abs(np.diff(middle[..., channel], axis=axis)) == 1).all()


def test_each_pass_over_the_source_takes_every_item_once_in_a_new_order():
    items = np.concatenate([batch["middle"][:, 0, 0, 0] // 16 for batch in take(7)])
    passes = [list(items[i : i + 7]) for i in range(0, 21, 7)]
    assert all(sorted(each) == list(range(7)) for each in passes)
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize("threads", [0, 1, 4])
@pytest.mark.parametrize("start", [0, 5])
def test_batches_do_not_depend_on_threads_or_restarts(start, threads):
    assert_equal_batches(take(8 - start, start=start, threads=threads), take(8)[start:])


def test_another_seed_gives_other_batches():
    assert any((a["first"] != b["first"]).any() for a, b in zip(take(3), take(3, seed=1), strict=True))


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
@pytest.mark.parametrize("start", [0, 4])
def test_processes_share_every_batch_without_losing_or_doubling_a_triplet(processes, start):
    shares = [take(5, batch=6, start=start, process=p, processes=processes) for p in range(processes)]
    steps = zip(*shares, strict=True)
    joined = [{role: np.concatenate([part[role] for part in parts]) for role in parts[0]} for parts in steps]
    assert_equal_batches(joined, take(9, batch=6)[start : start + 5])


def test_a_batch_that_processes_cannot_share_evenly_is_refused():
    with pytest.raises(ValueError, match="batch of 3 cannot be shared by 2 processes"):
        take(1, processes=2)


def test_batches_do_not_depend_on_worker_processes():
    source = SyntheticSource(16, seed=1, motion=2.0, length=10)
    expected = list(itertools.islice(batches(source), 4))
    assert_equal_batches(list(itertools.islice(batches(source, workers=2, start=1), 3)), expected[1:])


def test_sources_are_mixed_by_their_shares():
    mixed = training_batches(
        [(Numbered(3), 0.75), (Numbered(1, frames=3), 0.25)], TrainingTriplet(8), batch=8, seed=0
    )
    items = np.concatenate([b["middle"][:, 0, 0, 0] // 16 for b in itertools.islice(mixed, 20)])
    assert [np.mean(items == i) for i in (1, 2)] == pytest.approx([0.25, 0.25], abs=0.02)


def test_an_error_of_the_source_reaches_the_trainer_from_a_thread():
    with pytest.raises(MediaError, match=r"clip.mp4: is truncated"):
        next(batches(Broken(4, bad=range(4)), threads=2))


class Broken(Numbered):
    def __init__(self, items, bad):
        super().__init__(items)
        self.bad = bad

    def __getitem__(self, index):
        if index in self.bad:
            raise MediaError("clip.mp4: is truncated")
        return super().__getitem__(index)


def test_items_that_cannot_be_read_are_skipped_and_counted_when_asked_for(capsys):
    source = Tolerant(Broken(5, bad=(1, 2, 4)))
    assert [int(source[i][0, 0, 0, 0]) // 16 for i in range(5)] == [0, 3, 3, 3, 0]
    assert source.bad == {1, 2, 4}
    assert capsys.readouterr().err.count("skipped: clip.mp4: is truncated") == 3
    with pytest.raises(MediaError, match="none of 2 items can be read"):
        Tolerant(Broken(2, bad=(0, 1)))[0]


# ------------------------------------------------------------------------------------ augmentation


def changes(frames, how, count=400):
    """How often each of the axes time, rows, columns runs backwards."""
    rng = np.random.default_rng(0)
    turned = [random_orientation(frames, how, rng).astype(int) for _ in range(count)]
    return [
        np.mean([np.diff(t[..., c], axis=axis).mean() < 0 for t in turned]) for axis, c in enumerate(range(3))
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", (0, 0, 0)),
        ("cdfi", (0.5, 0.5, 0.5)),
        ("adacof", (0.5, 0.5, 0.5)),
        ("sepconv", (0.5, 0.5, 0.5)),
        ("sepconv_report", (0, 0.5, 0.5)),
    ],
)
def test_each_document_flips_as_often_as_it_says(name, expected):
    frames = Numbered(1, frames=3)[0]
    assert changes(frames, AUGMENTATIONS[name]) == pytest.approx(list(expected), abs=0.08)


@pytest.mark.parametrize(("name", "turns"), [("sepconv_replication", 4), ("sepconv_replication_text", 5)])
def test_the_replication_turns_one_way_of_several(name, turns):
    frames, rng = Numbered(1, frames=3, height=9, width=9)[0], np.random.default_rng(0)
    seen = [random_orientation(frames, AUGMENTATIONS[name], rng).tobytes() for _ in range(300)]
    assert len(set(seen)) == 2 * turns  # each of them forwards and backwards in time


def test_zooming_slowmo_takes_all_eight_orientations_in_both_directions_of_time():
    frames, rng = Numbered(1, frames=3, height=9, width=9)[0], np.random.default_rng(0)
    how = AUGMENTATIONS["zooming_slowmo"]
    assert len({random_orientation(frames, how, rng).tobytes() for _ in range(400)}) == 16


def test_centre_crops_come_from_the_centre():
    transform = TrainingTriplet(8, Augmentation(crop="centre"))
    for batch in take(3, transform=transform):
        assert (batch["middle"][:, 0, 0, 1:] == (2, 4)).all()


def test_colours_vary_alike_in_all_frames():
    frames, rng = np.full((3, 8, 8, 3), 100, np.uint8), np.random.default_rng(0)
    varied = np.stack([colour_jitter(frames, 0.2, rng) for _ in range(20)])
    assert (varied == varied[:, :1, :1, :1]).all() and len(np.unique(varied)) > 10
    assert (np.abs(varied.astype(int) - 100) <= 45).all()


@pytest.mark.parametrize(("stride", "every", "starts"), [(1, 1, {0, 1, 2}), (2, 1, {0}), (1, 2, {0, 2})])
def test_triplets_begin_where_asked_and_are_as_far_apart_as_asked(stride, every, starts):
    frames, rng = Numbered(1)[0], np.random.default_rng(0)
    runs = [random_run(frames, 3, rng, stride=stride, every=every)[:, 0, 0, 0] for _ in range(60)]
    assert {int(run[0]) for run in runs} == starts
    assert all((np.diff(run.astype(int)) == stride).all() for run in runs)


def test_a_stride_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"5 frames has no 3 frames 3 apart; give a smaller --data\.stride"):
        random_run(Numbered(1)[0], 3, np.random.default_rng(0), stride=3)


def test_training_clips_are_the_targets_and_every_second_frame_reduced():
    source = SyntheticSource(48, seed=1, motion=4.0, length=2)
    transform = TrainingClip(32, frames=3, augmentation=AUGMENTATIONS["zooming_slowmo"])
    batch = next(sample_batches([(source, 1.0)], transform, batch=2, seed=0))
    assert batch["inputs"].shape == (2, 2, 8, 8, 3) and batch["targets"].shape == (2, 3, 32, 32, 3)
    for clip, small in zip(batch["targets"][:, ::2], batch["inputs"], strict=True):
        means = clip.reshape(2, 8, 4, 8, 4, 3).mean((2, 4))
        assert np.abs(means - small).mean() < 6  # bicubic and box reduction are close
        assert np.corrcoef(means.ravel(), small.ravel())[0, 1] > 0.98


def test_random_choices_reach_both_ends():
    frames, rng = Numbered(1)[0], np.random.default_rng(0)
    starts = {int(random_run(frames, 3, rng)[0, 0, 0, 0]) for _ in range(60)}
    tops = {int(random_crop(frames, 8, rng)[0, 0, 0, 1]) for _ in range(100)}
    assert starts == {0, 1, 2} and tops == set(range(5))


def test_centre_crop_takes_the_middle_and_keeps_shorter_sides():
    frames = Numbered(1)[0]
    assert centre_crop(frames, 6, 100).shape == (5, 6, 16, 3)
    np.testing.assert_array_equal(centre_crop(frames, 6, 16), frames[:, 3:9])


@pytest.mark.parametrize(
    ("length", "most", "expected"),
    [(5, None, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (9, 3, [1, 4, 7]), (10, 1, [5]), (1, 4, [0])],
)
def test_spread_is_even(length, most, expected):
    assert spread(length, most) == expected


@pytest.mark.parametrize(("limit", "expected"), [(0, 12), (2, 2), (4, 4), (6, 6), (8, 8), (100, 12)])
def test_evaluation_triplets_are_fixed_distinct_and_as_many_as_asked_for(limit, expected):
    triplets = evaluation_triplets(Numbered(4), limit=limit, crop=10)
    assert triplets.shape == (expected, 3, 10, 10, 3)
    assert len({int(t[1, 0, 0, 0]) for t in triplets}) == expected
    np.testing.assert_array_equal(triplets, evaluation_triplets(Numbered(4), limit=limit, crop=10))


def test_evaluation_crops_to_the_smallest_frame():
    class Mixed(Numbered):
        def __getitem__(self, index):
            return Numbered(2, height=12 - 2 * index, width=9 + 3 * index)[index]

    assert evaluation_triplets(Mixed(2), limit=0, crop=11).shape == (6, 3, 10, 9, 3)


def frame(value, height=40, width=48):
    return np.full((height, width, 3), value, np.uint8)


def write_triplet(folder, values=(10, 20, 30), **size):
    folder.mkdir(parents=True)
    for i, value in enumerate(values):
        write_image(folder / f"im{i + 1}.png", frame(value, **size))


def write_clip(path, count=5, height=40, width=48):
    with VideoWriter(path, VideoInfo(width, height, Fraction(25), chroma="444")) as video:
        for i in range(count):
            video.write(Frame(frame(20 * i, height, width), Fraction(i, 25)))


def open_directory(path, val="", crop=32, timed=False, **changes):
    choice = Choice(str(path), str(val) if val else "", crop=crop, **changes)
    return open_sources(choice, timed=timed, eval_crop=32)


def only(sources):
    """The training source of a run that has one."""
    ((source, share),) = sources.train
    assert share == 1
    return source


def test_folders_of_triplets_are_found_and_their_tail_is_held_out(tmp_path):
    for i in range(4):
        write_triplet(tmp_path / f"scene{i}", (i, 100 + i, 200 + i))
    sources = open_directory(tmp_path)
    assert isinstance(only(sources), TripletSource)
    assert (len(only(sources)), len(sources.val)) == (3, 1)
    np.testing.assert_array_equal(sources.val[0][:, 0, 0, 0], [3, 103, 203])


def test_vimeo_lists_say_what_is_trained_on_and_what_is_scored(tmp_path):
    for name in ("00001/0001", "00001/0002", "00002/0001"):
        write_triplet(tmp_path / "sequences" / name)
    (tmp_path / "tri_trainlist.txt").write_text("00001/0001\n00002/0001\n\n")
    (tmp_path / "tri_testlist.txt").write_text("00001/0002\n")
    sources = open_directory(tmp_path)
    assert [triplet.name for triplet in only(sources).triplets] == ["00001/0001", "00002/0001"]
    assert [triplet.name for triplet in sources.val.triplets] == ["00001/0002"]


def test_clips_are_found_and_too_small_ones_left_out_and_counted(tmp_path):
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mp4")
    write_clip(tmp_path / "small.mp4", height=24)
    sources = open_directory(tmp_path, val=tmp_path)
    train = only(sources)
    assert isinstance(train, ClipSource)
    assert [clip.name for clip in train.clips] == ["a.mp4", "b.mp4"]
    assert "2 clips (1 smaller than 32x32 left out)" in sources.note
    assert train[0].shape == (5, 40, 48, 3)
    np.testing.assert_allclose(train[1][:, 5, 5, 0], [0, 20, 40, 60, 80], atol=3)


def test_clips_are_decoded_once_while_there_is_room(tmp_path):
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mp4")
    clips = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    one_clip = 5 * 40 * 48 * 3
    roomy, tight = ClipSource(clips, 16, 2 * one_clip), ClipSource(clips, 16, one_clip)
    for source, same in ((roomy, True), (tight, False)):
        kept = source[0]
        assert source[0] is kept
        assert len(source[1]) == 5
        assert (source[0] is kept) == same


@pytest.mark.parametrize("val", ["synthetic", ""])
def test_synthetic_frames_have_the_sizes_asked_for(val):
    sources = open_sources(Choice("synthetic", val, crop=32), eval_crop=40)
    assert only(sources)[0].shape == (3, 32, 32, 3)
    assert sources.val[0].shape == (3, 40, 40, 3)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_timed_triplets_are_mixed_with_scenes_and_scored_on_frames(tmp_path, share):
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mp4")
    sources = open_directory(tmp_path, timed=True, synthetic=share, motion=20.0)
    clips, *scenes = sources.train
    assert clips[0][0].shape == (5, 40, 48, 3) and clips[1] == 1 - share
    assert scenes == ([(SceneSource(32 + 64, motion=20.0), share)] if share else [])
    assert sources.val[0].shape == (5, 40, 48, 3)
    alone = open_sources(Choice("synthetic", crop=32, limit=2), timed=True, eval_crop=40, seed=3)
    assert isinstance(only(alone)[1], Scene) and len(only(alone)) == 2
    assert alone.val[0].shape == (3, 40, 40, 3)


# ---------------------------------------------------------------------------------------- licences


def write_index(path, text):
    (path / "index.csv").write_text(text)


@pytest.mark.parametrize("val", ["", "synthetic"])
@pytest.mark.parametrize(
    ("licences", "names"), [(("MIT",), "ac"), (("BSD-3-Clause", "MIT"), "abc"), ((), "abcd")]
)
def test_only_clips_with_one_of_the_licences_are_trained_on(tmp_path, licences, names, val):
    for name in "abcd":
        write_clip(tmp_path / f"{name}.mp4")
    write_index(tmp_path, "file,repository_licence\na.mp4,MIT\nb.mp4,BSD-3-Clause\nc.mp4,MIT\n")
    sources = open_directory(tmp_path, val, licences=licences)
    expected = names if val else names[:-1]  # the last one is held out
    assert sources.note.startswith(f"{len(expected)} clips of")
    assert val or len(sources.val) == 1


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (None, "has no index.csv"),
        ("file,licence\na.mp4,MIT\n", r"index\.csv: has no column repository_licence"),
        ("file,repository_licence\na.mp4,MIT\n", r"licence GPL or X; there are MIT \(1\), not listed \(1\)"),
    ],
)
def test_a_choice_by_licence_says_what_it_lacks(tmp_path, index, message):
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mp4")
    if index:
        write_index(tmp_path, index)
    with pytest.raises(MediaError, match=message):
        open_directory(tmp_path, licences=("GPL", "X"))


def test_synthetic_frames_have_no_licence_to_choose_by():
    with pytest.raises(MediaError, match=r"synthetic: a choice by licence needs a directory of clips"):
        open_sources(Choice("synthetic", licences=("MIT",)))


def make_empty(path):
    (path / "data").mkdir()


def make_two_images(path):
    write_triplet(path / "data" / "scene", (1, 2))


def make_one_triplet(path):
    write_triplet(path / "data" / "scene")


def make_small_clips(path):
    (path / "data").mkdir()
    write_clip(path / "data" / "a.mp4", height=24)
    write_clip(path / "data" / "b.mp4", height=26)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such directory"),
        (make_empty, "no triplets found.*no video clips either"),
        (make_two_images, "no triplets found.*no video clips either"),
        (make_one_triplet, r"has one item only; name validation data with --data\.val"),
        (make_small_clips, r"a\.mp4, are smaller than the crop of 32x32; give --data\.crop 24 or less"),
    ],
)
def test_directories_without_usable_data_are_one_clear_error(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(MediaError, match=message):
        open_directory(tmp_path / "data")


def test_a_triplet_smaller_than_the_crop_is_named_with_the_way_out(tmp_path):
    for i in range(3):
        write_triplet(tmp_path / f"scene{i}", height=20)
    with pytest.raises(MediaError, match=r"im1\.png: is 48x20, smaller.*--data\.crop 20"):
        only(open_directory(tmp_path))[0]


def test_a_triplet_of_different_sizes_is_named(tmp_path):
    for i in range(3):
        write_triplet(tmp_path / f"scene{i}")
    write_image(tmp_path / "scene0" / "im2.png", frame(0, 40, 50))
    with pytest.raises(MediaError, match=r"im2\.png: is 50x40 but im1\.png beside it is 48x40"):
        only(open_directory(tmp_path))[0]


def test_a_clip_without_three_frames_is_named(tmp_path):
    write_clip(tmp_path / "short.mp4", count=2)
    with pytest.raises(MediaError, match=r"short\.mp4: has 2 frames, a triplet needs 3"):
        ClipSource([tmp_path / "short.mp4"], 16, 2**20)[0]


def test_a_clip_that_does_not_fit_into_memory_is_named(tmp_path):
    write_clip(tmp_path / "long.mp4")
    with pytest.raises(MediaError, match=r"long\.mp4: does not fit.*--data\.cache_gb"):
        ClipSource([tmp_path / "long.mp4"], 16, 1000)[0]


def test_a_triplet_with_a_missing_frame_is_named_or_skipped(tmp_path, capsys):
    for i in range(4):
        write_triplet(tmp_path / f"scene{i}")
    (tmp_path / "scene1" / "im2.png").unlink()
    with pytest.raises(BadItem, match=r"scene1 does not hold three images, only im1\.png, im3\.png"):
        open_directory(tmp_path)
    sources = open_directory(tmp_path, skip_bad=True)
    assert len(only(sources)) == 2 and len(sources.val) == 1
    assert "skipped" in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_named_or_skipped(tmp_path, capsys):
    for i in range(4):
        write_triplet(tmp_path / f"scene{i}", (i, i, i))
    broken = tmp_path / "scene1" / "im2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(BadItem, match=r"scene1/im2\.png"):
        only(open_directory(tmp_path))[1]
    assert only(open_directory(tmp_path, skip_bad=True))[1][0, 0, 0, 0] == 2
    assert "im2.png" in capsys.readouterr().err


def test_the_first_items_can_be_chosen_and_synthetic_ones_mixed_in(tmp_path):
    for i in range(5):
        write_triplet(tmp_path / f"scene{i}")
    sources = open_directory(tmp_path, limit=2, synthetic=0.25)
    (found, most), (drawn, rest) = sources.train
    assert (len(found), most, rest) == (2, 0.75, 0.25) and isinstance(drawn, SyntheticSource)
    assert "the first 2 of 4 triplets" in sources.note and "25 % synthetic" in sources.note
