"""Compression in one command: every stage once, resumable, and a small network at the end."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import vfijax
from tests.training.tiny import CONFIG
from train import compress as command
from train.compress import (
    Plan,
    Retraining,
    ShrinkConfig,
    SparseConfig,
    compress,
    default_plan,
    main,
    parse,
    sparse_run,
    stored_plan,
)
from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig, TrainError
from train.report import read_metrics
from vfijax.channels import Widths
from vfijax.losses import LossWeights
from vfijax.media import read_image
from vfijax.prune import density, read_csv

pytestmark = pytest.mark.slow
TINY = CONFIG.net
NARROW = vfijax.models.narrow("adacof", 12, taps=3)
PLAN = Plan(
    Retraining(
        net=NARROW,
        steps=4,
        optim=OptimConfig(lr=5e-3),
        data=DataConfig(crop=32, batch=2),
        eval=EvalConfig(every=4, limit=2, crop=32),
        log=LogConfig(every=2, checkpoint_every=2, pictures=1),
    ),
    size=(32, 48),
    sparse=SparseConfig(steps=8, proximal_steps=4, lr=0.02, l1=0.3, items=0),
)


def changed(plan=PLAN, *, sparse=None, shrink=None, **training):
    """A plan with some fields of its training, or its stages, replaced."""
    stages = {"sparse": sparse or plan.sparse, "shrink": shrink or plan.shrink}
    return replace(plan, training=replace(plan.training, **training), **stages)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "adacof"
    vfijax.save(path, vfijax.create(NARROW, 3))
    return path


@pytest.fixture(scope="module")
def done(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("compressed") / "run"
    assert compress(changed(init_from=str(trained)), out) is None
    return out


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_result_is_a_smaller_network_of_the_same_kind(done):
    before, after = vfijax.load(done / "sparse" / "last"), vfijax.load(done / "compressed")
    assert type(after.config) is type(before.config)
    assert count(after) < count(before)
    frame = np.random.default_rng(0).uniform(0, 1, (2, 20, 24, 3)).astype(np.float32)
    assert vfijax.interpolate(after, *frame).shape == (20, 24, 3)


def test_zeros_are_made_and_density_is_recorded_beside_the_score(done):
    rows = [row for row in read_metrics(done / "sparse") if "density" in row]
    assert [row["step"] for row in rows] == list(range(1, 9))  # twenty points at least, if there are steps
    assert all("psnr" in row for row in rows)
    sparse = vfijax.load(done / "sparse" / "last")
    assert rows[-1]["density"] == pytest.approx(density(sparse).density, abs=1e-6)
    assert rows[-1]["density"] < 0.7
    assert read_image(done / "sparsity.png").shape == (3 * 420, 800, 3)


def test_the_widths_follow_from_the_densities_that_are_kept(done):
    sparse = vfijax.load(done / "sparse" / "last")
    assert read_csv(done / "density.csv") == pytest.approx(density(sparse).densities, abs=1e-6)
    widths = json.loads((done / "widths.json").read_text())
    small = vfijax.load(done / "compressed").config.widths
    assert {space: small[space] for space in widths} == widths


def test_the_table_shows_scores_and_costs_before_and_after(done):
    table = json.loads((done / "table.json").read_text())
    assert set(table["scores"]) == {"before", "sparsest", "after"}
    assert table["costs"]["before"]["parameters"] == count(vfijax.create(NARROW, 0))
    assert table["costs"]["after"]["parameters"] == count(vfijax.load(done / "compressed"))
    text = (done / "table.md").read_text()
    assert all(
        row in text for row in ("PSNR, dB", "SSIM", "parameters, M", "multiply-adds, G", "time per frame")
    )


def test_interrupted_anywhere_and_resumed_ends_with_the_same_network(done, trained, tmp_path, monkeypatch):
    class Interrupted(Exception):
        pass

    def interrupt(*arguments, **options):
        raise Interrupted

    out = tmp_path / "run"
    plan = changed(init_from=str(trained))
    for place in ("draw_sparsity", "retrain_run", "write_table"):
        with monkeypatch.context() as context:
            context.setattr(command, place, interrupt)
            with pytest.raises(Interrupted):
                compress(plan, out, resume=out.exists())
    compress(stored_plan(out), out, resume=True)
    ended, expected = (jax.tree.leaves(vfijax.load(run / "compressed")) for run in (out, done))
    for leaf, same in zip(ended, expected, strict=True):
        np.testing.assert_array_equal(leaf, same)


def test_one_shot_from_slices_rounded_to_a_multiple(tmp_path):
    shrink = ShrinkConfig(init="slice", multiple=4)
    plan = changed(shrink=shrink, steps=2, net=replace(TINY, widths=Widths.of({"hidden": 24})))
    assert compress(plan, tmp_path / "run") is None
    widths = json.loads((tmp_path / "run" / "widths.json").read_text())
    assert all(width % 4 == 0 for width in widths.values())
    assert set(json.loads((tmp_path / "run" / "table.json").read_text())["scores"]) == {"sparsest", "after"}


def test_the_stored_plan_is_the_one_that_was_asked_for(done, trained):
    assert stored_plan(done) == changed(init_from=str(trained))


def test_a_plan_of_another_version_is_refused(tmp_path):
    (tmp_path / "compress.json").write_text('{"format": 1, "plan": {"net": {}}}')
    with pytest.raises(TrainError, match="has format 1, this version of vfijax reads 2; go on with"):
        stored_plan(tmp_path)


def test_flags_name_network_checkpoint_and_stages(trained):
    flags = [
        "--from",
        str(trained),
        "--out",
        "o",
        "--sparse.l1",
        "0.5",
        "--shrink.init",
        "slice",
        "--size",
        "8",
        "9",
        "--retrain-steps",
        "7",
        "--retrain.lr",
        "0.25",
    ]
    plan, out, resume = parse(flags)
    assert (
        plan.training.net == NARROW
        and plan.training.init_from == str(trained)
        and (str(out), resume) == ("o", False)
    )
    assert (plan.sparse.l1, plan.shrink.init, plan.size) == (0.5, "slice", (8, 9))
    assert (plan.training.steps, plan.training.optim.lr) == (7, 0.25)
    assert default_plan("cdfi", "").training.net == vfijax.MODELS["cdfi"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --model NAME, or --from CHECKPOINT"),
        (["--resume"], "--resume takes --out DIR and nothing else"),
        (["--out", "nowhere", "--resume"], "nowhere holds no compression to resume"),
        (["--from", "nowhere"], "nowhere"),
        (["--model", "cdfi", "--from", "TRAINED"], "holds adacof, not cdfi"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(trained, tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VFIJAX_DEBUG", raising=False)
    assert main([str(trained) if flag == "TRAINED" else flag for flag in flags]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_after_a_mistake_the_corrected_command_runs(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="nowhere"):
        compress(changed(data=replace(PLAN.training.data, source=str(tmp_path / "nowhere"))), out)
    with pytest.raises(TrainError, match=r"--losses\.l1 is -1"):
        compress(changed(losses=LossWeights(l1=-1.0)), out)
    command._begin(out, PLAN, resume=False)
    assert stored_plan(out) == PLAN


@pytest.mark.parametrize(
    ("items", "limit", "expected"), [(0, 0, 0), (5, 0, 5), (0, 7, 7), (5, 7, 5), (9, 7, 7)]
)
def test_the_sparse_stage_takes_the_smaller_limit(items, limit, expected):
    plan = changed(sparse=replace(PLAN.sparse, items=items), data=replace(PLAN.training.data, limit=limit))
    assert sparse_run(plan).data.limit == expected


def test_a_directory_that_holds_a_compression_is_not_overwritten(done):
    with pytest.raises(TrainError, match="already holds a compression"):
        compress(PLAN, done)
