"""The same training on one device and on many, in both forms of the step, and in parts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datasets import SyntheticSource, TrainingTriplet, training_batches
from tests.training.tiny import CONFIG
from train.config import DataConfig, TrainError
from train.flags import PROCESSES, leading
from train.loop import run
from train.main import main
from train.sharding import Layout, connect
from train.state import initial_state
from train.step import INSEPARABLE, SUMMED
from vfijax.losses import LOSSES, LossWeights, perceptual
from vfijax.ops.adacof import Taps

SUMS = LossWeights(charbonnier=0.0, charbonnier_sum=1e-4, l2_sum=1e-4, l1=0.5)
STEPS = 3


def trained(config, networks=None):
    """State and scalars after some steps of a config on its devices."""
    layout = Layout.of(config)
    state, step = layout.place(initial_state(config)), layout.step(config)
    source = SyntheticSource(32, motion=4.0, length=1)
    batches = training_batches([(source, 1.0)], TrainingTriplet(32), batch=config.data.batch, seed=0)
    for _ in range(STEPS):
        state, scalars = step(state, layout.split(next(batches)), networks or {})
    return state, scalars


def assert_close(state, other):
    """Parameters are the same but for the rounding of sums: far closer than a step moves them."""
    for leaf, same in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(leaf, same, rtol=0, atol=2e-5)


def split_over(devices, form, accumulate=1, losses=CONFIG.losses, **changes):
    optim = replace(CONFIG.optim, accumulate=accumulate)
    return replace(CONFIG, devices=devices, parallel=form, optim=optim, losses=losses, **changes)


@pytest.fixture(scope="module")
def whole():
    """The results of one device with the whole batch, by loss."""
    return {losses: trained(replace(CONFIG, losses=losses)) for losses in (CONFIG.losses, SUMS)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "form", "accumulate", "losses"),
    [
        (2, "jit", 1, CONFIG.losses),
        (8, "jit", 1, CONFIG.losses),
        (1, "pmap", 1, CONFIG.losses),
        (2, "pmap", 1, CONFIG.losses),
        (8, "pmap", 1, CONFIG.losses),
        (1, "jit", 4, CONFIG.losses),
        (2, "jit", 2, SUMS),
        (4, "pmap", 2, SUMS),
    ],
)
def test_devices_forms_and_parts_give_the_parameters_of_one_device(whole, devices, form, accumulate, losses):
    state, scalars = trained(split_over(devices, form, accumulate, losses))
    expected, values = whole[losses]
    assert_close(state, expected)
    assert set(scalars) == set(values)
    for name, value in values.items():
        np.testing.assert_allclose(scalars[name], value, rtol=1e-4, err_msg=name)
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves((state, scalars)))


def test_the_steps_move_the_parameters_much_farther_than_the_rounding(whole):
    before, (after, _) = initial_state(CONFIG), whole[CONFIG.losses]
    pairs = zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True)
    assert np.median([float(jnp.abs(a - b).max()) for a, b in pairs]) > 1e-3


@pytest.mark.slow
def test_parts_in_bfloat16_on_several_devices():
    config = split_over(2, "jit", 2, precision="bfloat16")
    state, scalars = trained(config)
    _, alone = trained(replace(CONFIG, precision="bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(scalars["loss"], alone["loss"], rtol=0.02)


@pytest.mark.slow
def test_a_term_is_the_mean_or_the_sum_of_those_of_the_parts(monkeypatch):
    """Of every loss there is; one that is neither is refused where a batch is taken in parts."""
    monkeypatch.setattr(perceptual, "vgg_features", lambda tree, frames, depth: frames)
    rng = np.random.default_rng(0)
    frames, taps, mask = (
        rng.random(shape, np.float32) for shape in ((3, 4, 32, 32, 3), (3, 4, 2, 32, 32), (4, 32, 32, 1))
    )
    motion, truth = rng.normal(size=(2, 4, 2, 2, 32, 32)).astype(np.float32)
    truth[0, :, :, :10] = np.nan  # where it is not known
    networks = {"vgg": None, "vgg19": None}

    def terms(rows):
        aux = {
            "offsets": (Taps(*taps[:, rows]),),
            "masks": {"occlusion": mask[rows]},
            "flipped": frames[2, rows],
            "motion": (motion[rows],),
            "truth": truth[rows],
        }
        return {
            name: float(term(frames[0, rows], frames[1, rows], aux, networks))
            for name, term in LOSSES.items()
        }

    whole, parts = terms(slice(None)), [terms(slice(i, i + 2)) for i in (0, 2)]
    for name, value in whole.items():
        total = sum(part[name] for part in parts)
        fits = {"sum": np.isclose(value, total, rtol=1e-4), "mean": np.isclose(value, total / 2, rtol=1e-4)}
        assert fits == {"sum": name in SUMMED, "mean": name not in SUMMED + INSEPARABLE}, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 3}, r"--data\.batch is 8, which 3 devices cannot share evenly; give 6 or 9, or other"),
        (
            {"devices": 0, "data": DataConfig(batch=4)},
            r"is 4, which 8 devices cannot share evenly; give 8, or",
        ),
        ({"devices": 9}, r"--devices is 9, but there are 8 to a process; 0 takes all"),
        (
            {"devices": 4, "optim": replace(CONFIG.optim, accumulate=3)},
            r"4 devices of 3 micro-batches each cannot share evenly; give 12, or",
        ),
        (
            {"devices": 2, "parallel": "pmap", "losses": LossWeights(vgg19=1.0)},
            r"'vgg19' is taken over the whole batch.*use --parallel jit, or leave it out with --losses",
        ),
        (
            {"optim": replace(CONFIG.optim, accumulate=2), "losses": LossWeights(vgg19=1.0)},
            r"use --optim\.accumulate 1, or leave",
        ),
        ({"optim": replace(CONFIG.optim, accumulate=0)}, r"--optim\.accumulate is 0; give more than 0"),
    ],
)
def test_what_does_not_fit_the_devices_is_refused(tmp_path, changes, message):
    with pytest.raises(TrainError, match=message):
        run(replace(CONFIG, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_norm_over_the_whole_batch_is_right_on_several_devices(monkeypatch):
    monkeypatch.setattr(perceptual, "vgg_features", lambda tree, frames, depth: frames)
    losses = LossWeights(charbonnier=0, vgg19=0.1)
    networks = {"vgg19": None}
    (alone, _), (state, _) = (trained(split_over(n, "jit", losses=losses), networks) for n in (1, 4))
    assert_close(state, alone)


@pytest.mark.slow
def test_a_run_goes_on_on_another_number_of_devices_in_another_form(tmp_path, capsys):
    whole = run(CONFIG, tmp_path / "whole").state
    run(split_over(4, "pmap", steps=2), tmp_path / "run")
    assert "on 4 x cpu (pmap)" in capsys.readouterr().out
    state = run(split_over(2, "jit", 2), tmp_path / "run", resume=True).state
    assert int(state.step) == CONFIG.steps
    assert_close(state, whole)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--distributed.process 0", "several processes need --distributed.coordinator HOST:PORT"),
        ("--distributed.auto --distributed.process 0", "all three, or --distributed.auto alone"),
        ("--distributed.process one", "invalid int value: 'one'"),
        (
            "--distributed.coordinator here --distributed.process 0 --distributed.processes 2",
            "--distributed.coordinator is 'here'; give HOST:PORT",
        ),
        (
            "--distributed.coordinator here:1 --distributed.process 2 --distributed.processes 2",
            "--distributed.process is 2 of --distributed.processes 2; they count from 0",
        ),
    ],
)
def test_flags_of_several_processes_that_do_not_fit_are_one_line(capsys, monkeypatch, flags, message):
    monkeypatch.delenv("VFIJAX_DEBUG", raising=False)
    assert main(["--model", "cdfi", *flags.split()]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_without_their_flags_there_is_one_process():
    arguments = ["--model", "cdfi", "--steps", "2"]
    assert leading(arguments, *PROCESSES)[1] == arguments
    connect(None, None, None)
    assert jax.process_count() == 1
