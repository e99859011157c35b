"""A saved model comes back as it was, or the error says why not; an older one is never lost."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import vfijax
from vfijax import checkpoint, trees
from vfijax.checkpoint import (
    FORMAT,
    CheckpointError,
    config_from_json,
    config_to_json,
    is_checkpoint,
    load_config,
    load_notes,
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


@pytest.mark.parametrize(("number", "left"), [(1, "older"), (2, "older"), (3, "older"), (4, "newer")])
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


# ------------------------------------------------------------------------------- damage of every kind


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small checkpoint, to be copied and damaged."""
    path = tmp_path_factory.mktemp("saved") / "model"
    vfijax.save(path, create(narrow("adacof", width=2, taps=1), 0))
    return path


@pytest.fixture
def damaged(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "model"))


def one_line(message):
    return "\n" not in message and "\x1b" not in message and len(message) < 600


DAMAGE = {
    "nothing": lambda file: file.write_bytes(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"more"),
    "other": lambda file: file.write_bytes(bytes(byte ^ 0x55 for byte in file.read_bytes()) or b"x"),
    "missing": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_file_of_a_checkpoint_that_is_damaged_is_named_in_one_line(damaged, damage, caplog, capfd):
    files = [file for file in damaged.rglob("*") if file.is_file()]
    assert len(files) > 5
    for file in files:
        content = file.read_bytes()
        DAMAGE[damage](file)
        if damage not in ("nothing", "half") or content:  # that of an empty file changes nothing
            message = refusal(damaged)
            assert one_line(message) and str(damaged) in message and file.name in message
        file.write_bytes(content)
    assert load_config(damaged).name == "adacof" and vfijax.load(damaged).size
    assert not caplog.records and capfd.readouterr() == ("", "")  # no library has a say


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "3", '"text"', '{"a": 1}', '{"a', "[" * 100_000])
@pytest.mark.parametrize("file", ["config.json", "tree/checksums.json"])
def test_a_json_file_that_holds_something_else_is_damage(damaged, file, text):
    (damaged / file).write_text(text)
    message = refusal(damaged)
    assert one_line(message) and re.search(r"is damaged|tree/a is missing", message)


@pytest.mark.parametrize("config", [None, [], "adacof", 3, True])
def test_a_config_that_is_no_object_says_what_it_is(damaged, config):
    rewrite(damaged, config=config)
    assert refusal(damaged).startswith(f"{damaged / 'config.json'}: config is ")


FIELDS = [
    ({"widths": None}, "widths is missing"),
    ({"name": None}, "name is missing"),
    ({"name": 3}, "name is 3, not a string"),
    ({"taps": "5"}, 'taps is "5", not a whole number, 0 or more'),
    ({"taps": -5}, "taps is -5, not a whole number, 0 or more"),
    ({"taps": 5.0}, "taps is 5.0, not a whole number"),
    ({"taps": True}, "taps is true, not a whole number"),
    ({"taps": [5]}, "taps is [5], not a whole number"),
    ({"rounding": "up"}, 'rounding is "up", not one of '),
    ({"rounding": []}, "rounding is [], not one of "),
    ({"widths": {}}, "describes no network of vfijax (no channel space "),
    ({"widths": {**narrow("adacof", width=2).widths, "level9": 2}}, "adacof has no channel space level9"),
    ({"widths": [1]}, "widths is [1], not an object from channel space to width"),
    ({"widths": {"level1": "4"}}, 'widths is {"level1": "4"}, not an object'),
    ({"widths": {"level1": 0}}, 'widths is {"level1": 0}, not an object'),
    ({"more": 1, "other": 2}, "more is unknown; other is unknown"),
    ({"architecture": ["adacof"]}, "architecture ['adacof'] is unknown"),
    ({"architecture": None}, "architecture None is unknown"),
]


@pytest.mark.parametrize(("changes", "message"), FIELDS, ids=str)
def test_a_field_of_the_config_that_is_missing_or_wrong_is_named(damaged, changes, message):
    stored = {**config_file(damaged)["config"], **changes}
    rewrite(damaged, config={name: value for name, value in stored.items() if value is not None})
    found = refusal(damaged)
    assert found.startswith(f"{damaged / 'config.json'}") and message in found and one_line(found)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_config(damaged)


@pytest.mark.parametrize("version", [None, True, [1], {}, 1.0])
def test_a_format_that_is_no_number_is_another_format(damaged, version):
    rewrite(damaged, format=version)
    assert f"has checkpoint format {version}, this version" in refusal(damaged)


def test_notes_that_are_missing_or_something_else_do_no_harm(damaged):
    rewrite(damaged, notes="text")
    assert load_notes(damaged) == {} and vfijax.load(damaged).config.name == "adacof"


def test_a_message_of_a_library_never_reaches_the_user(damaged, monkeypatch):
    noise = "\x1b[31mINTERNAL\x1b[0m: spec of TensorStore({\n 'driver': 'zarr3'"
    monkeypatch.setattr(trees._orbax(), "metadata", lambda *_: (_ for _ in ()).throw(ValueError(noise)))
    assert refusal(damaged) == (
        f"{damaged} is incomplete or damaged and cannot be read (orbax cannot read tree)"
    )


# ----------------------------------------------------------------------------------- what may be saved


def refused_save(path, params, **notes):
    with pytest.raises((CheckpointError, TypeError)) as caught:
        vfijax.save(path, params, **notes)
    assert not Path(path).exists() and one_line(str(caught.value))
    return str(caught.value)


def test_a_tree_that_does_not_fit_its_config_is_not_saved(tmp_path):
    path, model = tmp_path / "model", create(narrow("adacof", width=2, taps=1), 0)
    wider = create(narrow("adacof", width=3, taps=1), 0)
    lacking = {"unet": {k: v for k, v in model.tree["unet"].items() if k != "conv1_0"}}
    for tree, message in (
        (wider.tree, r"are not those of adacof: \S+ is \(.*\), the network has \(.*\); and \d+ more"),
        (lacking, r"unet/conv1_0/bias is absent, the network has \(2,\)"),
        ({**model.tree, "more": np.zeros(3, np.float32)}, r"more is \(3,\), the network has no such array"),
        ({}, "unet/conv1_0/bias is absent"),
        (
            jax.tree.map(lambda leaf: np.zeros(leaf.shape, int), model.tree),
            "unet/conv1_0/bias is int64; an arr",
        ),
        (jax.tree.map(lambda leaf: "text", model.tree), r"unet/conv1_0/bias is \(\), the network has"),
        (jax.eval_shape(lambda: model.tree), "is ShapeDtypeStruct; an array of floating-point numbers"),
    ):
        assert re.search(message, refused_save(path, vfijax.ModelParams(tree, model.config)))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_is_not_saved(tmp_path):
    path, model = tmp_path / "model", create("blend", 0)
    assert "save: params is dict; give ModelParams(tree, config)" in refused_save(path, {})
    assert "not in vfijax.models.ARCHITECTURES" in refused_save(path, vfijax.ModelParams({}, None))
    with pytest.raises(TypeError, match="save: the path is ModelParams"):
        vfijax.save(model, path)
    assert "the notes cannot be written as JSON" in refused_save(path, model, note=object())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_parameters_of_half_precision_come_back_as_float32(tmp_path, dtype):
    model = create(narrow("adacof", width=2, taps=1), 0)
    halves = vfijax.ModelParams(jax.tree.map(lambda leaf: leaf.astype(dtype), model.tree), model.config)
    vfijax.save(tmp_path / "model", halves)
    assert_equal(
        vfijax.load(tmp_path / "model"),
        vfijax.ModelParams(jax.tree.map(lambda leaf: leaf.astype("float32"), halves.tree), model.config),
    )


# --------------------------------------------------------------------------------- links, runs, paths


def test_what_a_link_names_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    link, place = tmp_path / "best", tmp_path / "disk" / "model"
    link.symlink_to(place)  # there is nothing yet
    for name in ("flow", "blend", "flow"):
        vfijax.save(link, create(name, 0))
        assert link.is_symlink() and vfijax.load(link).config.name == vfijax.load(place).config.name == name
    assert [path.name for path in place.parent.iterdir()] == ["model"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "disk"]
    place.rename(place.with_name(".model.abcd_123.older"))  # by a save that was killed
    assert vfijax.load(link).config.name == "flow"
    put_back(link)
    assert place.is_dir() and link.is_symlink()


def test_a_link_in_the_way_to_a_model_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    vfijax.save(tmp_path / "runs" / "model", create("blend", 0))
    assert load_config(tmp_path / "disk" / "model").name == "blend"


def test_a_link_to_itself_is_said_to_be_one(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for action in (
        lambda: vfijax.load(tmp_path / "loop"),
        lambda: vfijax.save(tmp_path / "loop", create("blend", 0)),
    ):
        with pytest.raises(CheckpointError, match=r"loop is a symbolic link that leads back to itself"):
            action()


@pytest.mark.parametrize("inner", ["model", "compressed"])
def test_a_run_stands_for_the_model_in_it(tmp_path, inner):
    run = tmp_path / "demo" / "run"
    vfijax.save(run / inner, create("blend", 0), step=7)
    (run / "run.json").write_text("{}")
    assert (
        vfijax.load(run).config == load_config(run) == resolve(str(run)).config == create("blend", 0).config
    )
    assert load_notes(run) == {"step": 7}
    with pytest.raises(CheckpointError, match="exists and is no checkpoint"):
        vfijax.save(run, create("blend", 0))


def test_a_path_beside_a_checkpoint_says_where_it_is(tmp_path):
    run = tmp_path / "demo" / "run"
    vfijax.save(run / "model", create("blend", 0))
    (run / "run.json").write_text("{}")
    (tmp_path / "weights.pth").write_bytes(b"")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "run.json").write_text("{}")
    for path, message in (
        (run / "model" / "config.json", f"(it is a part of one); give {run / 'model'}"),
        (run / "model" / "tree", f"(it is a part of one); give {run / 'model'}"),
        (tmp_path / "demo", f"inside of it are {run / 'model'}: give one of them"),
        (
            tmp_path / "weights.pth",
            "(it is a file); a checkpoint is a directory, and `vfijax convert MODEL FILE",
        ),
        (tmp_path / "new", "it is a training run that has no model yet"),
    ):
        found = refusal(path)
        assert found.startswith(f"no checkpoint at {path} ") and message in found


def test_an_empty_path_is_said_to_be_that():
    model = create("blend", 0)
    for action in (
        vfijax.load,
        load_config,
        load_notes,
        lambda path: vfijax.save(path, model),
        is_checkpoint,
    ):
        with pytest.raises(CheckpointError, match="the path is an empty string"):
            action("")
    with pytest.raises(
        ValueError, match="--model is an empty string; give a checkpoint or the name of a model"
    ):
        resolve("")
