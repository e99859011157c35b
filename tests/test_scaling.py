"""What devices exchange in a training step, counted from compiled programs (`benchmarks.scaling`)."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scaling import collectives, gradient_bytes, measured, ring_volume
from tests.training.tiny import CONFIG
from train.state import initial_state

CONFIG = replace(CONFIG, data=replace(CONFIG.data, batch=2))
PROGRAM = """
  %sum = f32[3,5]{1,0} all-reduce(%a), replica_groups={{0,1}}
  %pair = (f32[4]{0}, bf16[2,3]{1,0}) all-reduce(%b, %c), to_apply=%add
  %whole = s8[10]{0} all-gather(%d), dimensions={0}
  %begun = f32[] all-reduce-start(%e)
  %other = f32[100]{0} add(%f, %g)
"""
COMMAND = """
import sys
from benchmarks.scaling import main
from tests.training.tiny import CONFIG
from train.presets import PRESETS

PRESETS["tiny"] = CONFIG
sys.exit(main(sys.argv[1:]))
"""


def test_results_of_collective_operations_are_added_by_kind():
    assert collectives(PROGRAM) == {"all-reduce": 60 + 16 + 12 + 4, "all-gather": 10}
    assert collectives("%other = f32[100]{0} add(%f, %g)") == {}


def test_a_ring_sends_less_than_twice_the_array():
    volumes = [ring_volume(100, devices) for devices in (1, 2, 4, 1000)]
    assert volumes == pytest.approx([0, 100, 150, 199.8])


@pytest.mark.parametrize("form", ["jit", "pmap"])
def test_two_devices_exchange_the_gradients_and_little_else(form):
    seen = measured(replace(CONFIG, devices=2, parallel=form), steps=1)
    gradients = gradient_bytes(initial_state(CONFIG))
    assert (seen.devices, *seen.exchanged) == (2, "all-reduce")
    assert gradients <= seen.exchanged["all-reduce"] <= gradients + 64  # and a few scalars
    assert seen.seconds > 0 and seen.compile_s > 0


@pytest.mark.slow
def test_the_command_has_a_line_for_every_number_of_devices():
    hidden = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    flags = "--model tiny --devices 1 2 --batch 2 --crop 32 --steps 1"
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, *flags.split()],
        cwd=Path(__file__).parents[1],
        env={name: value for name, value in os.environ.items() if name not in hidden},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if "s/step" in line]
    assert re.match(r"1 devices: .* exchanges nothing$", lines[0])
    assert re.match(r"2 devices: .* exchanges {'all-reduce': \d+}$", lines[1])
    assert len(lines) == 2
