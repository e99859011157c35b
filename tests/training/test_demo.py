"""The demonstration: what it makes, and that the model which needs no file is worth showing."""

import itertools
import json

import numpy as np

from train import demo
from vfijax.media import VideoReader
from vfijax.models import create


def test_the_drawn_clip_is_interpolated_beside_the_blend_and_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "FRAMES", 9)
    monkeypatch.setattr(demo, "SIZE", 96)
    monkeypatch.setattr(demo, "SHOWN", (1, 5))
    scores = demo.demo(tmp_path, create("flow_medium", 0))
    assert scores["flow_medium"] > scores["blend"]
    assert json.loads((tmp_path / "scores.json").read_text())["psnr"] == scores
    frames = {path.name: len(list(VideoReader(path))) for path in tmp_path.glob("*.mp4")}
    assert frames == {"input.mp4": 5, "interpolated.mp4": 9, "blend.mp4": 9, "side_by_side.mp4": 9}
    assert (tmp_path / "contact_sheet.png").stat().st_size > 1000
    assert "PSNR of the 4 new frames" in capsys.readouterr().out


def test_every_frame_of_the_clip_is_another_one():
    clip = demo.drawn_clip()
    assert len(clip) == demo.FRAMES and len(clip) / float(2 * demo.RATE) >= 3
    assert all(np.any(a != b) for a, b in itertools.pairwise(clip))
