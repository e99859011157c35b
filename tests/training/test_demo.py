"""The demonstration: what it makes, and that the model which needs no file is worth showing."""

import itertools
import json
from pathlib import Path

import numpy as np
from PIL import Image

from train import demo
from vfijax.media import VideoReader
from vfijax.models import create


def test_the_drawn_clip_is_interpolated_beside_the_blend_and_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "FRAMES", 9)
    monkeypatch.setattr(demo, "SIZE", 96)
    monkeypatch.setattr(demo, "SHOWN", (1, 5))
    monkeypatch.setattr(demo, "INPUTS", range(0, 8, 8))
    scores = demo.demo(tmp_path, create("flow_medium", 0))
    assert scores["flow_medium"] > scores["blend"]
    assert json.loads((tmp_path / "scores.json").read_text())["psnr"] == scores
    frames = {path.name: len(list(VideoReader(path))) for path in tmp_path.glob("*.mp4")}
    assert frames == {"input.mp4": 5, "interpolated.mp4": 9, "blend.mp4": 9, "side_by_side.mp4": 9}
    assert (tmp_path / "contact_sheet.png").stat().st_size > 1000
    with Image.open(tmp_path / "demo.webp") as film:
        assert film.n_frames == 8 and film.size[0] == 3 * (96 - 40)  # three panels, whose view begins at 40
    assert "PSNR of the 4 new frames" in capsys.readouterr().out


def test_every_frame_of_the_clip_is_another_one():
    clip = demo.drawn_clip()
    assert len(clip) == demo.FRAMES and len(clip) / float(2 * demo.RATE) >= 3
    assert all(np.any(a != b) for a, b in itertools.pairwise(clip))


def test_the_picture_of_the_readme_is_small_and_is_the_animation_of_the_demonstration():
    path = Path(__file__).parents[2] / "docs" / "pictures" / "demo.webp"
    assert path.stat().st_size < 300_000
    with Image.open(path) as film:
        assert film.n_frames == len(demo.INPUTS) * demo.BETWEEN
        inputs = [np.asarray(film.convert("RGB"))[-192:, :192].astype(float)]
        film.seek(demo.BETWEEN)
        inputs.append(np.asarray(film.convert("RGB"))[-192:, :192].astype(float))
    truth = demo.drawn_clip()
    for picture, i in zip(inputs, demo.INPUTS, strict=False):
        assert np.abs(picture - truth[i][demo.VIEW]).mean() < 8  # lossy
