"""Published weights become parameters, completely and with the right names, or one clear error."""

import json
import pickle
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import vfijax
from vfijax.cli import main
from vfijax.convert import CONVERTIBLE, from_torch, official_shapes
from vfijax.convert.names import NAMES
from vfijax.models import MODELS, config_for, shapes

GOLDEN = Path(__file__).parents[1] / "golden"
NETWORKS = json.loads((GOLDEN / "networks.json").read_text())
SEPCONV_FAMILY = json.loads((GOLDEN / "sepconv_family.json").read_text())
WITH_FILE = pytest.mark.parametrize("name", NETWORKS)
SMALL = "compressed_adacof"
KERNEL = "get_kernel.moduleConv2.0.weight"


def state(name, **changes):
    """Different numbers in every entry, in PyTorch layout; cheap to make."""
    table = official_shapes(config_for(name, **changes))
    return {key: np.full(shape, i % 97 + 0.5, np.float32) for i, (key, shape) in enumerate(table.items())}


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="reading .pth files needs PyTorch, an optional package")


# -------------------------------------------------------------------------------------------- names


@WITH_FILE
def test_the_official_names_and_shapes_are_all_known_and_no_others(name):
    official = {key: tuple(shape) for key, shape in NETWORKS[name]["shapes"]}
    assert official_shapes(MODELS[name]) == official
    assert sum(int(np.prod(shape)) for shape in official.values()) == NETWORKS[name]["param_count"]


@pytest.mark.parametrize("key", SEPCONV_FAMILY)
def test_the_official_names_and_shapes_of_the_sepconv_family_are_all_known(key):
    network = SEPCONV_FAMILY[key]
    official = {name: tuple(shape) for name, shape in network["shapes"]}
    assert official_shapes(config_for(network["model"], **network["changes"])) == official
    learned = [shape for name, shape in official.items() if ".running_" not in name]
    assert sum(int(np.prod(shape)) for shape in learned) == network["parameters"]


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_no_two_of_our_arrays_share_an_official_name(name):
    leaves = jax.tree.leaves(shapes(MODELS[name]))
    assert len(official_shapes(MODELS[name])) == len(leaves)


def test_every_network_of_the_documents_is_convertible():
    own = {name for name, config in MODELS.items() if config.architecture in ("coarse_motion", "guided")}
    assert set(CONVERTIBLE) == {name for name, config in MODELS.items() if shapes(config)} - own
    assert {MODELS[name].architecture for name in CONVERTIBLE} == set(NAMES)


# ------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("name", ["compressed_adacof", "cdfi"])
def test_every_number_arrives_at_its_place(name):
    """Kernels turn from (out, in, h, w) to (h, w, in, out); nothing else changes."""
    weights = state(name)
    for key, shape in list((key, array.shape) for key, array in weights.items()):
        if len(shape) == 4:
            out, inputs, rows, columns = np.indices(shape)
            weights[key] = (out + 1000 * inputs + 0.25 * rows + 0.01 * columns).astype(np.float32)
    params = from_torch(name, weights)
    official = NAMES[params.config.architecture]
    for path, leaf in jax.tree_util.tree_leaves_with_path(params.tree):
        keys = tuple(key.key for key in path)
        array = weights[official(keys)]
        if keys[-1] == "kernel":
            rows, columns, inputs, out = np.indices(leaf.shape)
            np.testing.assert_array_equal(leaf, array[out, inputs, rows, columns])
        else:
            np.testing.assert_array_equal(leaf, array)
        assert leaf.dtype == np.float32


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: dict(reversed(weights.items())),
        lambda weights: {"epoch": 3, "state_dict": weights},
        lambda weights: {"model_state_dict": {"state_dict": weights}},
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {"state_dict": {f"module.model.{key}": value for key, value in weights.items()}},
        lambda weights: {"model": {f"model.{key}": value for key, value in weights.items()}},
        lambda weights: {key: value.astype(np.float64) for key, value in weights.items()},
    ],
    ids=["other order", "state_dict", "nested twice", "module.", "module.model.", "model", "float64"],
)
def test_order_nesting_prefixes_and_precision_do_not_matter(wrap):
    weights = state(SMALL)
    plain, wrapped = from_torch(SMALL, weights), from_torch(SMALL, wrap(weights))
    assert wrapped.config == plain.config
    jax.tree.map(np.testing.assert_array_equal, wrapped.tree, plain.tree)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_older_names_of_sepconv_are_known(prefix):
    weights = state("sepconv")
    older = {f"{prefix}module{key.removeprefix('net')}": value for key, value in weights.items()}
    assert f"{prefix}moduleVertical1.7.weight" in older
    jax.tree.map(
        np.testing.assert_array_equal,
        from_torch("sepconv", older).tree,
        from_torch("sepconv", weights).tree,
    )
    message = refusal("sepconv_kth", older)
    assert message.endswith("They are the weights of sepconv")


def test_counters_of_a_batch_normalisation_are_left_out():
    weights = state("adaconv")
    counted = {**weights, "conv1_bn.num_batches_tracked": np.int64(7)}
    jax.tree.map(
        np.testing.assert_array_equal,
        from_torch("adaconv", counted).tree,
        from_torch("adaconv", weights).tree,
    )


def test_published_weights_round_as_they_were_trained_unless_asked():
    weights = state(SMALL)
    assert from_torch(SMALL, weights).config == MODELS[SMALL].replace(rounding="trunc")
    assert from_torch(SMALL, weights, rounding="floor").config.rounding == "floor"


def test_changes_of_the_config_choose_the_variant():
    weights = state("cdfi_fp1x1", taps=5, dilation=1)
    params = from_torch("cdfi_fp1x1", weights, taps=5, dilation=1)
    assert (params.config.taps, params.config.dilation) == (5, 1)
    with pytest.raises(ValueError, match="no config field tap;"):
        from_torch("cdfi_fp1x1", weights, tap=5)


# ------------------------------------------------------------------------------------------- errors


def refusal(name, weights, **changes):
    with pytest.raises(ValueError, match="convert: ") as caught:
        from_torch(name, weights, **changes)
    return str(caught.value)


@pytest.mark.parametrize("given", [name for name in CONVERTIBLE])
def test_weights_of_another_variant_are_named(given):
    weights = state(given)
    for name in CONVERTIBLE:
        if name == given:
            continue
        message = refusal(name, weights)
        assert message.startswith(f"convert: the weights do not fit {name}: ")
        assert re.search(rf"They are the weights of {given}\b(?!_)", message), message


def test_the_variant_with_other_taps_is_named_with_its_settings():
    message = refusal("cdfi_fp1x1", state("cdfi_fp1x1", taps=5, dilation=1))
    assert message.endswith("They are the weights of cdfi_fp1x1, taps=5, dilation=1")


def test_dsepconv_with_other_taps_is_named_with_its_settings():
    message = refusal("dsepconv", state("dsepconv", taps=3, masks=False))
    assert message.endswith("They are the weights of dsepconv, taps=3, masks=False")


def test_missing_left_over_and_misshapen_entries_are_listed_in_one_error():
    weights = state(SMALL)
    weights["something.else"] = weights.pop("get_kernel.moduleConv1.0.bias")
    weights[KERNEL] = weights[KERNEL][:, :5]
    message = refusal(SMALL, weights)
    assert "missing: get_kernel.moduleConv1.0.bias;" in message
    assert "left over: something.else;" in message
    assert f"misshapen: {KERNEL} is (48, 5, 3, 3), not (48, 24, 3, 3)." in message
    assert "No model fits; compressed_adacof has 118 entries, these are 118" in message


def test_a_long_list_is_cut_with_its_length():
    message = refusal(SMALL, {"a": np.zeros(1)})
    assert "and 98 more; left over: a" in message
    assert len(message) < 2000


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_name(value):
    weights = state(SMALL)
    weights[KERNEL][0, 0, 0, 0] = value
    assert refusal(SMALL, weights) == f"convert: the weights do not fit {SMALL}: NaN or infinite: {KERNEL}"


def test_unknown_models_and_the_blend_are_refused():
    with pytest.raises(ValueError, match="did you mean 'cdfi'"):
        from_torch("cdffi", {})
    assert "blend has no published weights" in refusal("blend", {})


@pytest.mark.parametrize("weights", [{}, {"state_dict": {}}, {"epoch": np.int64(3)}], ids=str)
def test_tables_without_weights_are_refused(weights):
    assert "missing: " in refusal(SMALL, weights)


# -------------------------------------------------------------------------------------------- files


def write_pth(torch, path, weights, **others):
    tensors = {key: torch.from_numpy(value.copy()) for key, value in weights.items()}
    torch.save({"epoch": 1, "state_dict": tensors, **others}, path)
    return path


def test_a_file_gives_the_same_as_the_mapping(torch, tmp_path):
    weights = state(SMALL)
    read = from_torch(SMALL, write_pth(torch, tmp_path / "weights.pth", weights))
    jax.tree.map(np.testing.assert_array_equal, read.tree, from_torch(SMALL, weights).tree)
    assert read.config == from_torch(SMALL, weights).config


def test_half_precision_and_gradients_in_a_file_are_no_obstacle(torch, tmp_path):
    weights = state(SMALL)
    halves = {key: torch.from_numpy(v.copy()).half().requires_grad_() for key, v in weights.items()}
    torch.save(halves, tmp_path / "half.pth")
    jax.tree.map(
        np.testing.assert_array_equal,
        from_torch(SMALL, tmp_path / "half.pth").tree,
        from_torch(SMALL, weights).tree,
    )


class Trap:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("by_torch", [True, False])
def test_code_in_a_file_is_refused_and_not_run(torch, tmp_path, by_torch):
    sprung, path = tmp_path / "sprung", tmp_path / "weights.pth"
    if by_torch:
        write_pth(torch, path, state(SMALL), extra=Trap(sprung))
    else:
        path.write_bytes(pickle.dumps({"state_dict": Trap(sprung)}))
    assert "is not readable as weights" in refusal(SMALL, path)
    assert not sprung.exists()


@pytest.mark.parametrize("kept", [0, 10, 5000, -100])
def test_a_truncated_file_is_refused_by_its_path(torch, tmp_path, kept):
    path = write_pth(torch, tmp_path / "weights.pth", state(SMALL))
    path.write_bytes(path.read_bytes()[:kept])
    assert re.match(rf"convert: {path} is not readable as weights \(.+\)$", refusal(SMALL, path))


def test_a_file_without_a_table_is_refused(torch, tmp_path):
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    assert "is a list, not a table of weights" in refusal(SMALL, tmp_path / "list.pth")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.pth"):
        from_torch(SMALL, tmp_path / "nowhere.pth")


# ------------------------------------------------------------------------------------- command line


def test_the_command_writes_a_checkpoint_that_loads(torch, tmp_path, capsys):
    weights = state(SMALL)
    path, target = write_pth(torch, tmp_path / "weights.pth", weights), tmp_path / "model"
    assert main(["convert", SMALL, str(path), str(target)]) == 0
    assert f"{target}: {SMALL}, 2,452,094 parameters" in capsys.readouterr().out
    expected, found = from_torch(SMALL, weights), vfijax.load(target)
    assert found.config == expected.config and found.config.rounding == "trunc"
    jax.tree.map(np.testing.assert_array_equal, found.tree, expected.tree)
    notes = json.loads((target / "config.json").read_text())["notes"]
    assert notes == {"converted_from": "weights.pth"}


def test_options_of_the_command_reach_the_config(torch, tmp_path):
    path = write_pth(torch, tmp_path / "weights.pth", state("cdfi_fp1x1", taps=5, dilation=1))
    options = ["--taps", "5", "--dilation", "1", "--rounding", "floor"]
    assert main(["convert", "cdfi_fp1x1", str(path), str(tmp_path / "model"), *options]) == 0
    config = vfijax.load(tmp_path / "model").config
    assert (config.taps, config.dilation, config.rounding) == (5, 1, "floor")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("adacof", "weights.pth", "They are the weights of compressed_adacof"),
        ("compressed_adakof", "weights.pth", "did you mean 'compressed_adacof'"),
        (SMALL, "nowhere.pth", "no file"),
        (SMALL, "text.pth", "is not readable as weights"),
    ],
)
def test_mistakes_end_the_command_with_one_line_and_nothing_written(
    torch, tmp_path, capsys, name, source, message
):
    write_pth(torch, tmp_path / "weights.pth", state(SMALL))
    (tmp_path / "text.pth").write_text("no weights")
    before = sorted(tmp_path.iterdir())
    assert main(["convert", name, str(tmp_path / source), str(tmp_path / "model")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vfijax: error: ") and message in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
