"""Published weights become our parameters, and weights that do not fit are named."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import vfijax
from vfijax.convert import CONVERTIBLE, from_torch, official_shapes
from vfijax.models import MODELS, config_for

SMALL = "compressed_adacof"


def weights(name, seed=0, **changes):
    rng = np.random.default_rng(seed)
    shapes = official_shapes(config_for(name, **changes))
    return {key: rng.standard_normal(shape).astype("float32") for key, shape in shapes.items()}


def test_every_network_with_published_weights_can_be_converted():
    assert set(CONVERTIBLE) == set(MODELS) - {"blend"}


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_every_array_arrives_once(name):
    given = weights(name)
    params = from_torch(name, given)
    arrived = sorted(float(leaf.sum()) for leaf in jax.tree.leaves(params.tree))
    np.testing.assert_allclose(arrived, sorted(float(a.sum()) for a in given.values()), rtol=1e-3, atol=1e-3)
    assert params.config.rounding == "trunc"


def test_kernels_are_turned_from_oihw_to_hwio():
    given = weights(SMALL)
    kernel = from_torch(SMALL, given).tree["unet"]["conv1_0"]["kernel"]
    official = given["get_kernel.moduleConv1.0.weight"]
    np.testing.assert_array_equal(kernel[2, 0, 5, 7], official[7, 5, 2, 0])


def test_the_config_can_be_changed():
    assert from_torch(SMALL, weights(SMALL), rounding="floor").config.rounding == "floor"
    eleven = from_torch("cdfi_fp1x1", weights("cdfi_fp1x1"))
    five = from_torch("cdfi_fp1x1", weights("cdfi_fp1x1", taps=5), taps=5, dilation=1)
    assert (eleven.config.taps, five.config.taps) == (11, 5)


WRAPPERS = {
    "state_dict": lambda w: {"epoch": 3, "state_dict": w},
    "nested": lambda w: {"model": {"state_dict": w}},
    "parallel": lambda w: {f"module.{k}": v for k, v in w.items()},
    "both": lambda w: {"state_dict": {f"module.model.{k}": v for k, v in w.items()}},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_and_prefixes_are_seen_through(wrapper):
    given = weights(SMALL)
    plain, wrapped = from_torch(SMALL, given), from_torch(SMALL, WRAPPERS[wrapper](given))
    assert all(map(np.array_equal, jax.tree.leaves(plain), jax.tree.leaves(wrapped)))


@pytest.mark.parametrize("wrong", CONVERTIBLE)
@pytest.mark.parametrize("right", CONVERTIBLE)
def test_weights_of_another_variant_are_named(right, wrong):
    if right == wrong:
        return
    with pytest.raises(ValueError, match=f"do not fit {wrong}.*They are the weights of {right}$"):
        from_torch(wrong, weights(right))


def test_another_tap_grid_is_named_with_its_settings():
    with pytest.raises(ValueError, match="They are the weights of cdfi_fp1x1, taps=5, dilation=1"):
        from_torch("cdfi_fp1x1", weights("cdfi_fp1x1", taps=5))


def test_all_that_does_not_fit_is_listed_in_one_error():
    given = weights(SMALL)
    given["get_kernel.moduleExtra.bias"] = np.zeros(3, "float32")
    del given["get_kernel.moduleConv2.0.bias"]
    given["get_kernel.moduleConv3.0.weight"] = np.zeros((1, 2, 3, 3), "float32")
    with pytest.raises(ValueError) as caught:
        from_torch(SMALL, given)
    message = str(caught.value)
    assert "missing: get_kernel.moduleConv2.0.bias" in message
    assert "left over: get_kernel.moduleExtra.bias" in message
    assert "misshapen: get_kernel.moduleConv3.0.weight is (1, 2, 3, 3), not (99, 51, 3, 3)" in message
    assert "No model fits" in message


def test_values_that_are_not_finite_are_refused():
    given = weights(SMALL)
    given["get_kernel.moduleBeta2.4.bias"][3] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite values in get_kernel.moduleBeta2.4.bias"):
        from_torch(SMALL, given)


def test_models_without_published_weights_and_unknown_ones_are_refused():
    with pytest.raises(ValueError, match="blend has no published weights"):
        from_torch("blend", {})
    with pytest.raises(ValueError, match="did you mean 'cdfi'"):
        from_torch("cdfj", {})


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch (extra `convert`) is not installed")


def run(*arguments):
    command = [sys.executable, "-m", "vfijax", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_pth_file_becomes_a_checkpoint_by_the_command(torch, tmp_path):
    given = weights(SMALL)
    tensors = {key: torch.from_numpy(value) for key, value in given.items()}
    torch.save({"epoch": 7, "state_dict": tensors}, tmp_path / "official.pth")
    done = run("convert", SMALL, tmp_path / "official.pth", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "2,452,094 parameters" in done.stdout
    loaded = vfijax.load(tmp_path / "model")
    assert all(map(np.array_equal, jax.tree.leaves(loaded), jax.tree.leaves(from_torch(SMALL, given))))


def test_files_that_are_no_weights_give_one_line(torch, tmp_path):
    (tmp_path / "text.pth").write_text("not weights")
    torch.save({"state_dict": {"a": torch.ones(3)}}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:200])
    for file in ("text.pth", "cut.pth", "absent.pth", "whole.pth"):
        done = run("convert", SMALL, tmp_path / file, tmp_path / "model")
        assert done.returncode == 1
        assert done.stderr.startswith("vfijax: error: ")
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "model").exists()


class Trap:
    def __reduce__(self):
        return (print, ("code of the file was run",))


def test_code_in_a_file_is_not_run(torch, tmp_path, capsys):
    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="not readable as weights"):
        from_torch(SMALL, tmp_path / "trap.pth")
    assert "code of the file" not in capsys.readouterr().out
