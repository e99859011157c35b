"""What a user may give as a path: an empty string is said to be one, and links are followed."""

import re
from fractions import Fraction

import numpy as np
import pytest

import vfijax
from benchmarks import compare, displacement
from benchmarks import run as bench
from datasets import build
from datasets.patches import __main__ as patches
from datasets.patches import open_patches
from datasets.sources import find_items
from train import ablation, compress, demo, ship
from train import main as training
from vfijax.cli import main
from vfijax.files import behind_link, write_arrays, write_json, write_text
from vfijax.media import (
    Frame,
    ImageFolderReader,
    ImageFolderWriter,
    MediaError,
    VideoInfo,
    VideoReader,
    VideoWriter,
    find_clips,
    find_images,
    find_triplets,
    open_source,
    read_image,
    write_image,
)
from vfijax.models import create
from vfijax.prune.density import density, read_csv
from vfijax.scoring import find_clip_set, find_groups, find_set, score_video
from vfijax.video import interpolate_video

BLEND = create("blend", 0)
INFO = VideoInfo(width=4, height=4, rate=Fraction(24))
IMAGE = np.zeros((4, 4, 3), np.uint8)

FUNCTIONS = {
    "load": vfijax.load,
    "save": lambda path: vfijax.save(path, BLEND),
    "from_torch": lambda path: vfijax.convert.from_torch("cdfi", path),
    "read_image": read_image,
    "write_image": lambda path: write_image(path, IMAGE),
    "VideoReader": VideoReader,
    "VideoWriter": lambda path: VideoWriter(path, INFO),
    "ImageFolderReader": lambda path: ImageFolderReader(path, Fraction(24)),
    "ImageFolderWriter": lambda path: ImageFolderWriter(path, INFO),
    "open_source": open_source,
    "find_images": find_images,
    "find_clips": find_clips,
    "find_triplets": find_triplets,
    "find_set": find_set,
    "find_groups": find_groups,
    "find_clip_set": lambda path: find_clip_set(path, "vid4"),
    "find_items": lambda path: find_items(path, "train"),
    "open_patches": open_patches,
    "interpolate_video, source": lambda path: interpolate_video(path, "out.mp4", BLEND),
    "interpolate_video, target": lambda path: interpolate_video("in.mp4", path, BLEND),
    "score_video": lambda path: score_video(BLEND, path),
    "read_csv": read_csv,
    "write_csv": lambda path: density({"a": np.ones((2, 2))}).write_csv(path),
    "write_text": lambda path: write_text(path, ""),
    "write_json": lambda path: write_json(path, {}),
    "write_arrays": lambda path: write_arrays(path, {}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_that_a_path_is_empty(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"the path is an empty string; name a file or folder"):
        FUNCTIONS[name]("")
    with pytest.raises(TypeError, match=r"the path is int; give a str or a pathlib\.Path"):
        FUNCTIONS[name](3)
    assert list(tmp_path.iterdir()) == []


COMMANDS = [
    (main, ["convert", "cdfi", "", "out"], "argument 2"),
    (main, ["convert", "cdfi", "in.pth", ""], "argument 3"),
    (main, ["interpolate", "", "out.mp4"], "argument 1"),
    (main, ["interpolate", "in.mp4", ""], "argument 2"),
    (main, ["interpolate", "in.mp4", "out.mp4", "--model", ""], "--model"),
    (main, ["interpolate", "in.mp4", "out.mp4", "--model="], "--model"),
    (main, ["zoom", "in.mp4", "", "--model", "x"], "argument 2"),
    (main, ["evaluate", "--video", ""], "--video"),
    (main, ["evaluate", "--data", "a=b", ""], "argument 3"),
    (main, ["evaluate", "--data", "a=b", "--out", ""], "--out"),
    (main, ["prune", "", "out"], "argument 1"),
    (main, ["prune", "in", ""], "argument 2"),
    (main, ["prune", "in", "out", "--csv", ""], "--csv"),
    (training.main, ["--model", "cdfi", "--out", ""], "--out"),
    (training.main, ["--model", "cdfi", "--data.source", ""], "--data.source"),
    (training.main, ["--model", "cdfi", "--init-from="], "--init-from"),
    (compress.main, ["--from", ""], "--from"),
    (ablation.main, ["losses", "--out", ""], "--out"),
    (ablation.main, ["motion", "--out", ""], "--out"),
    (build.main, ["davis", "--manual-dir", ""], "--manual-dir"),
    (patches.main, ["", "out"], "argument 1"),
    (compare.main, ["", "new.json"], "argument 1"),
    (displacement.main, ["--out", ""], "--out"),
    (bench.main, ["--markdown", ""], "--markdown"),
]


def named(value):
    """A function by its module: the place in memory that `str` gives differs between workers."""
    return getattr(value, "__module__", str(value))


@pytest.mark.parametrize(("program", "arguments", "name"), COMMANDS, ids=named)
def test_a_command_says_which_argument_is_empty(program, arguments, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert re.search(rf"error: {name} is an empty string; give a value", captured.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [demo, ship])
def test_so_do_programs_without_arguments_of_their_own(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["program", "--out", ""])
    assert program.main() == 1
    assert "--out is an empty string" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------ links


def write_video(path):
    with VideoWriter(path, INFO) as video:
        video.write(Frame(IMAGE, Fraction(0)))
        video.write(Frame(IMAGE, Fraction(1, 24)))


def write_folder(path):
    with ImageFolderWriter(path, INFO) as folder:
        folder.write(Frame(IMAGE, Fraction(0)))


WRITERS = {
    "text.txt": lambda path: write_text(path, "new"),
    "picture.png": lambda path: write_image(path, IMAGE),
    "video.mp4": write_video,
    "frames": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_link_names_is_written_and_the_link_stays(tmp_path, name):
    (tmp_path / "disk").mkdir()
    link, place = tmp_path / name, tmp_path / "disk" / name
    link.symlink_to(place)
    WRITERS[name](link)
    assert link.is_symlink() and link.resolve() == place and place.exists()
    assert [path.name for path in place.parent.iterdir()] == [name]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "disk"])


def test_a_link_that_leads_back_to_itself_cannot_be_written(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="loop: it is a symbolic link that leads back to itself"):
        write_text(tmp_path / "loop", "")
    assert behind_link(tmp_path / "other") == tmp_path / "other"


def test_a_media_error_is_what_media_raise():
    with pytest.raises(MediaError):
        read_image("")
