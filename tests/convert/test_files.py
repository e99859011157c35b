"""Weights in the forms in which files hold them: those of the official repositories, and others'."""

import argparse
import re

import jax
import numpy as np
import pytest

import vfijax
from vfijax import torch_weights
from vfijax.cli import main
from vfijax.convert import from_torch, official_shapes
from vfijax.models import MODELS, config_for
from vfijax.perceptual import load_lpips, load_vgg
from vfijax.perceptual.networks import NETWORKS, shapes
from vfijax.perceptual.weights import _official

SMALL = "compressed_adacof"


def drawn(name, seed=0, older=False):
    """Weights from a seed, by their official names and in PyTorch's layout."""
    rng = np.random.default_rng(seed)
    table = official_shapes(config_for(name))
    weights = {key: rng.standard_normal(shape, np.float32) for key, shape in table.items()}
    return {re.sub("^net", "module", key): w for key, w in weights.items()} if older else weights


def assert_same(found, expected):
    assert found.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, found.tree, expected.tree)


@pytest.fixture(scope="module")
def small():
    return drawn(SMALL)


@pytest.fixture(scope="module")
def converted(small):
    return from_torch(SMALL, small)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="writing .pth files needs PyTorch, an optional package")


def write_pth(torch, path, weights, wrap=lambda tensors: tensors):
    torch.save(wrap({key: torch.from_numpy(value) for key, value in weights.items()}), path)
    return path


def refusal(*args, **options):
    with pytest.raises(ValueError) as caught:
        from_torch(*args, **options)
    return str(caught.value)


# --------------------------------------------------------------------------- official repositories


@pytest.mark.parametrize(
    ("name", "suffix", "wrap"),
    [
        ("cdfi", "pth", lambda w: {"epoch": 50, "state_dict": w}),  # CDFI: CDFI_adacof.pth
        (SMALL, "pth", lambda w: {"epoch": 50, "state_dict": w}),  # as AdaCoF: ckpt.pth
        ("zooming_slowmo", "pth", lambda w: w),  # Zooming Slow-Mo: xiang2020zooming.pth
        ("sepconv", "pytorch", lambda w: w),  # SepConv: network-l1.pytorch, names with `module`
        ("edsc_s", "pkl", lambda w: {"epoch": 9, "model_state": w, "best": np.float64(34.8)}),  # EDSC
    ],
)
def test_the_file_of_each_official_repository_converts(torch, tmp_path, capsys, name, suffix, wrap):
    older = name == "sepconv"
    weights = drawn(name, older=older)
    path = write_pth(torch, tmp_path / f"file.{suffix}", weights, wrap)
    assert main(["convert", name, str(path), str(tmp_path / "model")]) == 0, capsys.readouterr().err
    found = vfijax.load(tmp_path / "model")
    kernel = next(key for key, array in weights.items() if array.ndim == 4)
    by_shape = [leaf for leaf in jax.tree.leaves(found.tree) if leaf.ndim == 4]
    expected = weights[kernel].transpose(2, 3, 1, 0)
    assert any(leaf.shape == expected.shape and np.array_equal(leaf, expected) for leaf in by_shape)
    assert_same(found, from_torch(name, drawn(name)))


# ------------------------------------------------------------------------------------- other forms

OTHERS = {"epoch": 3, "lr": 1e-4, "name": "trained", "scores": [1.0, 2.0], "none": None}
NESTS = ("net", "params", "params_ema", "weights", "netG", "generator", "ema", "model_state", "any")
PREFIXES = ("module.", "model.", "net.", "_orig_mod.", "module._orig_mod.", "netG.", "any.thing.")


@pytest.mark.parametrize("nest", NESTS)
def test_a_nested_dict_of_any_name_is_found_by_the_names_in_it(small, converted, nest):
    state = {"state": {0: {"step": np.float32(7), "exp_avg": np.ones(3, np.float32)}}, "param_groups": [{}]}
    assert_same(from_torch(SMALL, {**OTHERS, nest: small, "optimizer": state}), converted)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_is_found_by_the_names_behind_it(small, converted, prefix):
    weights = {f"{prefix}{key}": array for key, array in small.items()}
    assert_same(from_torch(SMALL, {**weights, **OTHERS}), converted)
    assert_same(from_torch(SMALL, {"deep": {"er": weights}}), converted)
    assert_same(from_torch(SMALL, {**weights, "loss.vgg.0.weight": np.ones((3, 3))}), converted)


@pytest.mark.parametrize(
    "number", [3, 1.5, np.int64(3), np.array(2.5), np.float32(1), True, "text", None, [1]]
)
def test_numbers_and_texts_beside_the_weights_are_left_out(small, converted, number):
    assert_same(from_torch(SMALL, {"epoch": number, **small}), converted)


def test_of_several_tables_that_fit_one_is_named(torch, tmp_path, capsys, small):
    other = {key: array + 1 for key, array in small.items()}
    content = {"params": small, "params_ema": other}
    message = refusal(SMALL, content)
    assert "2 tables of weights fit compressed_adacof: params, params_ema; choose with `--entry " in message
    assert_same(from_torch(SMALL, content, entry="params_ema"), from_torch(SMALL, other))
    assert_same(from_torch(SMALL, {**small, "ema": other}, entry="."), from_torch(SMALL, small))
    beside = {**small, **{f"ema.{key}": array for key, array in other.items()}}
    assert_same(from_torch(SMALL, beside, entry="ema"), from_torch(SMALL, other))
    assert_same(from_torch(SMALL, beside, entry="."), from_torch(SMALL, small))
    assert "no weights at the entry 'param'; it has params, params_ema; did you mean 'params'?" in refusal(
        SMALL, content, entry="param"
    )
    torch.save(
        {k: {n: torch.from_numpy(a) for n, a in t.items()} for k, t in content.items()}, tmp_path / "f"
    )
    command = ["convert", SMALL, str(tmp_path / "f"), str(tmp_path / "model")]
    assert main(command) == 1 and f"convert: {tmp_path / 'f'}: 2 tables" in capsys.readouterr().err
    assert main([*command, "--entry", "params_ema"]) == 0
    assert_same(vfijax.load(tmp_path / "model"), from_torch(SMALL, other))


def test_a_table_of_another_network_beside_the_wanted_one_does_not_disturb(small, converted):
    assert_same(from_torch(SMALL, {"netG": small, "netD": {"0.weight": np.ones((8, 3, 3, 3))}}), converted)
    large = {key: np.zeros(shape, np.float32) for key, shape in official_shapes(MODELS["adacof"]).items()}
    assert_same(from_torch(SMALL, {"teacher": large, "student": small}), converted)


def test_problems_in_a_nested_table_say_where_it_is(small):
    broken = {**small, "get_kernel.moduleConv1.0.bias": np.full(24, np.nan)}
    assert refusal(SMALL, {"params_ema": broken}) == (
        f"convert: the weights in params_ema do not fit {SMALL}: "
        "NaN or infinite: get_kernel.moduleConv1.0.bias"
    )


def test_tensors_of_a_network_that_is_at_hand_convert(torch, small, converted):
    tensors = {key: torch.from_numpy(array).requires_grad_() for key, array in small.items()}
    assert_same(from_torch(SMALL, tensors), converted)


@pytest.mark.parametrize("value", [np.full(24, "a"), np.full(24, 1j), np.full(24, None), np.full(24, 1e300)])
def test_what_is_no_real_number_is_named(small, value):
    message = refusal(SMALL, {**small, "get_kernel.moduleConv1.0.bias": value})
    assert re.search("(not an array of real numbers|NaN or infinite): get_kernel.moduleConv1.0.bias", message)


# -------------------------------------------------------------------------------------------- files


def write_safetensors(path, weights, dtype=np.float32):
    numpy = pytest.importorskip("safetensors.numpy", reason="the package safetensors is optional")
    numpy.save_file({key: array.astype(dtype) for key, array in weights.items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".SAFETENSORS"])
def test_safetensors_files_convert(tmp_path, small, converted, suffix):
    weights = {**small, "step": np.array(7)}
    assert_same(from_torch(SMALL, write_safetensors(tmp_path / f"w{suffix}", weights)), converted)
    prefixed = {f"params.{key}": array for key, array in small.items()}
    assert_same(from_torch(SMALL, write_safetensors(tmp_path / "prefixed.safetensors", prefixed)), converted)


def test_bfloat16_in_safetensors_is_read(tmp_path, small):
    bfloat16 = jax.numpy.bfloat16
    found = from_torch(SMALL, write_safetensors(tmp_path / "w.safetensors", small, bfloat16))
    rounded = {key: array.astype(bfloat16).astype(np.float32) for key, array in small.items()}
    assert_same(found, from_torch(SMALL, rounded))


def test_npz_files_convert(tmp_path, small, converted):
    np.savez(tmp_path / "w.NPZ", **small)
    (tmp_path / "w.NPZ.npz").rename(tmp_path / "w.NPZ")
    assert_same(from_torch(SMALL, tmp_path / "w.NPZ"), converted)


def test_features_are_found_by_their_names_too(tmp_path):
    """In a nested dict, and as safetensors."""
    table = {name: shape for name, shape in _official(shapes("vgg16", len(NETWORKS["vgg16"]) - 1)).items()}
    weights = {name: np.full(shape, i, np.float32) for i, (name, shape) in enumerate(table.items())}
    np.savez(tmp_path / "flat.npz", **weights)
    nested = {f"module.{key}": array for key, array in weights.items()}
    path = write_safetensors(tmp_path / "nested.safetensors", nested)
    jax.tree.map(np.testing.assert_array_equal, load_vgg(path), load_vgg(tmp_path / "flat.npz"))


class Code:
    pass


WHY = {
    "cut off": "it is damaged, cut off or no {kind} file",
    "text": "it is damaged, cut off or no {kind} file",
    "nothing": "it is damaged, cut off or no {kind} file",
}


@pytest.mark.parametrize("damage", WHY)
@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_a_damaged_file_is_one_line_with_its_name(torch, tmp_path, capsys, small, suffix, damage):
    path = tmp_path / f"weights{suffix}"
    whole = {"a": small["get_kernel.moduleConv1.0.bias"]}
    if suffix == ".npz":
        np.savez(path, **whole)
    else:
        (write_safetensors if suffix == ".safetensors" else lambda p, w: write_pth(torch, p, w))(path, whole)
    content = path.read_bytes()
    path.write_bytes({"cut off": content[: len(content) // 2], "text": b"no weights", "nothing": b""}[damage])
    assert main(["convert", SMALL, str(path), str(tmp_path / "model")]) == 1
    kind = "PyTorch" if suffix == ".pth" else suffix
    reason = WHY[damage].format(kind=kind)
    error = f"vfijax: error: convert: {path} is not readable as weights ({reason})\n"
    assert capsys.readouterr().err == error
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            lambda torch: {"args": argparse.Namespace(a=1)},
            "it holds argparse.Namespace, which is code and not",
        ),
        (
            lambda torch: torch.nn.Linear(2, 2),
            "it holds torch.nn.modules.linear.Linear, which is code and not run",
        ),
    ],
)
def test_a_file_with_more_than_weights_says_what_to_do(torch, tmp_path, content, reason):
    torch.save(content(torch), tmp_path / "more.pth")
    message = refusal(SMALL, tmp_path / "more.pth")
    assert reason in message and "`torch.save(model.state_dict(), FILE)`" in message
    assert "\x1b" not in message and "\n" not in message and len(message) < 400


def test_a_torchscript_file_says_what_to_do(torch, tmp_path):
    class Script:
        """What torch says of one, without making one: that takes a compiler."""

    with pytest.MonkeyPatch.context() as patched:
        error = RuntimeError("Cannot use ``weights_only=True`` with TorchScript archives passed to")
        patched.setattr(torch, "load", lambda *_, **__: (_ for _ in ()).throw(error))
        (tmp_path / "script.pt").write_bytes(b"x")
        assert "it is a TorchScript program; in PyTorch, save its weights" in refusal(
            SMALL, tmp_path / "script.pt"
        )


@pytest.mark.parametrize("given", [3, None, b"weights.pth", ["a"]])
def test_what_is_neither_path_nor_mapping_is_a_type_error(given):
    with pytest.raises(TypeError, match=r"convert: the path is \w+; give a str or a pathlib\.Path"):
        from_torch(SMALL, given)


def test_a_directory_and_an_empty_path_say_so(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a directory; give the file with the weights"):
        from_torch(SMALL, tmp_path)
    assert "the path is an empty string" in refusal(SMALL, "")
    with pytest.raises(ValueError, match="the path is an empty string"):
        load_vgg("")
    with pytest.raises(ValueError, match="the path is an empty string"):
        load_lpips("alex", "", "")


def test_without_the_package_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    (tmp_path / "w.safetensors").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"w\.safetensors: reading \.safetensors files needs the package safetens"
    ):
        torch_weights.read(tmp_path / "w.safetensors", "convert")


def test_refusals_of_the_command_name_the_file(torch, tmp_path, capsys, small):
    path = write_pth(torch, tmp_path / "weights.pth", small)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    for model, target, message in (
        ("adacof", "model", f"convert: {path}: the weights do not fit adacof: "),
        (SMALL, "other", f"{tmp_path / 'other'} exists and is no checkpoint; give another path"),
    ):
        assert main(["convert", model, str(path), str(tmp_path / target)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("vfijax: error: ") and message in error and error.count("\n") == 1
