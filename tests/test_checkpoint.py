"""Checkpoints: what is saved is what is loaded, and nothing incomplete is taken for a model."""

import json

import jax
import numpy as np
import pytest

import vfijax
from vfijax.checkpoint import FORMAT, CheckpointError, config_from_json, config_to_json
from vfijax.models import MODELS, narrow
from vfijax.params import ModelParams


@pytest.fixture
def params():
    config = narrow("cdfi", width=2, taps=3, dilation=1)
    return vfijax.create("cdfi", 1, widths=config.widths, taps=3, dilation=1)


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_a_loaded_model_is_the_saved_one(tmp_path, params):
    vfijax.save(tmp_path / "model", params, made_by="a test")
    loaded = vfijax.load(tmp_path / "model")
    assert loaded.config == params.config
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    assert equal(loaded, params)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["notes"] == {"made_by": "a test"}


def test_a_model_without_parameters_is_stored_by_its_config(tmp_path):
    vfijax.save(tmp_path / "blend", vfijax.create("blend", 0))
    assert vfijax.load(tmp_path / "blend") == ModelParams({}, MODELS["blend"])


@pytest.mark.parametrize("name", MODELS)
def test_every_config_survives_json(name):
    config = MODELS[name]
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_an_older_checkpoint_is_replaced_and_nothing_else_stays(tmp_path, params):
    vfijax.save(tmp_path / "model", vfijax.create("blend", 0))
    vfijax.save(tmp_path / "model", params)
    assert vfijax.load(tmp_path / "model").config == params.config
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_failed_save_keeps_the_older_checkpoint(tmp_path, params):
    vfijax.save(tmp_path / "model", params)
    broken = ModelParams({"unet": object()}, params.config)
    with pytest.raises(Exception, match=r".+"):
        vfijax.save(tmp_path / "model", broken)
    assert equal(vfijax.load(tmp_path / "model"), params)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_no_checkpoint_is_not_overwritten(tmp_path, params):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        vfijax.save(tmp_path / "photos", params)
    assert (tmp_path / "photos" / "cat.txt").read_text() == "mine"


def edit(path, change):
    stored = json.loads((path / "config.json").read_text())
    change(stored)
    (path / "config.json").write_text(json.dumps(stored))


def cut_files(path):
    for file in (path / "tree").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def remove_tree(path):
    (path / "tree").rename(path / "elsewhere")


DAMAGE = {
    "no checkpoint": (lambda path: (path / "config.json").unlink(), "vfijax convert.*train.main"),
    "cut config": (lambda path: (path / "config.json").write_text('{"format": 1, "con'), "damaged"),
    "newer format": (lambda path: edit(path, lambda s: s.update(format=FORMAT + 1)), f"format {FORMAT + 1}"),
    "unknown architecture": (
        lambda path: edit(path, lambda s: s["config"].update(architecture="transformer")),
        "'transformer' is unknown",
    ),
    "unknown field": (lambda path: edit(path, lambda s: s["config"].update(depth=3)), "does not fit"),
    "no arrays": (remove_tree, "incomplete or damaged"),
    "cut arrays": (cut_files, "incomplete or damaged"),
    "another network's arrays": (
        lambda path: edit(path, lambda s: s["config"]["widths"].update(level5=3)),
        "incomplete or damaged",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused_with_the_reason(tmp_path, params, damage):
    vfijax.save(tmp_path / "model", params)
    spoil, reason = DAMAGE[damage]
    spoil(tmp_path / "model")
    with pytest.raises(CheckpointError, match=reason):
        vfijax.load(tmp_path / "model")
