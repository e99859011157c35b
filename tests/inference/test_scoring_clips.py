"""Scores of clips made larger with the frames between: measures, means, baselines, and the command."""

import json

import numpy as np
import pytest
from skimage.data import coffee
from skimage.metrics import structural_similarity

import vfijax
from vfijax.cli import main
from vfijax.cli.contestants import contestants
from vfijax.media import MediaError, write_image
from vfijax.media.bicubic import reduce_bicubic, resize_bicubic
from vfijax.models import create, narrow
from vfijax.scoring import CLIP_MEASURES, find_clip_set, score_clips, score_frame, two_stage

BLEND = create("blend", 0)


def moving(count, height=26, width=37, seed=0):
    """A window that moves over a photograph: uint8 [count, height, width, 3]."""
    left = 20 + 60 * seed
    return np.stack([coffee()[40 : 40 + height, left + 2 * i : left + 2 * i + width] for i in range(count)])


def write(folder, frames):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        write_image(folder / f"{number:03d}.png", np.ascontiguousarray(frame))


@pytest.fixture
def directory(tmp_path):
    """Three clips, of 9, 8 and 7 frames."""
    for i, count in enumerate((9, 8, 7)):
        write(tmp_path / "set" / f"clip{i}", moving(count, seed=i))
    return tmp_path / "set"


def held(small):
    """Every frame enlarged by repetition and shown twice."""
    large = small.repeat(4, axis=1).repeat(4, axis=2)
    return large.repeat(2, axis=0)[:-1]


def test_measures_equal_those_of_scikit_image_and_numpy():
    rng, truth = np.random.default_rng(0), moving(1)[0]
    noisy = np.clip(truth + rng.normal(0, 12, truth.shape), 0, 255).astype(np.uint8)
    weights = np.array([65.481, 128.553, 24.966]) / 255
    grey = [np.float64(frame) @ weights + 16 for frame in (noisy, truth)]
    window = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = {
        "psnr": 10 * np.log10(255**2 / np.square(np.float64(noisy) - truth).mean()),
        "psnr_y": 10 * np.log10(255**2 / np.square(grey[0] - grey[1]).mean()),
        "ssim": structural_similarity(noisy, truth, channel_axis=2, **window),
        "ssim_y": structural_similarity(*grey, **window),
    }
    assert score_frame(noisy, truth) == pytest.approx(expected, rel=2e-5)
    best = score_frame(truth, truth)
    assert best["psnr"] == best["psnr_y"] == np.inf and best["ssim"] == pytest.approx(1)


def test_every_second_reduced_frame_is_the_input_and_all_frames_are_scored(directory):
    given = []

    def method(small):
        given.append(small)
        return held(small)

    report = score_clips(method, find_clip_set(directory, "mine"))
    truth = moving(9)[:, :24, :36]  # cut to multiples of four
    np.testing.assert_array_equal(given[0], [reduce_bicubic(frame, 4) for frame in truth[::2]])
    first = report.chosen("all", "clip0")
    assert [row.about["frame"] for row in first] == list(range(9))
    assert first[3].scores == score_frame(held(given[0])[3], truth[3])
    assert [row.about["frame"] for row in report.chosen("interpolated", "clip0")] == [1, 3, 5, 7]
    assert [row.about["frame"] for row in report.chosen("original", "clip0")] == [0, 2, 4, 6, 8]


def test_means_are_over_the_frames_of_a_clip_and_then_over_clips(directory):
    report = score_clips(held, find_clip_set(directory, "mine"))
    for kind in ("all", "interpolated", "original"):
        for name in CLIP_MEASURES:
            clips = [np.mean([row.scores[name] for row in report.chosen(kind, f"clip{i}")]) for i in range(3)]
            assert report.means(kind)[name] == pytest.approx(np.mean(clips))
    assert report.means("original")["psnr"] > report.means("interpolated")["psnr"]


def test_a_last_frame_without_an_input_after_it_is_dropped_and_said(directory):
    report = score_clips(held, find_clip_set(directory, "mine"))
    assert report.dropped == {"clip1": 1} and report.to_json()["dropped"] == {"clip1": 1}
    assert len(report.rows) == 9 + 7 + 7


def test_published_windows_drop_what_does_not_fill_one(directory):
    report = score_clips(held, find_clip_set(directory, "mine"), window=4)
    assert [len(report.chosen("all", f"clip{i}")) for i in range(3)] == [7, 7, 7]
    assert report.dropped == {"clip0": 2, "clip1": 1}
    with pytest.raises(ValueError, match="clip0: has 9 frames, a published window takes 11"):
        score_clips(held, find_clip_set(directory, "mine"), window=6)


def test_the_stages_follow_one_another_and_agree_for_the_blend_but_for_rounding():
    small = moving(3, 6, 9)
    first, last = (two_stage(BLEND, order, small) for order in ("bicubic", "model"))
    assert first.shape == (5, 24, 36, 3) and first.dtype == np.uint8
    large = np.stack([resize_bicubic(frame, (24, 36)) for frame in small])
    np.testing.assert_array_equal(first[::2], np.rint(np.clip(large, 0, 255)))
    np.testing.assert_array_equal(first[::2], last[::2])
    between = (first[0:4:2].astype(float) + first[2::2]) / 2
    assert np.abs(first[1::2] - between).max() <= 0.5
    assert 0 < np.abs(first[1::2].astype(float) - last[1::2]).max() <= 3


def test_networks_are_rows_as_they_are_and_others_before_and_after_bicubic():
    network = create(narrow("zooming_slowmo", 2, groups=2, blocks=1, ablation="a"), 0)
    names = [c.name for c in contestants({"net": network}, published=False)]
    assert names == ["net", "bicubic, then blend", "blend, then bicubic"]
    assert [c.name for c in contestants({"blend": BLEND}, published=False)] == names[1:]


@pytest.mark.parametrize("published", [False, True])
def test_networks_get_the_windows_of_the_video_command(published):
    network = create(narrow("zooming_slowmo", 2, groups=2, blocks=1, ablation="a"), 0)
    contestant = next(contestants({"net": network}, published))
    small = moving(4, 6, 8)
    # Without a recurrent part a frame does not depend on the windows.
    whole = np.asarray(vfijax.zoom(network, small)).astype(int)
    assert np.abs(contestant.method(small) - whole).max() <= 1
    if not published:
        longer = moving(6, 6, 8)
        assert np.abs(contestant.method(longer) - np.asarray(vfijax.zoom(network, longer), int)).max() <= 1


def test_the_lists_by_motion_choose_septuplets(tmp_path):
    for i in range(3):
        write(tmp_path / "sequences" / "00001" / f"{i:04d}", moving(7, seed=i))
    (tmp_path / "fast_testset.txt").write_text("00001/0002\n00001/0000\n\n")
    assert list(find_clip_set(tmp_path, "fast")) == ["00001/0000", "00001/0002"]
    assert len(find_clip_set(tmp_path, "mine")) == 3
    (tmp_path / "fast_testset.txt").write_text("00001/0009\n")
    with pytest.raises(MediaError, match=r"fast_testset\.txt lists .*0009, which holds 0 of 3 images"):
        find_clip_set(tmp_path, "fast")


# ------------------------------------------------------------------------------------ the command


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def test_a_network_is_scored_beside_the_baselines_and_written_frame_by_frame(directory, tmp_path, capsys):
    network = create(narrow("zooming_slowmo", 2, groups=2, blocks=1, ablation="a"), 0)
    vfijax.save(tmp_path / "net", network)
    out = tmp_path / "scores.json"
    assert evaluate("--model", tmp_path / "net", "--zoom", f"mine={directory}", "--out", out) == 0
    results = json.loads(out.read_text())["results"]
    assert [r["method"].split("/")[-1] for r in results] == [
        "net",
        "bicubic, then blend",
        "blend, then bicubic",
    ]
    assert all(r["clips"] == 3 and len(r["rows"]) == r["frames"] == 23 for r in results)
    assert all(set(r["mean"]) == {"all", "interpolated", "original"} for r in results)
    captured = capsys.readouterr()
    assert f"{results[1]['mean']['interpolated']['psnr_y']:.3f}" in captured.out
    assert "mine: frames at the end of clips that have no score: 1" in captured.err


def test_an_incomplete_set_is_said_to_be_so(directory, capsys):
    assert evaluate("--model", "blend", "--zoom", f"vid4={directory}", "--published-windows") == 0
    assert "vid4 has 24 frames, published means are over 171: not comparable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "blend", "--zoom", "SET"], "give NAME=DIR, such as vid4="),
        (["--model", "blend", "--zoom", "mine=SET/clip0/none"], "no such folder"),
        (["--model", "blend", "--data", "mine=SET", "--published-windows"], "belongs to --zoom"),
        (["--model", "blend", "--zoom", "mine=SET", "--protocol", "upstream"], "leave --protocol"),
    ],
    ids=["name", "folder", "windows", "protocol"],
)
def test_mistakes_in_the_options_give_one_message_before_any_work(directory, capsys, arguments, message):
    assert evaluate(*(argument.replace("SET", str(directory)) for argument in arguments)) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_network_that_enlarges_clips_is_refused_where_pairs_are_scored(directory, tmp_path, capsys):
    vfijax.save(tmp_path / "net", create(narrow("zooming_slowmo", 2, groups=2, blocks=1, ablation="a"), 0))
    write(tmp_path / "pair", moving(3))
    assert evaluate("--model", tmp_path / "net", "--data", f"mine={tmp_path / 'pair'}") == 1
    assert "`vfijax evaluate` with --zoom" in capsys.readouterr().err


def test_clips_whose_frames_differ_in_size_are_named(directory):
    write_image(directory / "clip1" / "003.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(MediaError, match=r"clip1/003\.png: is 20x20 but 000\.png beside it is 37x26"):
        score_clips(held, find_clip_set(directory, "mine"))
