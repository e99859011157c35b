"""Two processes on one machine train as one does; when one is killed the other ends, and the run goes on."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import vfijax
from tests.training.tiny import CONFIG
from train.loop import run
from train.report import read_metrics

pytestmark = pytest.mark.slow
SCRIPT = """
import sys
import jax

jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))

from tests.training.tiny import CONFIG
from train.main import main
from train.presets import PRESETS

PRESETS["tiny"] = CONFIG
sys.exit(main(sys.argv[2:]))
"""
ROOT = Path(__file__).parents[2]
STEPS = 30
END = 90  # seconds in which the others notice that a process is gone


def start(devices, *flags):
    """A process of a run, with its own simulated devices."""
    hidden = ("XLA_FLAGS", "VFIJAX_DEBUG")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(devices), *map(str, flags)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(devices, *flags):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = ("--distributed.coordinator", address, "--distributed.processes", 2, "--devices", 0, *flags)
    return [start(devices, "--distributed.process", i, *shared) for i in range(2)]


def finish(process, timeout=120):
    """Exit code and what was said, at an ordinary end; kills it if there is none in time."""
    try:
        said, complained = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, said, complained


def assert_close(out, other):
    pairs = zip(*(jax.tree.leaves(vfijax.load(path / "last")) for path in (out, other)), strict=True)
    for leaf, same in pairs:
        np.testing.assert_allclose(leaf, same, rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run on one device of one process."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(replace(CONFIG, steps=STEPS, eval=replace(CONFIG.eval, every=STEPS)), out)
    return out


def test_a_killed_process_ends_the_other_and_the_run_goes_on_with_other_devices(whole, tmp_path):
    out, rng = tmp_path / "run", random.Random(0)
    flags = ("--out", out, "--steps", STEPS, "--eval.every", STEPS)
    first, second = start_two(2, "--preset", "tiny", *flags)
    for _ in range(rng.randrange(8, 20)):
        assert first.stdout.readline(), first.stderr.read()
    second.send_signal(signal.SIGKILL)
    second.communicate()
    code, _, complained = finish(first, END)
    assert code != 0
    # The runtime ends the process where the loss is noticed by heartbeat, else the step fails first.
    assert "another task died" in complained or "another process of the run is gone" in complained
    assert "Traceback" not in complained
    code, said, complained = finish(start(1, "--out", out, "--resume", "--devices", 1))
    assert code == 0 and "goes on after step" in said, complained
    assert_close(out, whole)
    assert [row["step"] for row in read_metrics(out) if "loss" in row] == list(range(1, STEPS + 1))


def test_two_processes_train_as_one_and_write_once(whole, tmp_path):
    out = tmp_path / "run"
    flags = ("--out", out, "--steps", STEPS, "--eval.every", STEPS)
    (code, said, complained), (other, silence, _) = map(finish, start_two(2, "--preset", "tiny", *flags))
    assert (code, other) == (0, 0), complained
    assert "on 4 x cpu (jit) of 2 processes" in said and f"step {STEPS}/{STEPS}" in said
    assert "step" not in silence  # the runtime says who it is connected to
    assert_close(out, whole)
    assert json.loads((out / "run.json").read_text())["started"]["processes"] == 2
    assert [row["step"] for row in read_metrics(out) if "loss" in row] == list(range(1, STEPS + 1))
