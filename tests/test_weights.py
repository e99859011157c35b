"""Weights that come with the package: what they are, and that they are the ones that were shipped."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import vfijax
from benchmarks.displacement import measured, triplets
from train import ship
from vfijax import weights
from vfijax.checkpoint import CheckpointError, load, save
from vfijax.models import MODELS, create, shapes
from vfijax.weights.resolve import resolve

NAMES = pytest.mark.parametrize("name", weights.SHIPPED)


@NAMES
def test_a_shipped_model_is_found_by_its_name_and_fits_its_network(name):
    params = vfijax.load(name)
    assert params.config == MODELS[name]
    found, wanted = (
        jax.tree.map(lambda a: (a.shape, a.dtype), t) for t in (params.tree, shapes(MODELS[name]))
    )
    assert found == wanted
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params.tree))
    jax.tree.map(np.testing.assert_array_equal, resolve(name).tree, params.tree)


@NAMES
def test_a_shipped_model_is_small_and_has_a_card(name):
    assert (weights.HERE / f"{name}.npz").stat().st_size < 4_000_000
    assert f"`{name}`" in (weights.HERE / "README.md").read_text()


def test_a_checkpoint_of_the_same_name_goes_first_and_any_other_directory_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("guided", "flow"):
        (tmp_path / name).mkdir()
        assert load("guided").config.name == "guided" and resolve(name).config.name == name
    (tmp_path / "guided").rmdir()
    save("guided", create("blend", 0))
    assert load("guided").config.name == resolve("guided").config.name == "blend"


def test_a_name_may_be_given_as_a_path():
    assert load(Path("guided")).config == MODELS["guided"]


def test_a_trained_model_is_shipped_with_the_motion_of_another_run(tmp_path, monkeypatch, capsys):
    weights_alone = create("guided", 0, coarse=False)
    save(tmp_path / "run", weights_alone, step=7)
    save(tmp_path / "coarse", create("coarse_motion", 3), step=5)
    monkeypatch.setattr(weights, "HERE", tmp_path)
    monkeypatch.setattr("sys.argv", ["ship", f"{tmp_path}/run", "guided", "--coarse", f"{tmp_path}/coarse"])
    assert ship.main() == 0
    printed = capsys.readouterr().out.split()[-1]
    monkeypatch.setattr(weights, "SHIPPED", {"guided": printed})
    read = weights.read("guided")
    assert read.config.coarse and set(read.tree) == {"weights", "coarse"}
    assert json.loads((tmp_path / "guided.json").read_text())["notes"] == {"step": 7, "coarse_step": 5}
    monkeypatch.setattr("sys.argv", ["ship", f"{tmp_path}/nothing", "guided"])
    assert ship.main() == 1 and "no checkpoint at" in capsys.readouterr().err


def test_what_is_written_is_read_again_to_half_precision(tmp_path, monkeypatch):
    params = create("coarse_motion", 0)
    monkeypatch.setattr(weights, "HERE", tmp_path)
    monkeypatch.setattr(weights, "SHIPPED", {"small": weights.write("small", params, step=3)})
    read = weights.read("small")
    assert read.config == params.config
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a, np.float16), b), params.tree, read.tree
    )
    assert json.loads((tmp_path / "small.json").read_text())["notes"] == {"step": 3}


@NAMES
def test_a_file_that_changed_is_refused(name, tmp_path, monkeypatch):
    for file in weights.HERE.glob(f"{name}.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes()[:-1])
    monkeypatch.setattr(weights, "HERE", tmp_path)
    with pytest.raises(CheckpointError, match=r"guided\.npz is damaged; install vfijax again"):
        load(name)


def test_guided_is_better_than_flow_where_motion_is_large():
    """On drawn scenes of photographs that it was not trained on."""
    frames = triplets(40, scenes=6, size=192)
    scores = measured({name: resolve(name) for name in ("guided", "flow")}, frames)
    gain = np.subtract(scores["guided"], scores["flow"])
    assert gain.mean() > 0.2 and np.median(gain) > 0
