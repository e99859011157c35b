"""A run that is killed at any moment, without warning, goes on and ends as if nothing had happened.

One seed by default; `make soak` sets SOAK to take more.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import vfijax
from tests.training.tiny import CONFIG

pytestmark = pytest.mark.slow
STEPS, KILLS = 30, 2
SCRIPT = f"""
import sys
from dataclasses import replace
from pathlib import Path
from tests.training.tiny import CONFIG
from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig
from train.loop import run

config = replace(
    CONFIG,
    steps={STEPS},
    data=DataConfig(crop=32, batch=2),
    optim=OptimConfig(ema=0.9),
    eval=EvalConfig(every=7, limit=2, crop=32),
    log=LogConfig(every=1, checkpoint_every=3, pictures=0),
)
out = Path(sys.argv[1])
run(config, out, resume=(out / "run.json").exists())
"""


def start(out):
    command = [sys.executable, "-c", SCRIPT, str(out)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(out):
    process = start(out)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said


def kill_somewhere(out, rng):
    """Kills a run a moment after a step chosen at random; the run may have ended by then."""
    process, lines = start(out), rng.randrange(3, STEPS)
    for _ in range(lines):
        if not process.stdout.readline():
            break
    time.sleep(rng.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    finish(out)
    return out


@pytest.mark.parametrize("seed", range(int(os.environ.get("SOAK", "1"))))
def test_a_killed_run_resumes_and_ends_where_an_uninterrupted_one_does(uninterrupted, tmp_path, seed):
    rng, out = random.Random(seed), tmp_path / "run"
    for _ in range(KILLS):
        kill_somewhere(out, rng)
    finish(out)
    for name in ("last", "model"):
        ended, expected = (vfijax.load(run / name) for run in (out, uninterrupted))
        assert ended.config == expected.config == CONFIG.net
        for leaf, same in zip(*map(jax.tree.leaves, (ended, expected)), strict=True):
            np.testing.assert_array_equal(leaf, same)
    assert not list(out.glob(".*.partial"))
