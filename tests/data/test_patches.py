import json
import pickle
import signal
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest

from datasets.build import build
from datasets.patches import PatchParameters, is_patches, open_patches, prepare_patches
from datasets.patches import __main__ as command
from datasets.patches.cache import SHARD_ITEMS
from datasets.patches.motion import mean_difference, measure
from datasets.patches.selection import CUT, KEPT, STILL, SURPLUS, crop, select
from tests.data.dummy import moving_frames, write_dummy, write_frames
from vfijax.media import Frame, MediaError, VideoInfo, VideoWriter, histogram_difference, read_image

SMALL = PatchParameters(size=24, crops=6, most=3, full_motion=20.0)


class Clips:
    """Clips of moving photographs, each of another scene and speed."""

    def __init__(self, count=5, frames=7, broken=()):
        self.count, self.frames, self.broken = count, frames, broken

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.broken:
            raise MediaError(f"clip{index}.mp4: is truncated")
        return moving_frames(self.frames, 48, 64, scene=index, step=index % 8)


def prepare(out, source=None, parameters=SMALL, **options):
    options = {"motion": "difference"} | options
    return prepare_patches(Clips() if source is None else source, "clips", out, parameters, **options)


def contents(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("VFIJAX_DEBUG", raising=False)
    return tmp_path


def levels(*values):
    return np.stack([np.full((40, 40, 3), value, np.uint8) for value in values])


def test_histograms_have_eight_equal_bins_up_to_and_with_255():
    starts = [v for v in range(1, 256) if histogram_difference(*levels(v - 1, v))]
    assert starts == [32, 64, 96, 128, 160, 192, 224]  # multiples of 255 / 8 rounded up
    assert histogram_difference(*levels(3, 250)) == pytest.approx(2 / 8)


def test_the_histogram_difference_is_that_of_the_worst_channel_and_blind_to_places():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert histogram_difference(image, image[::-1]) == 0
    other = image.copy()
    other[..., 1] = 0
    shares = np.histogram(image[..., 1], 8, (0, 255))[0] / image[..., 1].size
    expected = ((shares - np.eye(8)[0]) ** 2).mean()
    assert histogram_difference(image, other) == pytest.approx(expected)


def choose(frames, seed=0, of=mean_difference, **changes):
    parameters = PatchParameters(**{"size": 32, "crops": 30} | changes)
    return select(frames, parameters, of, np.random.default_rng(seed))


def fates(candidates):
    return [candidate.fate for candidate in candidates]


@pytest.mark.parametrize("values", [(100, 100, 20), (20, 100, 100)])
def test_a_jump_cut_on_either_side_of_the_middle_is_rejected(values):
    assert set(fates(choose(levels(*values), full_motion=1e-9))) == {CUT}


def test_motion_within_a_shot_is_no_cut():
    assert CUT not in fates(choose(moving_frames(3, 96, 96, step=4)))


def test_only_patches_that_a_cut_touches_are_rejected():
    frames = np.repeat(moving_frames(1, 80, 160), 3, axis=0)
    frames[2, :, 80:] = 255 - frames[2, :, 80:]  # the right half changes
    for candidate in choose(frames, of=lambda first, last: 100.0, crops=60):
        if candidate.left + 32 <= 80:
            assert candidate.fate in (KEPT, SURPLUS) and candidate.difference == 0
        elif candidate.left >= 80:
            assert candidate.fate == CUT


@pytest.mark.parametrize("motion", [0.0, 5.0, 12.5, 20.0, 25.0, 80.0])
def test_a_patch_is_accepted_with_probability_motion_over_25_at_most_one(motion):
    parameters = {"crops": 2000, "most": 2000}
    frames = moving_frames(3, 40, 40)
    share = np.mean([f == KEPT for f in fates(choose(frames, of=lambda *_: motion, **parameters))])
    expected = min(1.0, motion / 25)
    assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / 2000)


def test_more_motion_is_kept_more_often():
    def kept(step):
        frames = moving_frames(3, 96, 96, step=step)
        return np.mean([f == KEPT for f in fates(choose(frames, crops=300, most=300))])

    assert kept(0) == 0 < kept(1) < kept(4)


def test_at_most_twenty_are_kept_and_they_are_not_the_first():
    chosen = [fates(choose(moving_frames(3, 40, 40), seed, of=lambda *_: 99.0)) for seed in range(200)]
    assert all(f.count(KEPT) == 20 and f.count(SURPLUS) == 10 for f in chosen)
    share = (np.array(chosen) == KEPT).mean(axis=0)  # of each of the thirty places
    assert (np.abs(share - 2 / 3) < 4 * np.sqrt(2 / 9 / 200)).all()


def test_places_reach_every_corner_and_do_not_depend_on_what_is_found():
    frames = moving_frames(3, 34, 35)
    moving = choose(frames, crops=200, of=lambda *_: 99.0)
    still = choose(frames, crops=200, of=lambda *_: 0.0)
    places = [(c.top, c.left) for c in moving]
    assert set(places) == {(y, x) for y in range(3) for x in range(4)}
    assert places == [(c.top, c.left) for c in still] and set(fates(still)) == {STILL}


def test_the_difference_measure_is_the_mean_absolute_difference_in_levels():
    first, last = levels(10, 250)
    assert mean_difference(first, last) == mean_difference(last, first) == 240
    last = first.copy()
    last[:20] += 8
    assert mean_difference(first, last) == 4


def test_a_measure_that_there_is_not_is_refused():
    with pytest.raises(MediaError, match="unknown motion measure 'speed'; give one of dis, difference"):
        measure("speed")


def test_dis_measures_the_displacement_in_pixels():
    first, last = moving_frames(2, 150, 150, step=5)
    assert measure("dis")(first, last) == pytest.approx(5, abs=0.5)
    assert measure("dis")(first, first) == pytest.approx(0, abs=0.01)


def test_patches_read_back_are_squares_of_the_triplets(here):
    statistics = prepare(here / "out")
    source = open_patches(here / "out")
    assert len(source) == statistics.kept > 0 and statistics.triplets == 10  # two of each clip of seven
    for index in range(len(source)):
        patch = source[index]
        assert patch.shape == (3, 24, 24, 3) and patch.dtype == np.uint8
    rng = np.random.default_rng((0, 4, 3))  # seed, item, first frame
    frames = Clips()[4][3:6]
    kept = [c for c in select(frames, SMALL, mean_difference, rng) if c.fate == KEPT]
    for patch, place in zip(
        [source[i] for i in range(-len(kept) + len(source), len(source))], kept, strict=True
    ):
        np.testing.assert_array_equal(patch, crop(frames, place.top, place.left, 24))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[0], source[0])


@pytest.mark.parametrize("workers", [2, 5])
def test_the_cache_is_the_same_for_any_number_of_workers(here, workers):
    prepare(here / "one", workers=1)
    prepare(here / "many", workers=workers)
    assert contents(here / "one") == contents(here / "many")


def test_another_seed_gives_other_patches(here):
    prepare(here / "a")
    prepare(here / "b", parameters=PatchParameters(**SMALL.__dict__ | {"seed": 1}))
    a, b = open_patches(here / "a"), open_patches(here / "b")
    assert len(a) != len(b) or any((a[i] != b[i]).any() for i in range(len(a)))


def test_an_interrupted_run_leaves_nothing_goes_on_and_ends_the_same(here):
    many = Clips(count=SHARD_ITEMS + 6, frames=3)
    prepare(here / "whole", many)
    read = []

    class Watched(Clips):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    def interrupt(done, total):
        assert total == len(many)
        if done == SHARD_ITEMS + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(here / "out", Watched(len(many), 3), progress=interrupt)
    assert not (here / "out").exists()
    with pytest.raises(MediaError, match="out: holds no patches"):
        open_patches(here / "out")
    read.clear()
    prepare(here / "out", Watched(len(many), 3))
    assert sorted(set(read[:6])) == list(range(SHARD_ITEMS, SHARD_ITEMS + 6))  # the first file is kept
    assert contents(here / "out") == contents(here / "whole")
    assert sorted(path.name for path in here.iterdir()) == ["out", "whole"]


def test_what_a_killed_run_was_writing_is_not_in_the_cache(here):
    (here / ".out.partial").mkdir()
    (here / ".out.partial" / ".parameters.json.0123abcd.partial.json").write_text("{")
    prepare(here / "out")
    assert not [path for path in (here / "out").iterdir() if path.name.startswith(".")]


def test_a_parameter_may_be_infinite(here):
    prepare(here / "out", parameters=PatchParameters(**SMALL.__dict__ | {"cut": float("inf")}))
    assert open_patches(here / "out", {"cut": float("inf")}).size == 24


def test_a_finished_cache_is_recognised_and_read_no_more(here):
    statistics = prepare(here / "out")
    assert prepare(here / "out", Clips(broken=range(5))) == statistics


def test_a_cache_made_with_other_parameters_is_refused_by_name(here):
    prepare(here / "out")
    before = contents(here / "out")
    other = PatchParameters(**SMALL.__dict__ | {"size": 20, "seed": 3})
    with pytest.raises(MediaError, match=r"out: was made with size 24, not 20; seed 0, not 3; .*--overwrite"):
        prepare(here / "out", parameters=other)
    with pytest.raises(MediaError, match="was made with motion 'difference', not 'dis'"):
        open_patches(here / "out", {"motion": "dis"})
    assert contents(here / "out") == before and len(open_patches(here / "out", {"size": 24}))
    prepare(here / "out", parameters=other, overwrite=True)
    assert open_patches(here / "out").size == 20


def test_an_interrupted_run_is_not_continued_with_other_parameters(here):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(here / "out", progress=interrupt)
    other = PatchParameters(**SMALL.__dict__ | {"cut": 0.1})
    with pytest.raises(MediaError, match=r"\.out\.partial: was made with cut 0\.008, not 0\.1"):
        prepare(here / "out", parameters=other)
    prepare(here / "out", parameters=other, overwrite=True)
    assert is_patches(here / "out") and not (here / ".out.partial").exists()


def test_metadata_that_was_changed_is_refused(here):
    prepare(here / "out")
    file = here / "out" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["parameters"]["size"] = 12
    file.write_text(json.dumps(metadata))
    with pytest.raises(MediaError, match=r"metadata\.json: was changed"):
        open_patches(here / "out")
    file.write_text("{")
    with pytest.raises(MediaError, match=r"metadata\.json: is damaged"):
        open_patches(here / "out")


def test_a_truncated_or_missing_file_of_the_cache_is_named(here):
    prepare(here / "out")
    (file,) = (here / "out").glob("*.array_record")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(MediaError, match=rf"{file.name}: is truncated or damaged"):
        open_patches(here / "out")
    file.unlink()
    with pytest.raises(MediaError, match=rf"{file.name}: no such file"):
        open_patches(here / "out")


def test_the_statistics_count_every_patch_once(here):
    statistics = prepare(here / "out")
    assert statistics.candidates == 6 * statistics.triplets == 60
    for fate, histogram in statistics.motion.items():
        assert sum(histogram) == statistics.fates[fate]
    stored = json.loads((here / "out" / "metadata.json").read_text())
    assert stored["statistics"]["fates"] == statistics.fates
    assert stored["parameters"]["motion"] == "difference"


def test_the_contact_sheet_shows_kept_and_rejected_patches(here):
    prepare(here / "out")
    sheet = read_image(here / "out" / "contact_sheet.png")
    assert sheet.shape[1] > 3 * 3 * 96 and np.unique(sheet.reshape(-1, 3), axis=0).shape[0] > 1000


def test_items_that_cannot_be_read_are_skipped_only_when_asked_for(here):
    with pytest.raises(MediaError, match=r"clip3\.mp4: is truncated"):
        prepare(here / "out", Clips(broken=(3,)))
    statistics = prepare(here / "out", Clips(broken=(3,)), skip_bad=True)
    assert statistics.skipped == ["clip3.mp4: is truncated"] and statistics.triplets == 8


def test_frames_smaller_than_a_patch_are_counted_and_an_error_if_all_are(here):
    class Mixed(Clips):
        def __getitem__(self, index):
            frames = super().__getitem__(index)
            return frames[:, :20] if index == 1 else frames

    assert prepare(here / "out", Mixed()).small == 2
    with pytest.raises(MediaError, match="no triplet can be used: 10 are smaller than 50 pixels"):
        prepare(here / "none", parameters=PatchParameters(size=50))
    assert [path.name for path in here.iterdir()] == ["out"]


def test_a_directory_that_is_no_cache_is_never_replaced(here):
    (here / "out").mkdir()
    (here / "out" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(MediaError, match="out: holds no patches"):
            prepare(here / "out", overwrite=overwrite)
    assert (here / "out" / "thesis.tex").exists()


def test_a_cache_without_patches_says_so(here):
    class Still(Clips):
        def __getitem__(self, index):
            return np.repeat(moving_frames(1, 48, 64), 3, axis=0)

    assert prepare(here / "out", Still()).kept == 0 and is_patches(here / "out")
    with pytest.raises(MediaError, match="holds no patches, all were rejected"):
        open_patches(here / "out")


def run(*arguments):
    return command.main([str(argument) for argument in arguments])


def test_the_command_cuts_patches_from_folders_of_triplets(here, capsys):
    for scene in range(3):
        names = ["im1.png", "im2.png", "im3.png"]
        write_frames(moving_frames(3, 48, 64, scene, step=6), here / "data" / f"scene{scene}", names)
    flags = ["--size", 24, "--motion", "difference", "--workers", 2]
    assert run("data", "--out", "patches", *flags) == 0
    out = capsys.readouterr().out
    assert "3 triplets, 90 patches tried" in out and "levels of mean absolute difference" in out
    assert len(open_patches("patches")) > 0
    assert run("data", "--out", "patches", *flags, "--seed", 1) == 1
    assert "was made with seed 0, not 1" in capsys.readouterr().err
    write_frames(moving_frames(1, 48, 65), here / "data" / "scene1", ["im1.png"])
    assert run("data", "--out", "patches", *flags) == 1  # the files are not the same
    assert "was made with source" in capsys.readouterr().err


def test_the_command_cuts_patches_from_built_data_sets(here, capsys):
    write_dummy("clips", here)
    build("clips", here, here / "data")
    flags = ["--data-dir", "data", "--out", "patches", "--size", 32, "--motion", "difference", "--limit", 1]
    assert run("clips", *flags) == 0
    assert "1 items of clips (train)" in capsys.readouterr().out
    assert open_patches("patches")[0].shape == (3, 32, 32, 3)


def test_the_command_says_how_to_leave_out_what_cannot_be_read(here, capsys):
    names = ["im1.png", "im2.png", "im3.png"]
    for scene in range(2):
        write_frames(moving_frames(3, 48, 64, scene), here / "data" / f"scene{scene}", names)
    (here / "data" / "scene1" / "im2.png").write_bytes(b"no picture")
    flags = ["--size", 24, "--motion", "difference", "--full-motion", 0.1]
    assert run("data", "--out", "patches", *flags) == 1
    said = capsys.readouterr().err
    assert "scene1/im2.png: cannot be read" in said and "--skip-bad leaves out" in said
    assert run("data", "--out", "patches", *flags, "--skip-bad") == 0
    assert "1 items left out" in capsys.readouterr().out


def test_the_command_counts_files_that_are_no_video(here, capsys):
    (here / "data").mkdir()
    with VideoWriter(here / "data" / "good.mp4", VideoInfo(64, 48, Fraction(25), chroma="444")) as video:
        for i, frame in enumerate(moving_frames(3, 48, 64, step=6)):
            video.write(Frame(frame, Fraction(i, 25)))
    (here / "data" / "bad.mp4").write_bytes(b"nothing to see")
    flags = ["--out", "patches", "--size", 24, "--motion", "difference"]
    assert run("data", *flags) == 1
    said = capsys.readouterr().err
    assert "bad.mp4: " in said and "--skip-bad leaves out" in said
    assert run("data", *flags, "--skip-bad") == 0
    assert "1 items left out" in capsys.readouterr().out and len(open_patches("patches")) > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_the_same_one_goes_on(here, signals, monkeypatch, capsys, number):
    @contextmanager
    def told(task):
        yield lambda done, total: signal.raise_signal(number)

    for scene in range(2):
        names = ["im1.png", "im2.png", "im3.png"]
        write_frames(moving_frames(3, 48, 64, scene, step=6), here / "data" / f"scene{scene}", names)
    flags = ["data", "--out", "patches", "--size", 24, "--motion", "difference"]
    with monkeypatch.context() as patch:
        patch.setattr(command, "progress", told)
        assert run(*flags) == 128 + number
    assert "interrupted; the same command goes on from here" in capsys.readouterr().err
    assert not (here / "patches").exists()
    assert run(*flags) == 0 and len(open_patches("patches")) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such directory"),
        (["vid4", "--data-dir", "data"], "vid4 is not built"),
        ([".", "--limit", "-1"], "--limit is -1; give 0 or more"),
        ([".", "--workers", "0"], "--workers is 0; give 1 or more"),
    ],
)
def test_mistakes_are_one_clear_message(here, capsys, arguments, message):
    assert run(*arguments, "--out", "patches") == 1
    error = capsys.readouterr().err
    assert error.startswith("datasets.patches: error:") and message in error


@pytest.mark.parametrize("field", ["size", "crops", "most", "full_motion"])
def test_parameters_that_make_no_sense_are_named(here, field):
    with pytest.raises(MediaError, match=f"--{field.replace('_', '-')} is 0"):
        prepare(here / "out", parameters=PatchParameters(**{field: 0}))
