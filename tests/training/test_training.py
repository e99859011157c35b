import dataclasses
import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vfijax
from datasets import SyntheticSource, TrainingTriplet, as_batch, training_batches
from tests.training import tiny
from train import rundir, sharding
from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig, TrainConfig, TrainError, complete
from train.loop import run
from train.report import read_metrics
from train.state import Checkpoints, begin, initial_params, initial_state, learning_rate, optimizer
from train.step import Objective, eval_step, jitted_train_step, loss
from train.tasks import displacement
from vfijax.command import stop_requests
from vfijax.losses import LossWeights
from vfijax.media import read_image
from vfijax.media.sheet import CAPTION_HEIGHT

GOLDEN = Path(__file__).parent.parent / "golden"
CONFIG = TrainConfig(
    net=tiny.CONFIG.net,
    steps=6,
    losses=LossWeights(smoothness=0.01),
    data=DataConfig(crop=32, batch=4),
    optim=OptimConfig(lr=5e-3),
    eval=EvalConfig(every=3, limit=2, crop=32),
    log=LogConfig(every=2, checkpoint_every=2, keep=2, pictures=1),
)
# What is learned is tried on a network of the papers; its step takes long to compile, once for all of them.
LEARNED = replace(CONFIG, net=vfijax.models.narrow("adacof", 8))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that went from the first step to the last: its directory and its last state."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, run(CONFIG, out).state


def assert_equal_states(state, other):
    assert jax.tree.structure(state) == jax.tree.structure(other)
    for leaf, same in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(leaf, same)


def test_adamax_equals_the_published_optimizer():
    arrays = np.load(GOLDEN / "optim.npz")
    case = json.loads((GOLDEN / "optim.json").read_text())["cases"]["adamax"]
    halve_every = case["steps_per_epoch"] * case["lr_step_epochs"]
    b1, b2 = case["betas"]
    update = optimizer(OptimConfig(lr=case["lr"][0], halve_every=halve_every, b1=b1, b2=b2, eps=case["eps"]))
    params = jnp.asarray(arrays["x0"])
    state = update.init(params)
    for gradient, expected in zip(arrays["grads"], arrays["adamax/params"], strict=True):
        change, state = update.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, change)
        np.testing.assert_allclose(params, expected, rtol=0, atol=1e-6)


def test_the_learning_rate_is_halved_at_regular_steps():
    rate = learning_rate(OptimConfig(lr=1e-3, halve_every=4))
    assert [float(rate(step)) for step in (0, 3, 4, 7, 8, 12)] == pytest.approx(
        [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 1.25e-4]
    )


def test_adam_with_a_cosine_that_starts_anew_after_a_warm_up():
    optim = OptimConfig(
        name="adam", lr=1.0, schedule="cosine", period=10, lr_end=0.2, warmup=4, b1=0.5, b2=0.9
    )
    rate = learning_rate(optim)
    cosine = [0.2 + 0.4 * (1 + np.cos(np.pi * (step % 10) / 10)) for step in range(25)]
    warm = [min(1, (step + 1) / 5) for step in range(25)]
    np.testing.assert_allclose([rate(step) for step in range(25)], np.multiply(cosine, warm), rtol=1e-5)
    params, gradient = jnp.asarray([1.0, -2.0]), jnp.asarray([0.3, -0.1])
    change, _ = optimizer(optim).update(gradient, optimizer(optim).init(params), params)
    np.testing.assert_allclose(change, [-0.2, 0.2], rtol=1e-5)  # Adam's first step is the rate, whatever size


def test_a_cosine_without_a_period_takes_the_whole_run_and_keeps_it():
    whole = complete(replace(CONFIG, optim=OptimConfig(schedule="cosine")))
    assert whole.optim.period == CONFIG.steps
    assert complete(replace(whole, steps=99)).optim.period == CONFIG.steps


@pytest.mark.slow
def test_loss_falls_below_that_of_the_blend_on_synthetic_motion():
    source = SyntheticSource(32, motion=4.0, length=1)
    batches = training_batches([(source, 1.0)], TrainingTriplet(32), batch=4, seed=0)
    state, losses = initial_state(LEARNED), []
    options = {"objective": Objective.of(LEARNED), "optim": LEARNED.optim}
    for _ in range(200):
        batch = next(batches)
        state, scalars = jitted_train_step(state, batch, {}, **options)
        losses.append(float(scalars["charbonnier"]))
    blend, _ = loss(vfijax.create("blend", 0), batch, Objective(LossWeights()), {})
    assert losses[0] > blend
    assert np.mean(losses[-10:]) < 0.9 * blend


@pytest.mark.slow
@pytest.mark.parametrize("stops", [(2,), (1, 3, 4)])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(finished, tmp_path, stops):
    for i, steps in enumerate((*stops, CONFIG.steps)):
        state = run(replace(CONFIG, steps=steps), tmp_path / "run", resume=i > 0).state
    assert_equal_states(state, finished[1])


def test_a_signal_ends_the_run_with_a_checkpoint_from_which_it_goes_on(finished, tmp_path, monkeypatch):
    taken = []

    def interrupting(*arguments, **options):
        taken.append(1)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return jitted_train_step(*arguments, **options)

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(sharding, "jitted_train_step", interrupting)
    outcome = run(CONFIG, tmp_path / "run", stopping=stop_requests)
    assert (outcome.stopped_by, int(outcome.state.step)) == (signal.SIGTERM, 3)
    assert (tmp_path / "run" / "checkpoints" / "3").is_dir()
    vfijax.load(tmp_path / "run" / "model")
    outcome = run(CONFIG, tmp_path / "run", resume=True)
    assert outcome.stopped_by is None
    assert_equal_states(outcome.state, finished[1])
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [2, 3, 4, 6, 6]


def test_signals_are_those_of_the_caller(tmp_path, monkeypatch):
    caught, before = [], signal.getsignal(signal.SIGTERM)

    def killed(state, *arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return jitted_train_step(state, *arguments, **options)

    monkeypatch.setattr(sharding, "jitted_train_step", killed)
    signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        outcome = run(replace(tiny.CONFIG, steps=2), tmp_path / "run")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == [signal.SIGTERM] * 2 and outcome.stopped_by is None


def test_what_an_interrupted_run_wrote_after_its_checkpoint_is_written_once(tmp_path):
    out = tmp_path / "run"
    run(replace(CONFIG, steps=2), out)
    with open(out / "metrics.csv", "a") as file:
        file.write("4,9,9,9,9,9,9,,\n")
    run(CONFIG, out, resume=True)
    assert [row["step"] for row in read_metrics(out) if "loss" in row] == [2, 4, 6]
    assert all(row["loss"] < 9 for row in read_metrics(out) if "loss" in row)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim": replace(CONFIG.optim, lr=0.1)}, r"optim\.lr was 0\.005, now 0\.1"),
        ({"seed": 1, "losses": LossWeights()}, r"seed was 0, now 1; losses\.smoothness was 0\.01, now 0\.0"),
        ({"net": CONFIG.net.replace(dilation=2)}, r"net\.dilation was 1, now 2"),
    ],
)
def test_a_resumed_run_with_another_config_is_refused_and_left_as_it_was(finished, changes, message):
    out, _ = finished
    before = (out / "run.json").read_text(), (out / "metrics.csv").read_text()
    with pytest.raises(TrainError, match=message):
        run(replace(CONFIG, **changes), out, resume=True)
    assert before == ((out / "run.json").read_text(), (out / "metrics.csv").read_text())


def test_a_directory_that_holds_a_run_is_not_overwritten(finished):
    with pytest.raises(TrainError, match="already holds a run; go on with --resume"):
        run(CONFIG, finished[0])


def test_resuming_what_does_not_exist_is_refused(tmp_path):
    with pytest.raises(TrainError, match="holds no run to resume"):
        run(CONFIG, tmp_path, resume=True)


def test_a_damaged_checkpoint_is_named(finished, tmp_path):
    fresh = initial_state(CONFIG)
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(fresh)
    for file in (tmp_path / "0" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(TrainError, match=r"0 cannot be read.*remove it to resume from an older one"):
        checkpoints.load(fresh)


def test_a_checkpoint_that_was_not_finished_is_not_seen(tmp_path):
    fresh = initial_state(CONFIG)
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(fresh)
    (tmp_path / "0").rename(tmp_path / "7.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest() is None
    assert checkpoints.load(fresh) is fresh


def test_only_the_newest_checkpoints_are_kept(finished):
    assert {path.name for path in (finished[0] / "checkpoints").iterdir()} == {"4", "6"}


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path, monkeypatch, name):
    seen = []

    def breaking(state, batch, networks, **options):
        seen.append(batch)
        state, scalars = jitted_train_step(state, batch, networks, **options)
        return state, scalars | ({name: jnp.nan} if state.step == 4 else {})

    monkeypatch.setattr(sharding, "jitted_train_step", breaking)
    out = tmp_path / "run"
    message = f"{name} is nan at step 4; its batch is in .*batch_of_step_4.npz.*step 2, start from it with"
    with pytest.raises(TrainError, match=message):
        run(CONFIG, out)
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"2"}
    vfijax.load(out / "last")
    with np.load(out / "batch_of_step_4.npz") as kept:
        for role, frames in seen[3].items():
            np.testing.assert_array_equal(kept[role], frames)
    assert read_image(out / "batch_of_step_4.png").shape == (4 * (CAPTION_HEIGHT + 32), 3 * 32, 3)


# ---------------------------------------------------------------------------------------- comforts


def test_the_running_mean_is_what_is_scored_and_kept(tmp_path):
    config = replace(CONFIG, steps=3, optim=replace(CONFIG.optim, ema=0.9))
    state = run(config, tmp_path / "run").state
    last = vfijax.load(tmp_path / "run" / "last")
    for leaf, mean in zip(jax.tree.leaves(last), jax.tree.leaves(state.mean), strict=True):
        np.testing.assert_array_equal(leaf, mean)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state.mean, state.params)), strict=True))


def test_the_running_mean_by_hand():
    optim = replace(CONFIG.optim, ema=0.5)
    state, means = begin(initial_state(CONFIG).params, optim), []
    batch = as_batch(np.stack([SyntheticSource(32)[0]] * 2))
    expected = [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]
    for step in range(12):
        state, _ = jitted_train_step(state, batch, {}, objective=Objective.of(CONFIG), optim=optim)
        decay = min(0.5, (1 + step) / (10 + step))
        fresh = jax.tree.leaves(state.params)
        expected = [decay * m + (1 - decay) * np.asarray(p) for m, p in zip(expected, fresh, strict=True)]
        means = jax.tree.leaves(state.mean)
    for mean, wanted in zip(means, expected, strict=True):
        np.testing.assert_allclose(mean, wanted, rtol=1e-4, atol=1e-6)


def test_a_run_with_running_mean_and_cosine_resumes_bit_for_bit(tmp_path):
    optim = OptimConfig(name="adam", lr=1e-3, schedule="cosine", ema=0.9, warmup=2)
    config = replace(CONFIG, optim=optim)
    whole = run(config, tmp_path / "whole").state
    run(replace(complete(config), steps=3), tmp_path / "parts")
    assert_equal_states(run(complete(config), tmp_path / "parts", resume=True).state, whole)


@pytest.mark.slow
def test_mixed_precision_trains_as_well_and_keeps_float32_parameters():
    source = SyntheticSource(32, motion=4.0, length=1)
    batch = next(training_batches([(source, 1.0)], TrainingTriplet(32), batch=4, seed=0))
    losses = {}
    for precision in ("float32", "bfloat16"):
        state = initial_state(LEARNED)
        for _ in range(30):
            objective = Objective(LEARNED.losses, precision=precision)
            state, scalars = jitted_train_step(state, batch, {}, objective=objective, optim=LEARNED.optim)
        losses[precision] = float(scalars["loss"])
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)
    assert losses["bfloat16"] != losses["float32"]


@pytest.mark.slow
def test_overfitting_drives_the_loss_on_its_triplets_down(tmp_path):
    run(replace(CONFIG, steps=100, overfit=2, eval=replace(CONFIG.eval, every=100)), tmp_path / "run")
    scores = [row for row in read_metrics(tmp_path / "run") if "psnr" in row]
    assert scores[-1]["psnr"] > scores[-1]["blend_psnr"]
    losses = [row["loss"] for row in read_metrics(tmp_path / "run") if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]


def test_a_run_starts_from_what_fits_of_any_checkpoint(finished, tmp_path, capsys):
    out, _ = finished
    wider = CONFIG.net.replace(taps=3)
    run(replace(CONFIG, net=wider, init_from=str(out / "model"), steps=1), tmp_path / "run")
    said = capsys.readouterr().out
    given = vfijax.load(out / "model").tree
    assert "starts from" in said and "arrays agree; fresh: Conv_1/" in said
    params, note = initial_params(replace(CONFIG, net=wider, init_from=str(out / "model")))
    same = [
        np.array_equal(leaf, dict(jax.tree_util.tree_leaves_with_path(given))[path])
        for path, leaf in jax.tree_util.tree_leaves_with_path(params.tree)
        if leaf.shape == dict(jax.tree_util.tree_leaves_with_path(given))[path].shape
    ]
    assert all(same) and f"{len(same)} of {len(jax.tree.leaves(params))} arrays agree" in note


def test_a_checkpoint_of_which_nothing_fits_is_refused(tmp_path):
    vfijax.save(tmp_path / "blend", vfijax.create("blend", 0))
    with pytest.raises(TrainError, match="none of its 0 arrays has place and shape of one here"):
        initial_params(replace(CONFIG, init_from=str(tmp_path / "blend")))


def test_the_last_network_is_kept_beside_the_best(finished):
    out, state = finished
    for leaf, last in zip(
        jax.tree.leaves(vfijax.load(out / "last")), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_array_equal(leaf, last)


def test_the_best_network_that_a_kill_left_moved_aside_is_not_replaced_by_the_last(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    best = (out / "model" / "config.json").read_text()
    (out / "model").rename(out / ".model.abcd1234.older")
    run(CONFIG, out, resume=True)
    assert (out / "model" / "config.json").read_text() == best
    assert not list(out.glob(".*"))


def test_the_run_directory_says_what_made_it_and_what_came_of_it(finished):
    out, _ = finished
    record = json.loads((out / "run.json").read_text())
    assert rundir.stored_config(out) == CONFIG
    assert {"time", "command", "device", "versions", "git"} <= set(record["started"])
    assert record["resumed"] == []
    scores = [row for row in read_metrics(out) if "psnr" in row]
    assert [row["step"] for row in scores] == [3, 6]
    assert len({row["blend_psnr"] for row in scores}) == 1
    assert any((out / "tensorboard").iterdir())
    notes = json.loads((out / "model" / "config.json").read_text())["notes"]
    assert notes["psnr"] == pytest.approx(max(row["psnr"] for row in scores))
    assert not list(out.rglob("*.partial*"))


def test_the_stored_model_is_the_one_with_the_best_score(finished):
    out, state = finished
    scores = {row["step"]: row["psnr"] for row in read_metrics(out) if "psnr" in row}
    best = max(scores, key=scores.__getitem__)
    model = vfijax.load(out / "model")
    assert model.config == CONFIG.net
    same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (model, state.params)), strict=True)]
    assert all(same) == (best == CONFIG.steps)


def test_pictures_show_every_panel_of_every_triplet(finished):
    out, _ = finished
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        "step_0000003.png",
        "step_0000006.png",
    ]
    # first, last, truth, prediction, error, mask, two offset fields; a line of labels above
    assert read_image(out / "samples" / "step_0000003.png").shape == (CAPTION_HEIGHT + 32, 8 * 32, 3)
    assert read_image(out / "curve.png").shape == (2 * 420, 800, 3)  # scores, losses


def test_evaluation_scores_the_blend_as_by_hand():
    triplets = np.stack([SyntheticSource(32)[i] for i in range(2)])
    seen = eval_step(vfijax.create("blend", 0), as_batch(triplets))
    first, middle, last = (triplets[:, i].astype(float) for i in range(3))
    rounded = np.floor((first + last) / 2 + 0.5)
    expected = -10 * np.log10(np.square((rounded - middle) / 255).mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(seen["psnr"], expected, rtol=1e-5)
    still = as_batch(triplets[:, [0, 0, 0]])
    np.testing.assert_array_equal(eval_step(vfijax.create("blend", 0), still)["psnr"], 100)


def test_displacement_is_tap_position_plus_offset_weighted():
    weight = np.zeros((1, 9, 2, 2), np.float32)
    weight[:, 5] = 1  # row 1, column 2 of the grid: one tap to the right of the centre
    taps = type("Taps", (), {"weight": weight, "offset_y": 0 * weight + 0.5, "offset_x": 0 * weight - 0.25})
    field = displacement(taps, dilation=2)
    np.testing.assert_allclose(field[0, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(field[0, 1], 2 - 0.25, atol=1e-6)


def test_a_model_without_parameters_is_refused(tmp_path):
    with pytest.raises(TrainError, match="'blend' has no parameters to train"):
        run(replace(CONFIG, net=vfijax.MODELS["blend"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("data", "batch", 0, r"--data\.batch is 0; give more than 0"),
        ("eval", "every", -1, r"--eval\.every is -1; give more than 0"),
        ("log", "pictures", -1, r"--log\.pictures is -1; give 0 or more"),
        ("data", "synthetic", 1.0, r"--data\.synthetic is 1\.0; give 0 or more, and less than 1"),
        ("data", "augment", "twist", r"--data\.augment is 'twist'; give one of none, adacof"),
        ("optim", "period", 5, r"--optim\.period belongs to --optim\.schedule cosine"),
    ],
)
def test_values_that_no_run_can_have_are_refused(tmp_path, part, field, value, message):
    config = replace(CONFIG, **{part: replace(getattr(CONFIG, part), **{field: value})})
    with pytest.raises(TrainError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": DataConfig(apart=3)}, r"--data\.apart is 3; coarse_motion takes frames at any place"),
        ({"overfit": 4}, r"--overfit 4: coarse_motion wants triplets of files for that, not scenes"),
    ],
)
def test_options_that_frames_at_random_times_have_no_use_for_are_refused(tmp_path, changes, message):
    with pytest.raises(TrainError, match=message):
        run(replace(CONFIG, net=vfijax.MODELS["coarse_motion"], **changes), tmp_path / "run")


def test_data_that_cannot_be_read_leaves_no_run_behind(tmp_path):
    config = replace(CONFIG, data=DataConfig(source=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="no such directory"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_config_field_survives_storing():
    stored = json.loads(json.dumps(rundir.to_json(CONFIG)))
    assert rundir.from_json(stored) == CONFIG
    assert set(stored) == {field.name for field in dataclasses.fields(TrainConfig)}
    with pytest.raises(TrainError, match="another version"):
        rundir.from_json(stored | {"data": {"colour": 1}})
