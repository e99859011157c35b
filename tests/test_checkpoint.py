"""A saved model comes back as it was, or the error says why not; an older one is never lost."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import vfijax
from vfijax import checkpoint
from vfijax.checkpoint import (
    FORMAT,
    CheckpointError,
    config_from_json,
    config_to_json,
    load_config,
    put_back,
)
from vfijax.models import MODELS, create, narrow, shapes
from vfijax.weights.resolve import resolve


@pytest.fixture
def model():
    """Narrow, with widths that no entry of MODELS has."""
    config = narrow("cdfi", width=3, taps=3, dilation=1, rounding="trunc")
    return create(config.replace(widths=config.widths.replace({"level3": 5, "grid1": 2})), 0)


def assert_equal(found, expected):
    assert found.config == expected.config
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def config_file(path):
    return json.loads((path / "config.json").read_text())


def rewrite(path, **changes):
    (path / "config.json").write_text(json.dumps({**config_file(path), **changes}))


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        vfijax.load(path)
    return str(caught.value)


# ---------------------------------------------------------------------------------------- round trip


def test_parameters_come_back_to_the_last_bit_with_their_widths(tmp_path, model):
    vfijax.save(tmp_path / "model", model)
    assert_equal(vfijax.load(tmp_path / "model"), model)
    assert vfijax.load(tmp_path / "model").config.widths["level3"] == 5


def test_a_model_without_parameters_is_its_config(tmp_path):
    vfijax.save(tmp_path / "blend", create("blend", 0))
    assert [path.name for path in (tmp_path / "blend").iterdir()] == ["config.json"]
    assert_equal(vfijax.load(tmp_path / "blend"), create("blend", 0))


@pytest.mark.parametrize("name", MODELS)
def test_every_config_survives_json(name):
    stored = json.loads(json.dumps(config_to_json(MODELS[name])))
    assert config_from_json(stored) == MODELS[name]
    assert hash(config_from_json(stored)) == hash(MODELS[name])


def test_paths_may_be_strings_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vfijax.save("runs/best", create("blend", 0))
    assert vfijax.load("runs/best").config.name == "blend"


def test_parameters_are_float32_with_64_bits_too_wherever_they_come_from(tmp_path, model, float64):
    vfijax.save(tmp_path / "model", model)
    shapes.cache_clear()
    for loaded in (vfijax.load(tmp_path / "model"), vfijax.load("guided")):
        assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype("float32")}
    assert_equal(vfijax.load(tmp_path / "model"), model)


def test_frames_are_float32_with_64_bits_too(float64):
    for frames in (np.zeros((2, 4, 5, 3)), np.zeros((2, 4, 5, 3), np.float32)):
        for name in ("blend", "flow_medium"):
            params = create(name, 0)
            made = [vfijax.interpolate(params, *frames, t=t) for t in (0, 0.25, 0.5)]
            made += vfijax.interpolate_n(params, *frames, 2)
            assert {frame.dtype for frame in made} == {np.dtype("float32")}


def test_notes_and_format_are_stored(tmp_path):
    vfijax.save(tmp_path / "model", create("blend", 0), step=300, source="a test")
    stored = config_file(tmp_path / "model")
    assert stored["format"] == FORMAT
    assert stored["notes"] == {"step": 300, "source": "a test"}


def test_a_model_that_lies_on_another_device_loads(tmp_path, model):
    elsewhere = jax.device_put(model, jax.devices()[-1])
    vfijax.save(tmp_path / "model", elsewhere)
    loaded = vfijax.load(tmp_path / "model")
    assert_equal(loaded, model)
    assert {leaf.device for leaf in jax.tree.leaves(loaded)} == {jax.devices()[0]}


def test_a_model_spread_over_devices_loads(tmp_path, model):
    mesh = jax.make_mesh((len(jax.devices()),), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(model, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    vfijax.save(tmp_path / "model", spread)
    assert_equal(vfijax.load(tmp_path / "model"), model)


# ----------------------------------------------------------------------------------------- replacing


def test_a_newer_model_replaces_an_older_one_and_leaves_nothing_beside(tmp_path, model):
    vfijax.save(tmp_path / "model", model)
    newer = vfijax.ModelParams(jax.tree.map(lambda leaf: leaf + 1, model.tree), model.config)
    vfijax.save(tmp_path / "model", newer)
    assert_equal(vfijax.load(tmp_path / "model"), newer)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    vfijax.save(tmp_path / "model", create("blend", 0))  # also one of another kind
    assert_equal(vfijax.load(tmp_path / "model"), create("blend", 0))
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


def test_a_failed_save_leaves_the_older_model_and_nothing_else(tmp_path, model):
    vfijax.save(tmp_path / "model", model)
    with pytest.raises(TypeError):
        vfijax.save(tmp_path / "model", create("blend", 0), note=object())  # no JSON
    assert_equal(vfijax.load(tmp_path / "model"), model)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


REFUSED = """
import resource, sys, vfijax
from vfijax.command import run_main
from vfijax.models import create, narrow

large = create(narrow("adacof", width=32), 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
sys.exit(run_main("program", lambda: vfijax.save(sys.argv[1], large)))
"""


def test_what_the_system_refuses_to_write_is_one_error_of_it_and_leaves_nothing(tmp_path):
    """In a process of its own, since orbax leaves an event loop behind that complains later."""
    command = [sys.executable, "-c", REFUSED, str(tmp_path / "m")]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    assert f"program: error: cannot write {tmp_path / 'm'}: File too large\n" in done.stderr


@pytest.mark.parametrize("name", ["m" * 255, "\N{CYCLONE}" * 63, "m." + "v" * 250])
def test_a_model_may_have_any_legal_name(tmp_path, name):
    for seed in (0, 1):
        vfijax.save(tmp_path / name, create(narrow("adacof"), seed))
    assert_equal(vfijax.load(tmp_path / name), create(narrow("adacof"), 1))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def killed_at_rename(number, monkeypatch):
    """The process ends just before the given call of rename: nothing after it happens, no clean-up either."""
    calls, rename = [], Path.rename

    def dying(self, target):
        calls.append(self)
        if len(calls) == number:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", dying)
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)


@pytest.mark.parametrize(("number", "left"), [(1, "older"), (2, "older"), (3, "newer")])
def test_a_save_killed_at_any_rename_leaves_a_model_that_loads_and_the_next_save_tidies_up(
    tmp_path, monkeypatch, number, left
):
    older, newer = (narrow("adacof", width=2, taps=taps) for taps in (2, 3))
    vfijax.save(tmp_path / "model", create(older, 0))
    with monkeypatch.context() as patched:
        killed_at_rename(number, patched)
        with pytest.raises(KeyboardInterrupt):
            vfijax.save(tmp_path / "model", create(newer, 0))
    before = sorted(tmp_path.iterdir())
    assert vfijax.load(tmp_path / "model").config == {"older": older, "newer": newer}[left]
    assert load_config(tmp_path / "model") == resolve(str(tmp_path / "model")).config
    assert sorted(tmp_path.iterdir()) == before and len(before) == 2  # reading changes nothing
    vfijax.save(tmp_path / "model", create("blend", 0))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert vfijax.load(tmp_path / "model").config.name == "blend"


def test_a_model_that_was_moved_aside_gets_its_name_back(tmp_path, model):
    vfijax.save(tmp_path / "model", model)
    put_back(tmp_path / "model")  # nothing to do
    (tmp_path / "model").rename(tmp_path / ".model.abcd_123.older")
    put_back(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    put_back(tmp_path / "nowhere" / "model")


def test_what_belongs_to_other_models_is_left_alone(tmp_path):
    others = [".model.best.abcd1234.older", ".model.json.partial", ".model.best.abcd1234.partial"]
    for other in others:
        (tmp_path / other).mkdir()
    assert refusal(tmp_path / "model").startswith("no checkpoint at")
    vfijax.save(tmp_path / "model", create("blend", 0))
    assert {path.name for path in tmp_path.iterdir()} == {"model", *others}


def test_the_final_name_appears_only_when_all_is_written(tmp_path, model, monkeypatch):
    seen, dumps = [], json.dumps

    def look(*args, **kwargs):
        seen.append((tmp_path / "model").exists())
        return dumps(*args, **kwargs)

    monkeypatch.setattr(checkpoint.json, "dumps", look)
    vfijax.save(tmp_path / "model", model)
    assert seen[-1] is False and (tmp_path / "model").exists()


def test_a_directory_that_is_no_checkpoint_is_never_replaced(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is no checkpoint; give another path"):
        vfijax.save(tmp_path / "precious", create("blend", 0))
    assert (tmp_path / "precious" / "file").read_text() == "mine"
    with pytest.raises(CheckpointError, match="exists and is no checkpoint"):
        vfijax.save(tmp_path / "precious" / "file", create("blend", 0))


def test_a_saved_model_is_readable_for_others(tmp_path):
    vfijax.save(tmp_path / "model", create("blend", 0))
    assert os.stat(tmp_path / "model").st_mode & 0o777 == 0o755


# -------------------------------------------------------------------------------------------- errors


def test_a_path_without_a_checkpoint_says_how_to_make_one(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        message = refusal(path)
        assert message.startswith(f"no checkpoint at {path} (no config.json)")
        assert "vfijax convert" in message and "train.main" in message


@pytest.mark.parametrize("version", [0, FORMAT + 1, "2"])
def test_another_format_version_is_named(tmp_path, version):
    vfijax.save(tmp_path / "model", create("blend", 0))
    rewrite(tmp_path / "model", format=version)
    assert f"has checkpoint format {version}, this version of vfijax reads format {FORMAT}" in refusal(
        tmp_path / "model"
    )


@pytest.mark.parametrize("text", ["", '{"format": 1, "conf', "[]", "{}", "null"])
def test_a_damaged_config_is_an_error(tmp_path, text):
    vfijax.save(tmp_path / "model", create("blend", 0))
    (tmp_path / "model" / "config.json").write_text(text)
    assert re.search(r"config\.json is damaged; the checkpoint cannot be read$", refusal(tmp_path / "model"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"architecture": "raft", "name": "raft"},
            "architecture 'raft' is unknown (known: adacof, cdfi",
        ),
        ({"name": "blend"}, "architecture None is unknown"),
        ({"architecture": "blend", "name": "blend", "taps": 5}, "config does not fit blend: "),
        ({"architecture": "blend"}, "config does not fit blend: "),
    ],
)
def test_a_config_of_no_known_network_is_an_error(tmp_path, config, message):
    vfijax.save(tmp_path / "model", create("blend", 0))
    rewrite(tmp_path / "model", config=config)
    assert message in refusal(tmp_path / "model")


def tree_files(path):
    return [file for file in (path / "tree").rglob("*") if file.is_file()]


def test_a_checkpoint_without_its_tree_is_incomplete(tmp_path, model):
    vfijax.save(tmp_path / "model", model)
    (tmp_path / "model" / "tree").rename(tmp_path / "elsewhere")
    assert f"{tmp_path / 'model'} is incomplete or damaged" in refusal(tmp_path / "model")


def test_a_truncated_or_missing_file_of_the_tree_is_an_error(tmp_path, model):
    vfijax.save(tmp_path / "model", model)
    data = max(tree_files(tmp_path / "model"), key=lambda file: file.stat().st_size)
    content = data.read_bytes()
    for damage in (lambda: data.write_bytes(content[: len(content) // 2]), data.unlink):
        damage()
        assert f"{tmp_path / 'model'} is incomplete or damaged" in refusal(tmp_path / "model")
    data.write_bytes(content)
    assert_equal(vfijax.load(tmp_path / "model"), model)


def test_a_tree_of_another_width_is_an_error(tmp_path, model):
    vfijax.save(tmp_path / "model", model)
    stored = config_file(tmp_path / "model")["config"]
    stored["widths"]["level3"] += 1
    rewrite(tmp_path / "model", config=stored)
    assert "is incomplete or damaged" in refusal(tmp_path / "model")


def test_an_interrupted_write_is_no_checkpoint(tmp_path, model):
    """The tree alone, as a killed process leaves it under a temporary name."""
    vfijax.save(tmp_path / "model", model)
    (tmp_path / "model" / "config.json").unlink()
    assert refusal(tmp_path / "model").startswith(f"no checkpoint at {tmp_path / 'model'}")
