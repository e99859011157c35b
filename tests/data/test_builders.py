import csv
import pickle
import signal
import tempfile
import threading
from contextlib import contextmanager

import absl.logging
import numpy as np
import pytest
from PIL import Image

from datasets import BUILDERS, open_built
from datasets import build as command
from datasets.build import build, main
from datasets.builders.base import numbered
from tests.data.dummy import moving_frames, write_dummy, write_frames
from vfijax.media import MediaError, VideoReader, read_image

# Splits of the dummy data and how many records each has.
DUMMY = {
    "vimeo90k_triplet": {"train": 2, "test": 1},
    "vimeo90k_septuplet": {"train": 1, "test": 2, "test_fast": 1, "test_slow": 1},
    "middlebury": {"test": 2},
    "ucf101_dvf": {"test": 2},
    "davis2016": {"train": 2, "val": 2},
    "davis2017": {"train": 2, "val": 2},
    "vid4": {"test": 4},
    "clips": {"train": 2, "val": 2},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Empty folders for what was downloaded and for what is built; messages are not broken."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("VFIJAX_DEBUG", raising=False)
    (tmp_path / "manual").mkdir()
    return tmp_path


def dummy(name, folder):
    write_dummy(name, folder / "manual")
    return folder / "manual", folder / "data"


def frames_of(item):
    if item.files[0].suffix == ".mp4":
        with VideoReader(item.files[0]) as video:
            return np.stack([frame.image for frame in video])
    return np.stack([read_image(file) for file in item.files])


def test_the_table_holds_every_builder_under_its_own_name():
    assert DUMMY.keys() == BUILDERS.keys()
    assert all(builder.name == name for name, builder in BUILDERS.items())


@pytest.mark.parametrize("name", BUILDERS)
def test_what_is_read_back_are_the_pixels_of_the_files(here, name):
    manual, data = dummy(name, here)
    built = build(name, manual, data)
    sizes = {split: counts[BUILDERS[name].UNIT] for split, counts in built.counts.items()}
    if name == "vid4":
        assert built.counts == {"test": {"sequences": 4, "frames": 12}}
    else:
        assert sizes == DUMMY[name]
    for split, items in BUILDERS[name](data_dir=data).find(manual).items():
        source = open_built(name, data, split)
        assert len(source) == DUMMY[name][split]
        for index, item in enumerate(items):
            np.testing.assert_array_equal(source[index], frames_of(item))
            assert source.name(index) == item.name


def test_the_folder_itself_may_be_named_and_builders_describe_themselves(here):
    dummy("davis2017", here)
    built = build("davis2017", here / "manual" / "DAVIS", here / "data")
    assert built.counts["train"] == {"sequences": 1, "triplets": 2, "frames": 6}
    for name, builder in BUILDERS.items():
        info = builder(data_dir=here / "data").info
        assert "DIR" in builder.MANUAL_DOWNLOAD_INSTRUCTIONS and info.description
        assert name == "clips" or (info.citation and info.homepage)


def test_the_middlebury_layout_with_all_three_frames_in_a_folder_is_read_too(here):
    for scene in ("Venus", "Grove2"):
        names = ["frame10.png", "frame10i11.png", "frame11.png"]
        write_frames(moving_frames(3, 40, 48), here / "manual" / scene, names)
    assert build("middlebury", here / "manual", here / "data").counts["test"]["triplets"] == 2
    source = open_built("middlebury", here / "data", "test")
    assert [source.name(i) for i in range(2)] == ["Grove2", "Venus"]
    np.testing.assert_array_equal(source[0], moving_frames(3, 40, 48))


def test_triplets_of_a_sequence_do_not_overlap_and_leave_the_rest_out(here):
    manual, data = dummy("davis2016", here)  # 7 frames
    build("davis2016", manual, data)
    source = open_built("davis2016", data, "train")
    assert [source.name(i) for i in range(len(source))] == ["bear/00000", "bear/00003"]


def test_clips_of_one_scene_stay_together_and_are_decoded_once(here):
    manual, data = dummy("clips", here)
    build("clips", manual, data)
    rows = csv.DictReader((manual / "index.csv").read_text().splitlines())
    scene = {row["file"]: row["scene"] for row in rows}
    splits = {split: open_built("clips", data, split) for split in ("train", "val")}
    scenes = {s: {scene[source.name(i)] for i in range(len(source))} for s, source in splits.items()}
    assert len(scenes["train"]) == len(scenes["val"]) == 1 and not scenes["train"] & scenes["val"]
    one = splits["train"][0]
    assert splits["train"][0] is one
    tight = open_built("clips", data, "train", cache_bytes=one.nbytes)
    kept = tight[0]
    assert len(tight[1]) == 5 and tight[0] is not kept


def test_a_source_can_be_read_from_threads_and_sent_to_processes(here):
    manual, data = dummy("ucf101_dvf", here)
    build("ucf101_dvf", manual, data)
    source = open_built("ucf101_dvf", data, "test")
    wanted = [source[i] for i in range(2)]
    results = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: source[n % 2]})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, frames in results.items():
        np.testing.assert_array_equal(frames, wanted[n % 2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[1], wanted[1])


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def enlarge(file):
    Image.open(file).resize((456, 256)).save(file)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "is missing"),
        (truncate, r"cannot be read as an image"),
        (lambda file: file.write_bytes(b"not a picture"), r"cannot be read as an image"),
        (enlarge, r"is 456x256, but vimeo90k_triplet has 448x256"),
    ],
)
def test_bad_files_are_named_and_skipped_only_when_asked_for(here, spoil, message):
    manual, data = dummy("vimeo90k_triplet", here)
    file = manual / "vimeo_triplet" / "sequences" / "00002" / "0001" / "im2.png"
    spoil(file)
    with pytest.raises(MediaError, match=rf"1 problem\(s\).*--skip-bad\n  .*0001/im2\.png: {message}"):
        build("vimeo90k_triplet", manual, data)
    assert not list(data.rglob("*"))
    built = build("vimeo90k_triplet", manual, data, skip_bad=True)
    assert built.counts["train"]["triplets"] == 1 and built.counts["test"]["triplets"] == 1
    (skipped,) = built.skipped
    assert str(file) in skipped
    assert build("vimeo90k_triplet", manual, data).skipped == built.skipped  # the note stays


def test_frames_of_one_item_must_have_one_size(here):
    manual, data = dummy("middlebury", here)
    write_frames(moving_frames(1, 64, 64), manual / "other-gt-interp" / "Beanbags", ["frame10i11.png"])
    with pytest.raises(MediaError, match=r"frame10i11\.png: is 64x64, but frame10\.png beside it is 160x120"):
        build("middlebury", manual, data)


def test_many_bad_files_are_counted_and_the_first_twenty_named(here):
    manual, data = dummy("davis2017", here)
    folder = manual / "DAVIS" / "JPEGImages" / "480p" / "bear"
    write_frames(moving_frames(30, 40, 48), folder, [f"{i:05d}.jpg" for i in range(30)])
    for i in range(25):
        (folder / f"{i:05d}.jpg").write_bytes(b"")
    for i in (26, 27):
        (folder / f"{i:05d}.jpg").unlink()
    with pytest.raises(
        MediaError, match=r"2 problem\(s\)[^$]*00026\.jpg: is missing\n.*00027\.jpg: is missi"
    ):
        build("davis2017", manual, data)

    manual = here / "septuplets"
    write_dummy("vimeo90k_septuplet", manual)
    for file in (manual / "vimeo_septuplet").rglob("im*.png"):
        file.unlink()
    with pytest.raises(MediaError) as error:
        build("vimeo90k_septuplet", manual, data)
    assert "21 problem(s)" in str(error.value)  # each file once, though test_fast lists it again
    assert str(error.value).count("is missing") == 20 and str(error.value).endswith("and 1 more")


def test_a_sequence_that_a_list_names_but_that_is_not_there_is_missing(here):
    manual, data = dummy("davis2017", here)
    with (manual / "DAVIS" / "ImageSets" / "2017" / "val.txt").open("a") as file:
        file.write("camel\n")
    with pytest.raises(MediaError, match=r"480p/camel/00000\.jpg: is missing"):
        build("davis2017", manual, data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no video", r"broken\.mp4: cannot be read as video"),
        (None, r"broken\.mp4: cannot be read as video"),  # half of a clip
    ],
)
def test_broken_clips_are_named(here, content, message):
    manual, data = dummy("clips", here)
    (manual / "index.csv").unlink()
    whole = (manual / "clip0.mp4").read_bytes()
    (manual / "broken.mp4").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(MediaError, match=message):
        build("clips", manual, data)
    built = build("clips", manual, data, skip_bad=True)
    assert sum(counts["clips"] for counts in built.counts.values()) == 4 and len(built.skipped) == 1


def test_a_clip_that_the_index_lists_but_that_is_not_there_is_missing(here):
    manual, data = dummy("clips", here)
    (manual / "clip1.mp4").unlink()
    with pytest.raises(MediaError, match=r"clip1\.mp4: is missing"):
        build("clips", manual, data)


def test_numbers_that_are_left_out_of_a_sequence_are_found(tmp_path):
    frames = [tmp_path / f"im{n:03d}.png" for n in (8, 11, 9)]
    assert [frame.name for frame in numbered(frames)] == [f"im{n:03d}.png" for n in (8, 9, 10, 11)]
    others = [tmp_path / "b.png", tmp_path / "a.png"]
    assert numbered(others) == others[::-1]


def test_a_folder_without_clips_is_named_once(here):
    with pytest.raises(MediaError) as caught:
        (here / "manual" / "notes.txt").touch()
        build("clips", here / "manual", here / "data")
    assert str(caught.value).count(str(here)) == 1


def test_a_damaged_description_is_named_with_the_way_out(here):
    manual, data = dummy("middlebury", here)
    (build("middlebury", manual, data).directory / "dataset_info.json").write_text("{")
    with pytest.raises(MediaError, match=r"middlebury: cannot be opened .*build middlebury --overwrite"):
        open_built("middlebury", data, "test")


def test_what_is_not_built_is_said_once_and_not_by_tfds(here, caplog):
    before = absl.logging.get_verbosity()
    with caplog.at_level("WARNING"), pytest.raises(MediaError, match="clips is not built in"):
        open_built("clips", here / "data", "train")
    assert not caplog.records and absl.logging.get_verbosity() == before


def test_building_asks_no_server_and_leaves_nothing_elsewhere(here, monkeypatch):
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    build("vid4", *dummy("vid4", here))
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", BUILDERS)
def test_a_wrong_layout_says_what_is_needed_and_which_archives_are_not_extracted(here, name):
    (here / "manual" / "download.zip").write_bytes(b"PK")
    with pytest.raises(MediaError, match=rf"Extract download\.zip first\. Needed for {name}: .*DIR"):
        build(name, here / "manual", here / "data")
    assert not list((here / "data").rglob("*"))


def interrupt(done, total):
    if done == 2:
        raise KeyboardInterrupt


def test_an_interrupted_build_leaves_nothing_and_can_be_repeated(here):
    manual, data = dummy("vimeo90k_triplet", here)
    with pytest.raises(KeyboardInterrupt):
        build("vimeo90k_triplet", manual, data, progress=interrupt)
    assert not list(data.rglob("*"))
    with pytest.raises(MediaError, match=r"vimeo90k_triplet is not built.*python -m datasets\.build"):
        open_built("vimeo90k_triplet", data, "train")
    killed = data / ".vimeo90k_triplet.partial" / "vimeo90k_triplet" / "incomplete.ABC123_1.0.0"
    killed.mkdir(parents=True)
    assert not build("vimeo90k_triplet", manual, data).was_there
    assert [path.name for path in data.iterdir()] == ["vimeo90k_triplet"]
    assert len(open_built("vimeo90k_triplet", data, "train")) == 2


def test_a_finished_build_is_recognised_and_kept_until_it_is_overwritten(here):
    manual, data = dummy("middlebury", here)
    build("middlebury", manual, data)
    before = open_built("middlebury", data, "test")[0]
    write_frames(moving_frames(1, 120, 160, 3), manual / "other-gt-interp" / "Beanbags", ["frame10i11.png"])
    assert build("middlebury", manual, data).was_there
    np.testing.assert_array_equal(open_built("middlebury", data, "test")[0], before)
    with pytest.raises(KeyboardInterrupt):
        build("middlebury", manual, data, overwrite=True, progress=interrupt)
    np.testing.assert_array_equal(open_built("middlebury", data, "test")[0], before)
    assert not build("middlebury", manual, data, overwrite=True).was_there
    assert (open_built("middlebury", data, "test")[0] != before).any()


def shard(data):
    (file,) = data.rglob("*test.array_record*")
    return file


@pytest.mark.parametrize("length", [0, 100, 70_000, -1])
def test_a_truncated_archive_is_named_when_it_is_opened(here, length):
    manual, data = dummy("vimeo90k_triplet", here)
    build("vimeo90k_triplet", manual, data)
    file = shard(data)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(MediaError, match=rf"{file}: is truncated or damaged .*build it again with") as error:
        open_built("vimeo90k_triplet", data, "test")
    assert "--overwrite" in str(error.value)


def test_a_missing_archive_is_named(here):
    manual, data = dummy("middlebury", here)
    build("middlebury", manual, data)
    shard(data).unlink()
    with pytest.raises(MediaError, match=r"test\.array_record-00000-of-00001: no such file"):
        open_built("middlebury", data, "test")


def test_a_damaged_record_is_named_with_its_number_and_the_others_are_read(here):
    manual, data = dummy("ucf101_dvf", here)
    build("ucf101_dvf", manual, data)
    file = shard(data)
    content = bytearray(file.read_bytes())
    content[40_000] ^= 255  # within the first record
    file.write_bytes(content)
    source = open_built("ucf101_dvf", data, "test")
    with pytest.raises(MediaError, match=rf"{file}, record 0: cannot be read"):
        source[0]
    assert source[1].shape == (3, 256, 256, 3)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("middlebry", "test", "unknown data set 'middlebry'; did you mean 'middlebury'"),
        ("middlebury", "train", "middlebury has no split 'train'; it has test"),
    ],
)
def test_unknown_names_and_splits_are_one_clear_error(here, name, split, message):
    manual, data = dummy("middlebury", here)
    build("middlebury", manual, data)
    with pytest.raises(MediaError, match=message):
        open_built(name, data, split)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_the_command_counts_compares_and_exits_with_zero(here, capsys):
    manual, data = dummy("vid4", here)
    assert run("vid4", "--manual-dir", manual, "--data-dir", data) == 0
    out = capsys.readouterr().out
    assert "test: 4 sequences, 12 frames" in out
    assert "note: test has 12 frames, published are 171: scores are not comparable" in out
    assert run("vid4", "--data-dir", data) == 0
    assert "vid4 is built already" in capsys.readouterr().out


def test_the_command_skips_and_lists_what_it_left_out(here, capsys):
    manual, data = dummy("middlebury", here)
    (manual / "other-gt-interp" / "Beanbags" / "frame10i11.png").unlink()
    assert run("middlebury", "--manual-dir", manual, "--data-dir", data) == 1
    error = capsys.readouterr().err
    assert error.startswith("datasets.build: error: middlebury: 1 problem(s)") and "Traceback" not in error
    assert [line.endswith("frame10i11.png: is missing") for line in error.splitlines()] == [False, True]
    assert run("middlebury", "--manual-dir", manual, "--data-dir", data, "--skip-bad") == 0
    out = capsys.readouterr().out
    assert "left out because of 1 problem(s)" in out and "frame10i11.png: is missing" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the name of a data set, one of vimeo90k_triplet"),
        (["vid5"], "did you mean 'vid4'"),
        (["vid4", "--data-dir", "data"], r"give --manual-dir DIR\.\nvid4\n"),
        (["vid4", "--data-dir", "data", "--manual-dir", "nowhere"], "nowhere: no such directory"),
    ],
)
def test_mistakes_are_one_clear_message(here, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(here)
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert message.replace(r"\.", ".").replace(r"\n", "\n") in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_removes_what_was_begun(here, signals, monkeypatch, capsys, number):
    @contextmanager
    def told(task):
        yield lambda done, total: signal.raise_signal(number)

    manual, data = dummy("vid4", here)
    monkeypatch.setattr(command, "progress", told)
    assert run("vid4", "--manual-dir", manual, "--data-dir", data) == 128 + number
    assert "nothing was left" in capsys.readouterr().err
    assert not list(data.iterdir())


def test_the_list_says_of_every_data_set_where_to_get_it(capsys):
    assert run("--list") == 0
    out = capsys.readouterr().out
    assert all(f"{name}\n" in out for name in BUILDERS) and "tri_trainlist.txt" in out
