"""Every protocol against an independent calculation with NumPy and scikit-image, and what is scored."""

import json
import random

import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import vfijax
from vfijax.cli import main
from vfijax.levels import truncated
from vfijax.media import MediaError, read_image, write_image
from vfijax.scoring import find_groups, find_set, sample, score_triplets, write_worst
from vfijax.scoring.protocols import MEASURES, PROTOCOLS, measure

FRAME = np.random.default_rng(0).uniform(-0.2, 1.2, (40, 56, 3)).astype(np.float32)
TRUTH = np.ascontiguousarray(data.chelsea()[90:130, 120:176])
DARK = TRUTH // 2  # its maximum is not 255, so that the peak shows


def near(truth, spread=0.05):
    """A prediction like the truth, with values beyond [0, 1]."""
    noise = np.random.default_rng(1).normal(0, spread, truth.shape)
    return (truth / 255 + noise).astype(np.float32)


def levels_of(frame):
    return (np.clip(frame, 0, 1) * np.float32(255)).astype(np.uint8)


def gaussian_ssim(x, y):
    """By definition, pixel by pixel of an image padded with zeros: 11x11 window, sigma 1.5."""
    bell = np.exp(-np.square(np.arange(11) - 5) / 4.5)
    window = np.outer(bell, bell) / bell.sum() ** 2
    views = (
        np.lib.stride_tricks.sliding_window_view(np.pad(image, ((5, 5), (5, 5), (0, 0))), (11, 11), (0, 1))
        for image in (x, y)
    )
    x, y = views
    mx, my = ((v * window).sum((-1, -2)) for v in (x, y))
    vx, vy = ((v * v * window).sum((-1, -2)) - m**2 for v, m in ((x, mx), (y, my)))
    cov = (x * y * window).sum((-1, -2)) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def expected(protocol, frame, truth):
    """What a protocol's words say, in float64."""
    clipped, true = np.clip(frame, 0, 1), truth / 255
    rounded = np.floor(clipped.astype(float) * 255 + 0.5).astype(np.uint8)
    cut = levels_of(frame)
    error = {
        name: np.square(image - true).mean()
        for name, image in {"raw": frame.astype(float), "nearest": rounded / 255, "cut": cut / 255}.items()
    }
    peak = -10 * np.log10(error["raw"]) + 20 * np.log10(true.max())
    return {
        "published": {
            "psnr": peak_signal_noise_ratio(truth, rounded),
            "ssim": structural_similarity(truth, rounded, channel_axis=-1),
            "rmse": np.sqrt(error["nearest"]),
            "mean_absolute_error": np.abs(rounded / 255 - true).mean(),
        },
        "upstream": {"psnr": -10 * np.log10(error["raw"])},
        "target-max": {"psnr": peak, "ssim_gaussian": gaussian_ssim(frame.astype(float), true)},
        "target-max-8bit": {
            "psnr": 10 * np.log10(true.max() ** 2 / error["cut"]),
            "ssim_gaussian": gaussian_ssim(cut / 255, true),
        },
        "sepconv": {
            "psnr": peak_signal_noise_ratio(truth, cut, data_range=255),
            "ssim": structural_similarity(truth, cut, data_range=255, channel_axis=-1),
        },
        "sepconv-report": {
            "psnr": 20 * np.log10(255 / (255 * np.sqrt(error["nearest"]))),
            "ssim": structural_similarity(truth, rounded, channel_axis=-1),
            "rmse_255": 255 * np.sqrt(error["nearest"]),
        },
    }[protocol]


@pytest.mark.slow
@pytest.mark.parametrize("truth", [TRUTH, DARK], ids=["bright", "dark"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_scores_are_those_that_the_words_of_the_protocol_say(name, truth):
    for frame in (near(truth), near(truth, 0.004), FRAME):
        scores = measure(frame, truth, PROTOCOLS[name], "frame")
        assert scores == pytest.approx(expected(name, frame, truth), abs=2e-4, rel=2e-5)


def test_measures_are_listed_and_every_one_is_used():
    used = {name for protocol in PROTOCOLS.values() for name in protocol.measures}
    assert used == set(MEASURES)
    assert [protocol.name for protocol in PROTOCOLS.values()] == list(PROTOCOLS)


def test_truncation_drops_the_fraction_and_rounding_does_not():
    frame = np.float32([[[-0.1, 0.9, 1.3], [99.99 / 255, 100.01 / 255, 254.9 / 255]]])
    np.testing.assert_array_equal(truncated(frame), [[[0, 229, 255], [99, 100, 254]]])


def test_truncation_costs_what_half_a_level_costs():
    frame = TRUTH.astype(np.float32) / 255 + np.float32(0.6 / 255)  # six tenths above every level
    psnr = {name: measure(frame, TRUTH, PROTOCOLS[name], "")["psnr"] for name in ("published", "sepconv")}
    assert psnr["sepconv"] == np.inf and psnr["published"] == pytest.approx(20 * np.log10(255), abs=0.1)


@pytest.fixture
def blend():
    return vfijax.create("blend", 0)


@pytest.fixture
def sequences(tmp_path):
    """Folders of 7, 3, 2 and 6 frames."""
    for name, count in {"bear": 7, "boat": 3, "cat": 2, "dog/run": 6}.items():
        folder = tmp_path / "480p" / name
        folder.mkdir(parents=True)
        for i in range(count):
            place = 20 * len(name) + 2 * i
            write_image(folder / f"{i:05d}.png", data.coffee()[place : place + 44, place : place + 61])
    (tmp_path / "480p" / "bear" / "notes.txt").write_text("no image")
    return tmp_path / "480p"


def test_sequences_are_scored_in_groups_of_three_that_do_not_overlap(sequences):
    found = find_groups(sequences)
    names = ["bear/00000", "bear/00003", "boat/00000", "dog/run/00000", "dog/run/00003"]
    assert [triplet.name for triplet in found] == names
    assert [p.name for p in (found[1].first, found[1].middle, found[1].last)] == [
        "00003.png",
        "00004.png",
        "00005.png",
    ]


def test_without_three_images_in_a_folder_there_is_nothing_to_score(tmp_path):
    with pytest.raises(MediaError, match="no folder with three images"):
        find_groups(tmp_path)


def test_a_sample_is_that_of_python_and_never_longer_than_the_set(sequences):
    found = find_groups(sequences)
    assert sample(found, 3, 42) == random.Random(42).sample(found, 3)
    assert sorted(t.name for t in sample(found, 100, 42)) == sorted(t.name for t in found)
    assert sample(found, 4, 1) != sample(found, 4, 2)


def test_a_crop_is_the_middle_of_the_frames_before_they_are_interpolated(sequences, blend, tmp_path):
    whole = find_groups(sequences)[:1]
    cropped = tmp_path / "cropped" / "one"
    cropped.mkdir(parents=True)
    for i, path in enumerate((whole[0].first, whole[0].middle, whole[0].last)):
        write_image(cropped / f"{i}.png", read_image(path)[6:38, 14:46])
    found = score_triplets(blend, whole, protocol="target-max", crop=32)
    same = score_triplets(blend, find_set(tmp_path / "cropped"), protocol="target-max")
    assert found.means == pytest.approx(same.means)
    assert (found.rows[0].about["height"], found.rows[0].about["width"]) == (32, 32)
    (file,) = write_worst(tmp_path / "worst", blend, whole, found, 1, crop=32)
    assert read_image(file).shape[1] == 3 * 32


def test_a_crop_larger_than_the_frames_is_refused(sequences, blend):
    with pytest.raises(MediaError, match=r"00001.png: of 61x44 no square of side 128 can be cut"):
        score_triplets(blend, find_groups(sequences), crop=128)


def evaluate(*arguments):
    return main(["evaluate", "--model", "blend", *map(str, arguments)])


def test_the_validation_of_the_replication_is_one_command(sequences, blend, tmp_path):
    flags = ["--protocol", "target-max", "--sequences", "--sample", "3", "--crop", "32"]
    out = tmp_path / "scores.json"
    assert evaluate("--data", f"davis={sequences}", *flags, "--out", out) == 0
    (result,) = json.loads(out.read_text())["results"]
    chosen = random.Random(42).sample(find_groups(sequences), 3)
    assert [row["name"] for row in result["rows"]] == [triplet.name for triplet in chosen]
    assert result["mean"] == pytest.approx(
        score_triplets(blend, chosen, protocol="target-max", crop=32).means
    )
    assert result["taken"] == {"sequences": True, "sample": 3, "seed": 42, "crop": 32}


def test_every_protocol_can_be_asked_for(sequences, tmp_path):
    for name, protocol in PROTOCOLS.items():
        out = tmp_path / f"{name}.json"
        data = f"boat={sequences / 'boat'}"
        assert evaluate("--data", data, "--protocol", name, "--out", out) == 0
        (result,) = json.loads(out.read_text())["results"]
        assert set(result["mean"]) == set(protocol.measures)
        assert result["protocol"]["name"] == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "a=SET", "--sample", "-1"], "--sample -1: give a positive number"),
        (["--data", "a=SET", "--crop", "-1"], "--crop -1: give a positive number"),
        (["--data", "a=SET", "--seed", "1"], "--seed 1 belongs to --sample"),
        (["--video", "clip.mp4", "--crop", "64"], "--crop says what is taken of --data"),
        (["--data", "a=SET", "--crop", "128"], "no square of side 128"),
    ],
    ids=lambda value: " ".join(value)[-30:] if isinstance(value, list) else "",
)
def test_mistakes_in_what_is_to_be_scored_give_one_message(sequences, capsys, arguments, message):
    assert evaluate(*(argument.replace("SET", str(sequences / "boat")) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
