import itertools
from fractions import Fraction

import numpy as np
import pytest

from datasets import evaluation_triplets, open_sources, spread, training_batches
from datasets.sources import ClipSource, TripletSource
from datasets.transforms import centre_crop, random_crop, random_flips, random_triplet
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


def take(count, **changes):
    options = {"crop": 8, "batch": 3, "seed": 0, "threads": 0} | changes
    return list(itertools.islice(training_batches(Numbered(7), **options), count))


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


def test_an_error_of_the_source_reaches_the_trainer_from_a_thread():
    class Broken(Numbered):
        def __getitem__(self, index):
            raise MediaError("clip.mp4: is truncated")

    with pytest.raises(MediaError, match=r"clip.mp4: is truncated"):
        next(training_batches(Broken(4), crop=8, batch=2, seed=0, threads=2))


def test_flips_and_reversal_each_happen_in_about_half_of_the_cases():
    frames = Numbered(1, frames=3)[0]
    rng = np.random.default_rng(0)
    flipped = [random_flips(frames, rng).astype(int) for _ in range(400)]
    for axis, channel in enumerate(range(3)):
        share = np.mean([np.diff(f[..., channel], axis=axis).mean() < 0 for f in flipped])
        assert 0.4 < share < 0.6


def test_random_choices_reach_both_ends():
    frames, rng = Numbered(1)[0], np.random.default_rng(0)
    starts = {int(random_triplet(frames, rng)[0, 0, 0, 0]) for _ in range(60)}
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


def open_directory(path, val="", crop=32):
    return open_sources(str(path), str(val) if val else "", crop=crop, eval_crop=32)


def test_folders_of_triplets_are_found_and_their_tail_is_held_out(tmp_path):
    for i in range(4):
        write_triplet(tmp_path / f"scene{i}", (i, 100 + i, 200 + i))
    sources = open_directory(tmp_path)
    assert isinstance(sources.train, TripletSource)
    assert (len(sources.train), len(sources.val)) == (3, 1)
    np.testing.assert_array_equal(sources.val[0][:, 0, 0, 0], [3, 103, 203])


def test_vimeo_lists_say_what_is_trained_on_and_what_is_scored(tmp_path):
    for name in ("00001/0001", "00001/0002", "00002/0001"):
        write_triplet(tmp_path / "sequences" / name)
    (tmp_path / "tri_trainlist.txt").write_text("00001/0001\n00002/0001\n\n")
    (tmp_path / "tri_testlist.txt").write_text("00001/0002\n")
    sources = open_directory(tmp_path)
    assert [triplet.name for triplet in sources.train.triplets] == ["00001/0001", "00002/0001"]
    assert [triplet.name for triplet in sources.val.triplets] == ["00001/0002"]


def test_clips_are_found_and_too_small_ones_left_out_and_counted(tmp_path):
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mp4")
    write_clip(tmp_path / "small.mp4", height=24)
    sources = open_directory(tmp_path, val=tmp_path)
    assert isinstance(sources.train, ClipSource)
    assert [clip.name for clip in sources.train.clips] == ["a.mp4", "b.mp4"]
    assert "2 clips (1 smaller than 32x32 left out)" in sources.note
    assert sources.train[0].shape == (5, 40, 48, 3)
    np.testing.assert_allclose(sources.train[1][:, 5, 5, 0], [0, 20, 40, 60, 80], atol=3)


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
    sources = open_sources("synthetic", val, crop=32, eval_crop=40)
    assert sources.train[0].shape == (3, 32, 32, 3)
    assert sources.val[0].shape == (3, 40, 40, 3)


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
        open_directory(tmp_path).train[0]


def test_a_triplet_of_different_sizes_is_named(tmp_path):
    for i in range(3):
        write_triplet(tmp_path / f"scene{i}")
    write_image(tmp_path / "scene0" / "im2.png", frame(0, 40, 50))
    with pytest.raises(MediaError, match=r"im2\.png: is 50x40 but im1\.png beside it is 48x40"):
        open_directory(tmp_path).train[0]


def test_a_clip_without_three_frames_is_named(tmp_path):
    write_clip(tmp_path / "short.mp4", count=2)
    with pytest.raises(MediaError, match=r"short\.mp4: has 2 frames, a triplet needs 3"):
        ClipSource([tmp_path / "short.mp4"], 16, 2**20)[0]


def test_a_clip_that_does_not_fit_into_memory_is_named(tmp_path):
    write_clip(tmp_path / "long.mp4")
    with pytest.raises(MediaError, match=r"long\.mp4: does not fit.*--data\.cache_gb"):
        ClipSource([tmp_path / "long.mp4"], 16, 1000)[0]
