"""The programs in `examples/` and the notebook do what they say; small sizes."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

import vfijax
from examples import compress_and_compare, interpolate_photographs, train_on_clips
from tests.training.tiny import CONFIG, TinyConfig
from vfijax.media import VideoReader, read_image, write_image
from vfijax.models import ARCHITECTURES

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_two_photographs_get_frames_between_them_and_a_film(tmp_path, capsys):
    first, last = (view[:160, :240] for view in interpolate_photographs.two_views())
    paths = [str(tmp_path / name) for name in ("first.png", "last.png")]
    for path, photograph in zip(paths, (first, last), strict=True):
        write_image(path, photograph)
    out = tmp_path / "between"
    interpolate_photographs.main([*paths, "--frames", "3", "--out", str(out)])
    frames = [read_image(path) for path in sorted(out.glob("*.png"))]
    assert len(frames) == 5 == len(list(VideoReader(out / "film.mp4")))
    np.testing.assert_array_equal(frames[0], first)
    np.testing.assert_array_equal(frames[-1], last)
    # The camera has gone half of its way: 6 pixels down and 12 to the right.
    error, unmoved = (
        np.abs(frames[2][24:-24, 24:-24].astype(int) - view[24:-24, 24:-24]).mean()
        for view in (np.roll(first, (-6, -12), (0, 1)), first)
    )
    assert error < 1 < 20 < unmoved
    assert "3 frames between two" in capsys.readouterr().out


def test_one_photograph_is_refused(capsys):
    with pytest.raises(SystemExit):
        interpolate_photographs.main(["one.png"])
    assert "give two photographs" in capsys.readouterr().err


def test_a_network_is_trained_on_drawn_clips(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_on_clips, "narrow", lambda name, width: TinyConfig("tiny"))
    monkeypatch.setitem(train_on_clips.PRESETS, "demo", CONFIG)
    out = tmp_path / "run"
    train_on_clips.main(["--steps", "2", "--out", str(out)])
    assert vfijax.load(out / "model").config == TinyConfig("tiny")
    assert json.loads((out / "run.json").read_text())["config"]["data"]["source"] == f"{out}_clips"
    assert len(list(VideoReader(tmp_path / "run_clips" / "00.mp4"))) == 9
    assert f"trained on {out}_clips" in capsys.readouterr().out


def documented_network(monkeypatch):
    """The network of three layers in docs/pruning.md, made known so that it can be stored."""
    text = (EXAMPLES.parent / "docs" / "pruning.md").read_text()
    network, imports = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names = {"__name__": "documented"}
    exec(imports + network, names)
    monkeypatch.setitem(ARCHITECTURES, "mine", names["MineConfig"])
    return names["params"]


def test_a_network_is_made_smaller_and_both_are_scored(tmp_path, monkeypatch, capsys):
    (scene,) = compress_and_compare.drawn(1)
    monkeypatch.setattr(compress_and_compare, "drawn", lambda: [tuple(frame[:64, :64] for frame in scene)])
    model, small = tmp_path / "model", tmp_path / "small"
    vfijax.save(model, documented_network(monkeypatch))
    scores = compress_and_compare.main(["--model", str(model), "--ratio", "0.5", "--out", str(small)])
    assert scores.keys() == {"before", "after", "blend"} and scores["blend"] > 15
    assert dict(vfijax.load(small).config.widths) == {"a": 8, "b": 12}
    shown = capsys.readouterr().out
    assert "multiply-adds" in shown and re.search(r"PSNR over 1 triplets: before [\d.]+ dB", shown)


def test_triplets_of_a_folder_are_scored(tmp_path):
    for i, picture in enumerate(compress_and_compare.drawn(1)[0]):
        (tmp_path / "scene").mkdir(exist_ok=True)
        write_image(tmp_path / "scene" / f"{i}.png", picture)
    (found,) = compress_and_compare.read(tmp_path)
    np.testing.assert_array_equal(found, compress_and_compare.drawn(1)[0])


def test_the_notebook_runs_and_its_stored_pictures_are_small():
    path = EXAMPLES / "interpolate.ipynb"
    assert path.stat().st_size < 300_000
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [bool(cell["outputs"]) for cell in cells] == [False] + [True] * (len(cells) - 1)
    names, shown = {"__name__": "notebook"}, []
    for cell in cells:
        tree = ast.parse("".join(cell["source"]).replace("size=224", "size=96").replace("=24.0", "=8.0"))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), names))
    assert len(shown) == len(cells) - 1
    for picture in shown:
        assert (
            picture.array.shape[0] == 96 and picture.array.dtype == np.uint8 and np.ptp(picture.array) > 100
        )
        assert picture._repr_jpeg_().startswith(b"\xff\xd8")
    assert np.abs(names["error"]).mean() < 0.05 and names["motion"].shape == (1, 4, 2, 96, 96)
