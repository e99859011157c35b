"""Ablations: variants of one training, resumable, and the reach of the sampling ops."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import jax
import numpy as np
import pytest

import vfijax
from tests.training.tiny import CONFIG
from train import ablation as command
from train import ablation_motion
from train.ablation import LOSSES, STUDIES, Study, Variant, kernel_variants, loss_variants, main, parse
from train.ablation_motion import Args, distances, moving, shifts, sweep
from train.ablation_table import learning_curves
from train.config import LogConfig, TrainError, check
from train.data import Data
from train.presets import PRESETS
from vfijax.losses import LossWeights
from vfijax.media import read_image, write_image
from vfijax.scoring import PROTOCOLS, find_set, measure, predict, score_triplets

# ------------------------------------------------------------------------------- trained variants


RECIPE = replace(CONFIG, log=LogConfig(every=1, checkpoint_every=2, pictures=0))


def two_losses(recipe):
    l1 = Variant({"loss": "l1"}, replace(recipe, losses=LossWeights(charbonnier=0, l1=1)))
    l2 = Variant({"loss": "l2"}, replace(recipe, losses=LossWeights(charbonnier=0, l2=1)))
    return {"l1": l1, "vgg": Variant({"loss": "vgg"}, recipe, "needs --perceptual.vgg19"), "l2": l2}


STUDY = Study("Two losses.", "tiny", two_losses, "published", learning_curves)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "tiny", RECIPE)
    monkeypatch.setitem(STUDIES, "two", STUDY)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("VFIJAX_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def scored(tmp_path):
    photograph = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    folder = tmp_path / "set" / "scene"
    folder.mkdir(parents=True)
    for i in range(3):
        write_image(folder / f"{i}.png", photograph[4 : 4 + 40, 4 * i : 4 * i + 48])
    return tmp_path / "set"


def table(out):
    return json.loads((out / "ablation.json").read_text())


def lines_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def params_equal(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.slow
def test_every_variant_is_a_run_with_scores_and_a_row(here, capsys):
    assert main(["two", "--out", "runs"]) == 0
    out = here / "runs"
    rows = {row["name"]: row for row in table(out)["rows"]}
    assert list(rows) == ["blend", "l1", "vgg", "l2"]
    assert rows["vgg"]["skipped"] == "needs --perceptual.vgg19" and not (out / "vgg").exists()
    shown = capsys.readouterr().out
    assert "linear blend" in shown and "needs --perceptual.vgg19" in shown
    lines = lines_of(out / "ablation.csv")
    for line in lines:
        row = rows[line["name"]]
        if "scores" not in row:
            assert line["validation psnr"] == ""
            continue
        for measured, value in row["scores"]["validation"].items():
            assert float(line[f"validation {measured}"]) == value
    assert read_image(out / "ablation.png").shape == (420, 800, 3)
    params = vfijax.load(out / "l1" / "model")
    assert rows["l1"]["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))
    for name, model in {"l1": params, "blend": vfijax.create("blend", 0)}.items():
        psnr = [
            measure(predict(model, first, last), middle, PROTOCOLS["published"], "")["psnr"]
            for first, middle, last in Data.of(RECIPE).sequences
        ]
        assert rows[name]["scores"]["validation"]["psnr"] == pytest.approx(np.mean(psnr))


@pytest.mark.slow
def test_what_is_finished_is_not_done_again_and_what_is_not_goes_on(here, capsys, monkeypatch):
    assert main(["two", "--out", "runs", "--steps", "2"]) == 0
    before = table(here / "runs")["rows"]
    trained = []
    real = command.run
    monkeypatch.setattr(command, "run", lambda *a, **k: trained.append(a[1].name) or real(*a, **k))
    assert main(["two", "--out", "runs", "--steps", "2"]) == 0
    assert trained == [] and "is finished" in capsys.readouterr().out
    assert table(here / "runs")["rows"] == before
    assert main(["two", "--out", "runs"]) == 0  # two steps more
    assert trained == ["l1", "l2"]
    assert main(["two", "--out", "whole"]) == 0
    for name in ("l1", "l2"):
        last = [vfijax.load(here / root / name / "last") for root in ("runs", "whole")]
        assert params_equal(*last)
        assert table(here / "runs")["rows"] == table(here / "whole")["rows"]


def test_another_config_is_refused_where_a_variant_is_finished(here, capsys):
    assert main(["two", "--out", "runs", "--steps", "2"]) == 0
    capsys.readouterr()
    assert main(["two", "--out", "runs", "--steps", "2", "--seed", "1"]) == 1
    error = capsys.readouterr().err
    assert "l1 was trained with another seed; choose another --out" in error and error.count("\n") == 1


def test_a_stopped_ablation_says_how_to_go_on(here, capsys, monkeypatch):
    real = command.run
    monkeypatch.setattr(command, "run", lambda *a, **k: replace(real(*a, **k), stopped_by=15))
    assert main(["two", "--out", "runs"]) == 128 + 15
    assert "the same command goes on" in capsys.readouterr().out


def test_sets_are_scored_by_the_protocol_asked_for(here, scored):
    assert main(["two", "--out", "runs", "--score", f"mine={scored}", "--protocol", "target-max-8bit"]) == 0
    rows = {row["name"]: row for row in table(here / "runs")["rows"]}
    assert list(rows["l2"]["scores"]) == ["mine"]
    triplets = find_set(scored)
    for name, params in {
        "l2": vfijax.load(here / "runs" / "l2" / "model"),
        "blend": vfijax.create("blend", 0),
    }.items():
        expected = score_triplets(params, triplets, protocol="target-max-8bit").means
        assert rows[name]["scores"]["mine"] == pytest.approx(expected)
    # Another protocol scores again, and trains nothing.
    assert main(["two", "--out", "runs", "--score", f"mine={scored}", "--protocol", "upstream"]) == 0
    assert set(table(here / "runs")["rows"][1]["scores"]["mine"]) == {"psnr"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "give the name of an ablation: "),
        ("dsepcon", "not 'dsepcon'"),
        ("two --score here", "--score here: give NAME=DIR"),
        ("two --score a=nowhere", "no such folder"),
        ("two --protocol mine", "protocol is 'mine'; give one of"),
        ("two --steps 0", "--steps is 0"),
        ("two --width -1", "--width is -1; give 1 or more"),
        ("motion --step 3", "--step 3 and --to 60: give even steps"),
        ("motion --size 64", "--size is 64; give 92 or more"),
        ("motion --models nowhere", "no such checkpoint"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(here, capsys, flags, message):
    assert main(flags.split()) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (here / "runs").exists()


def test_help_names_the_ablations(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("dsepconv", "losses", "motion"))


# ------------------------------------------------------------------- the studies of the documents


@pytest.mark.parametrize("name", ["dsepconv", "losses"])
def test_the_variants_of_a_study_differ_in_nothing_but_what_is_studied(name):
    recipe = PRESETS[STUDIES[name].preset]
    variants = STUDIES[name].variants(replace(recipe, perceptual=replace(recipe.perceptual, vgg19="file")))
    for variant in variants.values():
        check(variant.config)
        assert not variant.lacks
        same = {"net": recipe.net, "losses": recipe.losses, "perceptual": recipe.perceptual}
        assert replace(variant.config, **same) == recipe
    assert len({variant.config for variant in variants.values()}) == len(variants) == 6


def test_kernels_and_masks_of_dsepconv_have_the_published_counts():
    counts = {
        name: sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(vfijax.models.shapes(variant.config.net)))
        for name, variant in kernel_variants(PRESETS["dsepconv"]).items()
    }
    assert counts == {
        "1x1": 21_614_008,
        "1x1_masks": 21_725_390,
        "3x3": 21_628_776,
        "3x3_masks": 21_746_238,
        "5x5": 21_669_816,
        "5x5_masks": 21_806_350,
    }


def test_losses_with_vgg_need_its_weights():
    lacks = {name: variant.lacks for name, variant in loss_variants(PRESETS["sepconv_replication"]).items()}
    assert {name for name, why in lacks.items() if why == "needs --perceptual.vgg19"} == {
        name for name in LOSSES if "vgg" in name
    }
    assert {name for name, why in lacks.items() if not why} == {"l1", "l2", "ssim"}


@pytest.mark.slow
def test_a_narrow_network_has_all_variants(here):
    asked = parse("dsepconv", ["--width", "4", "--steps", "3", "--net.grid", "centred"])
    assert asked.recipe.steps == 3 and asked.protocol == "sepconv"
    for variant in asked.variants().values():
        net = variant.config.net
        assert net.grid == "centred" and max(net.widths.values()) == 4
        frame = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
        params = vfijax.ModelParams(vfijax.models.shapes(net), net)
        assert jax.eval_shape(vfijax.models.forward, params, frame, frame)[0].shape == (1, 32, 32, 3)


# ---------------------------------------------------------------------------------- displacement

SWEEP = Args(to=56, step=8, scenes=2, size=88)


@pytest.fixture(scope="module")
def curves():
    return sweep(replace(SWEEP, models=("blend",)))


def test_scenes_move_by_the_distance_and_the_middle_is_exact():
    for distance in (0, 10, 56):
        triplets = moving(SWEEP, distance)
        assert triplets.shape == (2, 3, 88, 88, 3)
        for frames, (down, right) in zip(triplets, shifts(2, distance), strict=True):
            first, last = frames[0], frames[2]
            middle = frames[1, 28:60, 28:60]
            assert abs(down) + abs(right) == distance // 2
            np.testing.assert_array_equal(middle, first[28 - down : 60 - down, 28 - right : 60 - right])
            np.testing.assert_array_equal(middle, last[28 + down : 60 + down, 28 + right : 60 + right])
            assert distance == 0 or not np.array_equal(first, last)


@pytest.mark.parametrize(
    ("op", "reach"),
    [
        ("sepconv op, n = 51", 50),
        ("adaconv op, n = 41", 40),
        ("adacof op, F = 5", 99),
        ("dsepconv op, n = 5", 99),
    ],
)
def test_an_op_is_exact_as_far_as_it_reaches_and_not_beyond(curves, op, reach):
    for distance, score in zip(distances(SWEEP), curves[op], strict=True):
        assert (score == np.inf) == (distance <= reach)


def test_beyond_its_reach_an_op_is_left_with_the_rest_of_the_motion(curves):
    # With 56 pixels a kernel of 41 leaves 56 - 40: what the blend makes of 16 pixels.
    rest = distances(SWEEP).index(56), distances(SWEEP).index(16)
    assert curves["adaconv op, n = 41"][rest[0]] == pytest.approx(curves["blend"][rest[1]], abs=1e-3)


def test_the_blend_falls_with_the_distance_at_first(curves):
    blend = curves["blend"]
    assert blend[0] == np.inf and all(a > b for a, b in pairwise(blend[:4]))


def test_the_sweep_is_written_as_table_json_and_picture(here, capsys, monkeypatch):
    adacof = {name: op for name, op in ablation_motion.ORACLES.items() if "adacof" in name}
    monkeypatch.setattr(ablation_motion, "ORACLES", adacof)
    flags = ["--to", "32", "--step", "32", "--scenes", "1", "--size", "64"]
    assert main(["motion", *flags, "--out", "reach"]) == 0
    stored = json.loads((here / "reach" / "motion.json").read_text())
    assert stored["distances"] == [0, 32]
    assert stored["psnr"]["adacof op, F = 5"] == ["inf", "inf"]
    lines = lines_of(here / "reach" / "motion.csv")
    assert [float(line["blend"]) for line in lines] == [float(v) for v in stored["psnr"]["blend"]]
    assert read_image(here / "reach" / "motion.png").shape == (480, 1000, 3)
    assert "inf" in capsys.readouterr().out


def test_networks_are_swept_beside_the_ops(here, monkeypatch):
    monkeypatch.setattr(ablation_motion, "ORACLES", {})
    vfijax.save(here / "net", vfijax.create(RECIPE.net, 0))
    args = Args(models=("net",), to=16, step=16, scenes=1, size=48)
    found = sweep(args)
    assert list(found) == ["blend", "net"]
    assert all(0 < score < 60 for score in found["net"])


def test_photographs_that_are_too_small_are_refused():
    with pytest.raises(TrainError, match="too small for frames of 400"):
        moving(Args(size=400, to=60), 60)
