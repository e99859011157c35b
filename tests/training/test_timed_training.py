"""Training on frames at random times: with motion that is drawn, and with guesses that are found."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import vfijax
from tests.data.test_media_flow import moved
from train import scores, sharding
from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig, TrainConfig, complete
from train.loop import run
from train.report import read_metrics
from train.state import initial_state
from train.step import train_step
from train.tasks import PAIR, backwards, task_of
from vfijax.losses import LossWeights
from vfijax.media.flow import QUALITIES, find_motion
from vfijax.models import MODELS, narrow

pytestmark = pytest.mark.slow
COARSE = TrainConfig(
    net=narrow("coarse_motion", steps=1),
    steps=4,
    losses=LossWeights(charbonnier=0.0, motion=1.0),
    data=DataConfig(crop=32, batch=2, augment="zooming_slowmo", jitter=0.2, motion=10.0, threads=0),
    optim=OptimConfig(name="adam", lr=1e-3, b2=0.99, schedule="cosine", warmup=1, ema=0.9),
    eval=EvalConfig(every=4, limit=1, crop=32),
    log=LogConfig(every=1, checkpoint_every=2, pictures=1),
)
CONFIGS = {
    "coarse_motion": COARSE,
    "guided": replace(
        COARSE,
        net=narrow("guided", quality="medium", steps=1),
        losses=LossWeights(charbonnier=0.0, log_mse=1.0, laplacian=1.0),
    ),
}


@pytest.fixture
def quick(monkeypatch):
    """Compilation is most of the time here; XLA's own optimisation is turned down."""
    jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    step = jit(train_step, static_argnames=("objective", "optim"), donate_argnames="state")
    monkeypatch.setattr(sharding, "jitted_train_step", step)
    monkeypatch.setattr(
        scores, "eval_step", jit(lambda params, batch: task_of(params.config).see(params, batch))
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_learns_and_one_that_was_stopped_and_resumed_ends_with_the_same_bits(name, tmp_path):
    config = complete(CONFIGS[name])
    whole = run(config, tmp_path / "whole").state
    stopped = run(replace(config, steps=3), tmp_path / "parts")
    resumed = run(config, tmp_path / "parts", resume=True).state
    assert (int(stopped.state.step), int(resumed.step)) == (3, 4)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)

    rows = read_metrics(tmp_path / "whole")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert vfijax.load(tmp_path / "whole" / "model").config == config.net

    before, after = (state.params.tree for state in (initial_state(config), whole))
    learned = {part for part in after if changed(before[part], after[part])}
    assert learned == {"coarse" if name == "coarse_motion" else "weights"}


def changed(before, after):
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any(np.any(np.asarray(a) != np.asarray(b)) for a, b in pairs)


def test_the_task_follows_from_the_network():
    timed = [name for name, config in MODELS.items() if config.scale == 1 and task_of(config) is not PAIR]
    assert timed == ["coarse_motion", "guided"]
    assert task_of(MODELS["guided"]) == task_of(narrow("guided"))


def test_guesses_of_frames_in_reverse_order_are_those_that_are_found_there():
    first, last = moved(2, 5)
    there, back = (find_motion(*frames, QUALITIES["best"]) for frames in ((first, last), (last, first)))
    np.testing.assert_array_equal(backwards(there[None])[0], back)
