"""Scores on triplets: protocols, order, errors, pictures and JSON."""

import json
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

import vfijax
from vfijax.files import write_json
from vfijax.levels import rounded
from vfijax.media import MediaError, read_image, write_image
from vfijax.media.sheet import error_picture
from vfijax.models import ModelConfig
from vfijax.scoring import Report, Row, find_set, score_triplets, write_worst
from vfijax.scoring.protocols import PROTOCOLS, predict

PHOTOGRAPHS = (data.astronaut, data.coffee, data.chelsea)
SIZES = ((40, 56), (40, 56), (33, 48))


class Constant(nn.Module):
    """Adds a number to the first frame."""

    number: float

    @nn.compact
    def __call__(self, f0, f1):
        return f0 + self.number, {"offsets": (), "masks": {}, "warped": ()}


@dataclass(frozen=True)
class ConstantConfig(ModelConfig):
    number: float = 0.0

    architecture: ClassVar[str] = "constant"

    def module(self, implementation="auto", reference_grads=False):
        return Constant(self.number)


def first_frame_plus(number):
    return vfijax.ModelParams({}, ConstantConfig("constant", number))


def write_triplet(folder, number, size=(40, 56), motion=2):
    """A photograph under a moving window."""
    folder.mkdir(parents=True)
    photograph = PHOTOGRAPHS[number % 3]()
    for i, name in enumerate(("frame10.png", "frame10i11.png", "frame11.png")):
        top, left = 60 + motion * i, 90 + 2 * motion * i
        write_image(folder / name, photograph[top : top + size[0], left : left + size[1]])


@pytest.fixture
def directory(tmp_path):
    for number, size in enumerate(SIZES):
        write_triplet(tmp_path / "set" / f"scene{number}", number, size, motion=number + 1)
    return tmp_path / "set"


@pytest.fixture
def blend():
    return vfijax.create("blend", 0)


def float_images(triplet):
    paths = (triplet.first, triplet.middle, triplet.last)
    return [read_image(path).astype(np.float32) / 255 for path in paths]


def test_published_scores_are_those_of_the_frame_rounded_to_8_bits(directory, blend):
    report = score_triplets(blend, find_set(directory))
    for triplet, row in zip(find_set(directory), report.rows, strict=True):
        first, truth, last = float_images(triplet)
        # The average of 8-bit frames lies on a tie in every second pixel; ties go to even.
        levels = [np.rint(frame.astype(float) * 255) for frame in (first, last)]
        rounded = (np.rint(sum(levels) / 2) / 255).astype(np.float32)
        error = rounded.astype(float) - truth
        assert row.scores["psnr"] == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-4)
        expected = structural_similarity(rounded, truth, data_range=1, channel_axis=-1)
        assert row.scores["ssim"] == pytest.approx(float(expected), abs=1e-5)
        assert row.scores["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
        assert row.scores["mean_absolute_error"] == pytest.approx(np.abs(error).mean(), rel=1e-5)


def test_ties_of_the_blend_go_to_the_even_level(blend):
    low = np.arange(255, dtype=np.uint8).repeat(3).reshape(15, 17, 3)
    tie = np.asarray(predict(blend, low, low + 1))  # every level and a half from 0.5 to 254.5
    expected = low + low % 2
    np.testing.assert_array_equal(rounded(tie), expected)
    # Away from ties it is the published rounding, also for values outside the range.
    frame = np.random.default_rng(0).uniform(-0.1, 1.1, (20, 20, 3)).astype(np.float32)
    published = np.floor(np.clip(frame, 0, 1) * 255 + 0.5)
    np.testing.assert_array_equal(rounded(frame), published)


def test_upstream_scores_are_the_psnr_of_the_raw_frame_alone(directory, blend):
    report = score_triplets(blend, find_set(directory), protocol="upstream")
    for triplet, row in zip(find_set(directory), report.rows, strict=True):
        first, truth, last = float_images(triplet)
        raw = ((first + last) / 2).astype(float)
        assert row.scores == {"psnr": pytest.approx(-10 * np.log10(((raw - truth) ** 2).mean()), abs=1e-4)}


def test_only_the_published_protocol_clips_values_outside_the_range(tmp_path):
    (tmp_path / "white").mkdir()
    for name in ("1.png", "2.png", "3.png"):
        write_image(tmp_path / "white" / name, np.full((16, 16, 3), 255, np.uint8))
    triplets = find_set(tmp_path)
    assert score_triplets(first_frame_plus(0.5), triplets).means["psnr"] == np.inf
    upstream = score_triplets(first_frame_plus(0.5), triplets, protocol="upstream")
    assert upstream.means["psnr"] == pytest.approx(-20 * np.log10(0.5), abs=1e-4)


def test_the_mean_is_that_of_the_per_image_scores_in_decibels(directory, blend):
    report = score_triplets(blend, find_set(directory))
    for measure in PROTOCOLS["published"].measures:
        assert report.means[measure] == pytest.approx(np.mean([row.scores[measure] for row in report.rows]))


def test_scores_do_not_depend_on_the_order_of_the_triplets(directory, blend):
    triplets = find_set(directory)
    forward, backward = score_triplets(blend, triplets), score_triplets(blend, triplets[::-1])
    assert forward.rows == backward.rows[::-1]
    assert forward.means == backward.means


def test_rows_carry_name_and_size_in_the_given_order(directory, blend):
    report = score_triplets(blend, find_set(directory))
    assert [row.name for row in report.rows] == ["scene0", "scene1", "scene2"]
    assert [(row.about["height"], row.about["width"]) for row in report.rows] == list(SIZES)


def test_progress_counts_every_triplet(directory, blend):
    calls = []
    score_triplets(blend, find_set(directory), progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_of_vimeo_only_the_test_list_is_scored(tmp_path):
    for number in range(3):
        write_triplet(tmp_path / "sequences" / "00001" / f"000{number}", number)
    (tmp_path / "tri_trainlist.txt").write_text("00001/0000\n00001/0002\n")
    (tmp_path / "tri_testlist.txt").write_text("00001/0001\n")
    assert [triplet.name for triplet in find_set(tmp_path)] == ["00001/0001"]


def test_equal_frames_give_infinite_psnr_which_json_spells_out(tmp_path, blend):
    write_triplet(tmp_path / "set" / "still", 0, motion=0)
    report = score_triplets(blend, find_set(tmp_path / "set"))
    assert report.means["psnr"] == np.inf and report.means["ssim"] == pytest.approx(1)
    write_json(tmp_path / "scores.json", report.to_json())
    assert json.loads((tmp_path / "scores.json").read_text())["mean"]["psnr"] == "inf"


def test_json_holds_model_protocol_means_and_rows(directory, tmp_path, blend):
    report = score_triplets(blend, find_set(directory))
    write_json(tmp_path / "scores.json", report.to_json())
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored["model"] == {"architecture": "blend", "name": "blend"}
    assert stored["protocol"]["name"] == "published"
    assert stored["frames"] == 3
    assert stored["mean"] == pytest.approx(report.means)
    assert stored["rows"][2] == {"name": "scene2", "height": 33, "width": 48, **report.rows[2].scores}


def test_json_that_cannot_be_written_leaves_the_older_file_and_nothing_else(tmp_path):
    write_json(tmp_path / "scores.json", {"kept": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "scores.json", {"no json": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    assert json.loads((tmp_path / "scores.json").read_text()) == {"kept": 1}


def test_the_worst_frames_have_the_lowest_psnr():
    rows = tuple(Row(f"row{i}", {"psnr": psnr}) for i, psnr in enumerate((30.0, 20.0, np.inf, 25.0)))
    report = Report(ConstantConfig("constant"), PROTOCOLS["upstream"], rows)
    assert [row.name for row in report.worst(3)] == ["row1", "row3", "row0"]


def test_the_worst_frames_become_pictures_that_show_inputs_truth_prediction_and_error(directory, tmp_path):
    params, triplets = first_frame_plus(0.0), find_set(directory)
    report = score_triplets(params, triplets)
    files = write_worst(tmp_path / "worst", params, triplets, report, 2)
    worst = min(report.rows, key=lambda row: row.scores["psnr"])
    assert [path.name[:2] for path in files] == ["01", "02"] and worst.name in files[0].name
    assert sorted((tmp_path / "worst").iterdir()) == sorted(files)
    picture = read_image(files[0])
    height, width = worst.about["height"], worst.about["width"]
    caption = picture.shape[0] // 2 - height
    panels = [
        [picture[top : top + height, width * column :][:, :width] for column in range(3)]
        for top in (caption, 2 * caption + height)
    ]
    triplet = next(t for t in triplets if t.name == worst.name)
    first, truth, last = (read_image(path) for path in (triplet.first, triplet.middle, triplet.last))
    for found, expected in zip(panels[0], (first, truth, last), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(panels[1][1], first)  # what this model predicts
    np.testing.assert_array_equal(panels[1][2], error_picture(first, truth))


def test_the_error_picture_is_four_times_the_absolute_error():
    prediction, truth = np.uint8([[[10, 200, 0]]]), np.uint8([[[13, 100, 0]]])
    np.testing.assert_array_equal(error_picture(prediction, truth), [[[12, 255, 0]]])


def test_sizes_that_disagree_inside_a_triplet_name_the_files(directory, blend):
    write_image(directory / "scene1" / "frame11.png", np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(MediaError, match=r"scene1: .*frame10i11.png is 56x40, frame11.png is 50x40"):
        score_triplets(blend, find_set(directory))


def test_an_unreadable_image_is_named(directory, blend):
    (directory / "scene1" / "frame11.png").write_bytes(b"no image")
    with pytest.raises(MediaError, match=r"scene1/frame11.png"):
        score_triplets(blend, find_set(directory))


def test_frames_too_small_for_ssim_are_refused_and_can_be_scored_upstream(tmp_path, blend):
    write_triplet(tmp_path / "tiny", 0, size=(6, 20))
    with pytest.raises(MediaError, match="tiny: frames of 20x6 are too small to score; give 7x7"):
        score_triplets(blend, find_set(tmp_path))
    assert score_triplets(blend, find_set(tmp_path), protocol="upstream").means["psnr"] > 5


def test_predictions_that_are_not_finite_are_an_error_and_no_score(directory):
    with pytest.raises(ValueError, match="scene0: the predicted frame holds NaN"):
        score_triplets(first_frame_plus(float("inf")), find_set(directory))


def test_unknown_protocols_and_empty_sets_are_refused(directory, blend):
    with pytest.raises(ValueError, match="protocol is 'mine'; give one of published, upstream"):
        score_triplets(blend, find_set(directory), protocol="mine")
    with pytest.raises(ValueError, match="no triplets"):
        score_triplets(blend, [])
