"""`vfijax evaluate`: what it prints and writes, and how it fails."""

import json
from fractions import Fraction

import numpy as np
import pytest
from skimage.data import coffee

import vfijax
from vfijax.cli import main
from vfijax.media import Frame, VideoInfo, VideoReader, VideoWriter, find_triplets, read_image, write_image
from vfijax.scoring import score_triplets

NAMES = ("frame10.png", "frame10i11.png", "frame11.png")


@pytest.fixture
def directory(tmp_path):
    for number in range(3):
        folder = tmp_path / "set" / f"scene{number}"
        folder.mkdir(parents=True)
        for i, name in enumerate(NAMES):
            left = 100 * number + (number + 1) * i
            write_image(folder / name, coffee()[100:140, left : left + 48])
    return tmp_path / "set"


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, VideoInfo(48, 40, Fraction(25))) as writer:
        for i in range(7):
            image = np.ascontiguousarray(coffee()[100:140, 3 * i : 3 * i + 48])
            writer.write(Frame(image, Fraction(i, 25), Fraction(1, 25)))
    return path


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def test_a_set_is_scored_printed_and_written(directory, tmp_path, capsys):
    assert evaluate("--model", "blend", "--data", f"mine={directory}", "--out", tmp_path / "out") == 0
    means = score_triplets(vfijax.create("blend", 0), find_triplets(directory)).means
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("mine", "scene0", "scene1", "scene2"))
    assert f"{means['psnr']:.3f}" in printed and f"{means['ssim']:.5f}" in printed
    stored = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert set(stored["environment"]) >= {"vfijax", "jax", "device"}
    (result,) = stored["results"]
    assert result["data"] == "mine" and result["checkpoint"] == "blend"
    assert result["protocol"]["name"] == "published"
    assert result["mean"] == pytest.approx(means)
    assert len(result["rows"]) == 3


def test_scores_and_pictures_that_are_there_are_replaced_only_where_that_is_asked_for(
    directory, clip, tmp_path, capsys
):
    out, compare = tmp_path / "out", tmp_path / "compare.mp4"
    given = ["--model", "blend", "--data", f"mine={directory}", "--video", clip, "--worst", "1"]
    given += ["--compare", compare, "--out", out]
    assert evaluate(*given) == 0
    made = [out / "scores.json", out / "clip_psnr.png", out / "worst" / "mine_blend", compare]
    for path in made:
        path.rename(tmp_path / f"aside_{path.name}")
    for path in made:  # each is refused for itself
        (tmp_path / f"aside_{path.name}").rename(path)
        assert evaluate(*given) == 1
        assert f"{path} exists; give another name, or --overwrite to replace it" in capsys.readouterr().err
        path.rename(tmp_path / f"aside_{path.name}")
    (tmp_path / "aside_scores.json").rename(made[0])
    assert evaluate(*given, "--overwrite") == 0
    assert all(path.exists() for path in made)


def test_several_models_and_sets_give_a_comparison(directory, tmp_path, capsys):
    vfijax.save(tmp_path / "checkpoint", vfijax.create("blend", 0))
    sets = [f"mine={directory}", f"again={directory}"]
    models = ["blend", tmp_path / "checkpoint"]
    out = tmp_path / "scores.json"
    assert evaluate("--model", *models, "--data", *sets, "--protocol", "upstream", "--out", out) == 0
    results = json.loads(out.read_text())["results"]
    assert [(r["data"], r["checkpoint"]) for r in results] == [
        (name, str(model)) for name in ("mine", "again") for model in models
    ]
    assert len({r["mean"]["psnr"] for r in results}) == 1
    assert all(set(r["mean"]) == {"psnr"} for r in results)
    printed = capsys.readouterr().out
    assert "Mean over frames" in printed
    assert printed.count(f"│ {tmp_path / 'checkpoint'} │") == 2  # whole, where no terminal is


def test_the_worst_frames_are_written_as_pictures(directory, tmp_path):
    arguments = ["--model", "blend", "--data", f"mine={directory}", "--out", tmp_path / "out", "--worst", "2"]
    assert evaluate(*arguments) == 0
    pictures = sorted((tmp_path / "out" / "worst" / "mine_blend").iterdir())
    assert [path.name[:2] for path in pictures] == ["01", "02"]
    assert read_image(pictures[0]).shape[1] == 3 * 48


def test_an_incomplete_benchmark_set_is_said_to_be_not_comparable(directory, tmp_path, capsys):
    data = f"middlebury={directory}"
    assert evaluate("--model", "blend", "--data", data, "--out", tmp_path / "o.json") == 0
    assert "middlebury has 3 triplets, published means are over 12" in capsys.readouterr().err
    assert json.loads((tmp_path / "o.json").read_text())["results"][0]["comparable"] is False


def test_a_video_is_scored_with_curve_and_comparison(clip, tmp_path, capsys):
    out, compare = tmp_path / "out", tmp_path / "compare.mp4"
    assert evaluate("--model", "blend", "--video", clip, "--out", out, "--compare", compare) == 0
    assert sorted(path.name for path in out.iterdir()) == ["clip_psnr.png", "scores.json"]
    assert read_image(out / "clip_psnr.png").shape[2] == 3
    (result,) = json.loads((out / "scores.json").read_text())["results"]
    assert [row["frame"] for row in result["rows"]] == [1, 3, 5]
    with VideoReader(compare) as reader:
        assert len(list(reader)) == 7
    assert "frame 5" in capsys.readouterr().out


def remove_scenes(directory):
    for file in directory.rglob("*.png"):
        file.unlink()


def change_size(directory):
    write_image(directory / "scene1" / "frame11.png", np.zeros((20, 20, 3), np.uint8))


def cut_off(directory):
    file = directory / "scene1" / "frame10.png"
    file.write_bytes(file.read_bytes()[:200])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_scenes, "no triplets found"),
        (change_size, "frame11.png is 20x20"),
        (cut_off, "scene1/frame10.png"),
    ],
    ids=["empty", "sizes", "truncated"],
)
def test_data_that_cannot_be_scored_gives_one_message(directory, capsys, spoil, message):
    spoil(directory)
    assert evaluate("--model", "blend", "--data", f"mine={directory}") == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "blend"], "nothing to score"),
        (["--model", "blend", "--data", "SET"], "give NAME=DIR"),
        (["--model", "blend", "--data", "mine=SET/none"], "no such folder"),
        (["--model", "blend", "--data", "mine=SET", "mine=SET"], "given twice"),
        (["--model", "blend", "--data", "mine=SET", "--worst", "3"], "--out DIR"),
        (["--model", "blend", "--data", "mine=SET", "--compare", "a.mp4"], "--video"),
        (["--model", "blend", "--video", "SET/none.mp4"], "no such file"),
        (["--model", "blend", "--data", "mine=SET", "--out", "SET/scene0/frame10.png"], "is a file"),
        (["--model", "SET/none", "--data", "mine=SET"], "no such checkpoint"),
        (["--model", "blend", "--data", "mine=SET", "--factor", "4"], "--factor 4 belongs to --video"),
    ],
    ids=lambda value: " ".join(value)[-30:] if isinstance(value, list) else "",
)
def test_mistakes_in_the_options_give_one_message_before_any_work(directory, capsys, arguments, message):
    assert evaluate(*(argument.replace("SET", str(directory)) for argument in arguments)) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


def test_what_was_scored_before_a_failure_is_kept(directory, tmp_path):
    bad = tmp_path / "bad" / "scene"
    bad.mkdir(parents=True)
    for name in NAMES:
        (bad / name).write_bytes(b"no image")
    out = tmp_path / "scores.json"
    assert evaluate("--model", "blend", "--data", f"good={directory}", f"bad={bad.parent}", "--out", out) == 1
    assert [r["data"] for r in json.loads(out.read_text())["results"]] == ["good"]
