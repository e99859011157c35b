"""`vfijax prune` and `python -m vfijax.prune`: what is printed and written, and how mistakes end."""

import dataclasses
import inspect
import json
import os
import re
import runpy
import sys
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from vfijax.cli import main
from vfijax.cli.prune import Args
from vfijax.media import read_image
from vfijax.models import ARCHITECTURES, ModelConfig, create, narrow
from vfijax.prune import prune, read_csv, widths


class Own(nn.Module):
    @nn.compact
    def __call__(self, f0, f1):
        frame = nn.Conv(3, (3, 3), name="only")(jnp.concatenate([f0, f1], axis=-1))
        return frame, {"offsets": (), "masks": {}, "warped": ()}


@dataclass(frozen=True)
class OwnConfig(ModelConfig):
    """A network that tells nothing about its channels."""

    architecture: ClassVar[str] = "own"

    def module(self, implementation="auto", reference_grads=False):
        return Own()


@pytest.fixture(scope="module")
def sparse():
    """A narrow network in which two thirds of the numbers are zero."""
    params = create(narrow("adacof", 6, taps=3), 0)
    rng = np.random.default_rng(0)
    tree = jax.tree.map(lambda leaf: leaf * (rng.uniform(size=leaf.shape) < 1 / 3), params.tree)
    return vfijax.ModelParams(tree, params.config)


@pytest.fixture(scope="module")
def checkpoint(sparse, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "sparse"
    vfijax.save(path, sparse)
    return path


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs `vfijax prune` in this process: (status, standard output, standard error)."""
    monkeypatch.setenv("COLUMNS", "100")

    def command(*arguments):
        status = main(["prune", *(str(a) for a in arguments)])
        return status, *capsys.readouterr()

    return command


def same(a, b):
    assert a.config == b.config
    jax.tree.map(np.testing.assert_array_equal, a.tree, b.tree)


@pytest.mark.slow
def test_a_narrower_network_is_written_and_reported(command, checkpoint, sparse, tmp_path):
    status, out, errors = command(
        *(checkpoint, tmp_path / "small", "--size", "32x32"),
        *("--csv", tmp_path / "report.csv", "--picture", tmp_path / "report.png"),
    )
    assert (status, errors) == (0, "")
    expected = prune(sparse, "paper")
    same(vfijax.load(tmp_path / "small"), expected)
    before, after = sparse.size, expected.size
    assert f"{before:,} parameters are not zero" in out
    for text in ("unet/conv1_0", "level5", "multiply-adds", f"{before / after:.2f}x", "written to"):
        assert text in out
    found = read_csv(tmp_path / "report.csv")
    assert widths(found, graph=sparse.config.graph()) == expected.config.widths
    assert read_image(tmp_path / "report.png").ndim == 3


def test_the_options_are_noted_in_the_checkpoint(command, checkpoint, sparse, tmp_path):
    options = ("--rule", "sqrt", "--policy", "min", "--multiple", 2, "--size", "32x32")
    assert command(checkpoint, tmp_path / "small", *options)[0] == 0
    same(vfijax.load(tmp_path / "small"), prune(sparse, "sqrt", policy="min", multiple=2))
    notes = json.loads((tmp_path / "small" / "config.json").read_text())["notes"]
    assert notes == {"pruned_from": "sparse", "rule": "sqrt", "policy": "min", "multiple": 2, "init": "slice"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (("--rule", "uniform", "--ratio", "0.5"), {"rule": "uniform", "ratio": 0.5}),
        (("--parameters", 8000, "--least", 2), {"parameters": 8000, "least": 2}),
        (
            ("--rounding", "floor", "--init", "fresh", "--seed", 3),
            {"rounding": "floor", "init": "fresh", "key": 3},
        ),
    ],
)
def test_the_options_are_those_of_prune(command, checkpoint, sparse, tmp_path, options, arguments):
    assert command(checkpoint, tmp_path / "small", "--size", "32x32", *options)[0] == 0
    same(vfijax.load(tmp_path / "small"), prune(sparse, **arguments))


def test_a_table_of_ones_own(command, checkpoint, sparse, tmp_path):
    (tmp_path / "table.json").write_text('{"level5": 3}')
    assert (
        command(checkpoint, tmp_path / "small", "--widths", tmp_path / "table.json", "--size", "32x32")[0]
        == 0
    )
    assert vfijax.load(tmp_path / "small").config.widths == sparse.config.widths.replace({"level5": 3})


def test_a_report_alone_writes_no_network(command, checkpoint, tmp_path):
    status, out, _ = command(checkpoint, "--report-only", "--size", "32x32")
    assert status == 0 and "unet/conv1_0" in out and "written" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_report_alone_needs_no_channel_graph(command, tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "own", OwnConfig)
    vfijax.save(tmp_path / "own", create(OwnConfig("own"), 0))
    options = ("--report-only", "--size", "32x32", "--csv", tmp_path / "report.csv")
    status, out, errors = command(tmp_path / "own", *options)
    assert (status, errors) == (0, "") and re.search("only .* 162 .* 1.000", out)
    assert "no widths: own: OwnConfig declares no channel graph" in out
    assert read_csv(tmp_path / "report.csv") == {"only": 1.0}
    status, out, errors = command(tmp_path / "own", tmp_path / "small")
    assert (status, out) == (1, "") and "OwnConfig declares no channel graph" in errors


def test_time_and_memory_are_measured_when_asked(command, checkpoint):
    status, out, _ = command(checkpoint, "--report-only", "--measure", "--size", "32x32")
    assert status == 0 and "time per frame" in out


def test_a_network_that_is_there_is_replaced_when_asked_alone(command, checkpoint, tmp_path):
    options = ("--size", "32x32", "--rule", "uniform", "--ratio")
    assert command(checkpoint, tmp_path / "small", *options, "0.5")[0] == 0
    before = (tmp_path / "small" / "config.json").read_text()
    status, _, errors = command(checkpoint, tmp_path / "small", *options, "0.25")
    assert status == 1 and errors == (
        f"vfijax: error: {tmp_path / 'small'} exists; give another name, or --overwrite to replace it\n"
    )
    assert (tmp_path / "small" / "config.json").read_text() == before
    assert command(checkpoint, tmp_path / "small", *options, "0.25", "--overwrite")[0] == 0
    assert (tmp_path / "small" / "config.json").read_text() != before


@pytest.mark.parametrize(("option", "name"), [("--csv", "report.csv"), ("--picture", "report.png")])
def test_a_report_that_is_there_is_replaced_when_asked_alone(command, checkpoint, tmp_path, option, name):
    (tmp_path / name).write_text("older")
    arguments = (checkpoint, "--report-only", "--size", "32x32", option, tmp_path / name)
    status, out, errors = command(*arguments)
    assert (status, out) == (1, "") and f"{name} exists; give another name, or --overwrite" in errors
    assert (tmp_path / name).read_text() == "older"
    assert command(*arguments, "--overwrite")[0] == 0
    assert (tmp_path / name).read_bytes() != b"older"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "OUT is missing"),
        (("OUT", "--size", "720"), "--size is 720; give height and width in pixels, such as 720x1280"),
        (("OUT", "--rule", "uniform"), "uniform takes a number in"),
        (("OUT", "--rule", "exact", "--parameters", 5), "exact removes what the output does not need and"),
        (("OUT", "--parameters", 5, "--multiply-adds", 5), "parameters and multiply-adds are both given"),
        (("OUT", "--parameters", 5), "a budget of 5 parameters cannot be met; the narrowest network"),
        (("OUT", "--widths", "none.json"), "none.json: No such file or directory"),
        (("OUT", "--widths", "none.json", "--multiple", 8), "leave out --multiple"),
        (("OUT", "--picture", "report.txt"), "--picture report.txt: give a name that ends in .png"),
        (("OUT", "--csv", "nowhere/report.csv"), "--csv nowhere/report.csv: there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    command, checkpoint, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    status, _, errors = command(checkpoint, *options)
    assert status == 1 and errors.startswith("vfijax: error: ") and errors.count("\n") == 1
    assert message in errors
    assert os.listdir(tmp_path) == []


def test_what_is_no_checkpoint_and_what_has_no_channels_are_refused(command, tmp_path):
    assert "no checkpoint at" in command(tmp_path / "none", tmp_path / "small")[2]
    vfijax.save(tmp_path / "blend", create("blend", 0))
    assert (
        "blend: has no channels that could be removed" in command(tmp_path / "blend", tmp_path / "small")[2]
    )
    assert not (tmp_path / "small").exists()


def test_the_module_is_the_command(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vfijax.prune", str(checkpoint), "--report-only", "--size", "32x32"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("vfijax.prune", run_name="__main__")
    assert caught.value.code == 0 and "unet/conv1_0" in capsys.readouterr().out


def test_an_option_that_is_not_given_is_what_the_library_takes():
    library = inspect.signature(widths).parameters
    given = {field.name: field.default for field in dataclasses.fields(Args) if field.name in library}
    del given["size"]  # as text
    assert {name: library[name].default for name in given} == given and len(given) == 8
