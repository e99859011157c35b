"""The summary measures both networks and states the ratios."""

import io
import json
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
import rich.console

from vfijax.models import ModelConfig, create
from vfijax.prune import summary as package_summary
from vfijax.prune.flops import model_counts, model_multiply_adds, xla_flops
from vfijax.prune.summary import Costs, Summary, summary

HEIGHT, WIDTH = 64, 96


@dataclass(frozen=True)
class SmallConfig(ModelConfig):
    """A network that compiles in no time."""

    width: int = 32

    architecture = "small"
    stride = 4

    def module(self, implementation="auto", reference_grads=False):
        return Small(self.width)


class Small(nn.Module):
    width: int

    @nn.compact
    def __call__(self, f0, f1):
        x = jnp.concatenate([f0, f1], axis=-1)
        for i, features in enumerate((self.width, self.width, 3)):
            x = nn.relu(nn.Conv(features, (3, 3), name=f"conv_{i}")(x))
        return x, {}


@pytest.fixture(scope="module")
def networks():
    return tuple(create(SmallConfig("small", width), 0) for width in (32, 4))


@pytest.fixture(scope="module")
def measured(networks):
    return summary(*networks, HEIGHT, WIDTH)


def text(table):
    out = io.StringIO()
    rich.console.Console(file=out, width=100).print(table)
    return out.getvalue()


def test_both_sides_hold_what_the_counters_say(networks, measured):
    for params, costs in zip(networks, (measured.before, measured.after), strict=True):
        assert costs.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))
        assert costs.bytes == 4 * costs.parameters
        assert costs.multiply_adds == model_multiply_adds(params, HEIGHT, WIDTH)
        assert costs.convolutions == model_counts(params, HEIGHT, WIDTH)["convolutions"]
        assert costs.xla_flops == xla_flops(params, HEIGHT, WIDTH)


def test_time_and_memory_are_measured(measured):
    for costs in (measured.before, measured.after):
        frames = 3 * HEIGHT * WIDTH * 3 * 4
        assert 0 < costs.seconds < 60
        assert costs.memory > frames + costs.bytes
    assert measured.before.memory > measured.after.memory


def test_ratios_are_before_over_after(measured):
    assert measured.ratios["parameters"] == measured.before.parameters / measured.after.parameters
    assert measured.ratios["parameters"] > 8
    assert set(measured.ratios) == set(measured.to_json()["before"])


def test_without_measuring_nothing_is_compiled_and_time_is_left_out(networks):
    found = summary(*networks, HEIGHT, WIDTH, measure=False)
    assert found.before.seconds is None and found.after.memory is None and found.ratios["seconds"] is None
    assert found.before.multiply_adds > found.after.multiply_adds
    assert "time" not in text(found.table()) and "multiply-adds" in text(found.table())


def test_the_table_shows_both_sides_in_their_units():
    before = Costs(21_843_427, 87_373_708, 357_313_986_560, 356_021_452_800, 7.1e11, 2.5, 3_000_000_000)
    after = Costs(2_452_094, 9_808_376, 184_710_028_400, 183_499_588_080, 3.7e11, 1.25, None)
    lines = text(Summary(before, after, 720, 1280).table()).splitlines()
    assert "1280x720" in lines[0]
    rows = {
        line.split("│")[1].strip(): [c.strip() for c in line.split("│")[2:5]] for line in lines if "│" in line
    }
    assert rows["parameters, M"] == ["21.8", "2.45", "8.91x"]
    assert rows["multiply-adds, G"] == ["357.3", "184.7", "1.93x"]
    assert rows["time per frame, ms"] == ["2,500.0", "1,250.0", "2.00x"]
    assert rows["peak memory, MB"] == ["3,000.0", "-", "-"]


def test_the_json_form_is_json(measured):
    found = json.loads(json.dumps(measured.to_json()))
    assert (found["height"], found["width"]) == (HEIGHT, WIDTH)
    assert found["after"]["seconds"] == measured.after.seconds
    assert found["ratio"]["memory"] == measured.before.memory / measured.after.memory


def test_a_network_without_parameters_can_be_compared():
    found = summary(create("blend", 0), create("blend", 0), HEIGHT, WIDTH)
    assert found.before.parameters == 0 and found.ratios["parameters"] is None
    assert "-" in text(found.table())


def test_it_is_a_name_of_the_package():
    assert package_summary is summary
