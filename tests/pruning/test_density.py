"""The density report counts zeros right and can be read by people, programs and itself."""

import io
import json
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

from vfijax.media.plot import COLOURS, bar_chart
from vfijax.models import ModelConfig, create, narrow, shapes
from vfijax.params import ModelParams
from vfijax.prune.density import density, read_csv


def sparse(name="compressed_adacof", keep=0.3):
    """A narrow network of which about `keep` is left."""
    params = create(narrow(name, 6), 0)

    def thin(path, leaf):
        left = np.random.default_rng(leaf.size + len(str(path))).random(leaf.shape) < keep
        return leaf * left

    return ModelParams(jax.tree_util.tree_map_with_path(thin, params.tree), params.config)


def hand_made():
    kernel = np.ones((3, 3, 4, 5), np.float32)
    kernel[0] = 0  # 60 of 180
    return {"a": {"kernel": kernel, "bias": np.zeros(5, np.float32)}, "b": {"scale": np.ones((2, 3)) * -0.0}}


def test_zeros_of_a_tree_made_by_hand():
    report = density(hand_made())
    first, second = report.layers
    assert (first.name, first.zeros, first.size, first.inputs, first.outputs) == ("a", 60, 180, 4, 5)
    assert (second.name, second.zeros, second.size) == ("b/scale", 6, 6)
    assert report.densities == {"a": 120 / 180, "b/scale": 0.0}
    assert (report.zeros, report.size) == (71, 191)
    assert report.density == 120 / 191
    assert report.kernel_density == 120 / 186
    assert report.shares == {}


@pytest.mark.parametrize("name", ["compressed_adacof", "cdfi", "cdfi_fp"])
def test_layers_of_a_model_stand_in_the_order_of_its_graph(name):
    config = narrow(name)
    report = density(create(config, 0), 64, 64)
    kernels = [edge.name for edge in config.graph().edges if "kernel" in edge.layer(shapes(config))]
    assert [layer.name for layer in report.layers] == kernels
    assert report.size == sum(leaf.size for leaf in jax.tree.leaves(shapes(config)))
    assert report.density == report.kernel_density == 1.0


def test_shares_follow_the_multiply_adds():
    params = create(narrow("compressed_adacof", 6), 0)
    report = density(params)
    assert sum(report.shares.values()) == pytest.approx(1)
    # The same kernel at full size and at an eighth of it, both ways.
    assert report.shares["unet/conv1_1"] == pytest.approx(64 * report.shares["unet/conv4_1"])


def test_a_model_without_parameters_has_an_empty_report():
    report = density(create("blend", 0))
    assert report.layers == () and report.density == 1.0 and report.to_csv().count("\n") == 1
    assert report.picture().shape[1] == 800


@dataclass(frozen=True)
class OwnConfig(ModelConfig):
    """A network that declares no channel graph: grouped and dense layers."""

    architecture = "own"

    def module(self, implementation="auto", reference_grads=False):
        return Own()


class Own(nn.Module):
    @nn.compact
    def __call__(self, f0, f1):
        x = jnp.concatenate([f0, f1], axis=-1)
        x = nn.Conv(8, (3, 3), feature_group_count=2, name="grouped")(x)
        frame = nn.Dense(3, name="dense")(nn.LayerNorm()(x))
        return frame, {"offsets": (), "masks": {}, "warped": ()}


def test_a_users_own_network_is_reported_without_a_graph():
    config = OwnConfig("own")
    report = density(ModelParams(jax.tree.map(lambda s: jnp.ones(s.shape), shapes(config)), config), 10, 20)
    assert {layer.name: layer.multiply_adds for layer in report.layers} == {
        "dense": 200 * 8 * 3,
        "grouped": 200 * 9 * 3 * 8,
    }


def test_the_table_names_every_layer_and_both_totals():
    report = density(sparse())
    out = io.StringIO()
    rich.console.Console(file=out, width=120).print(report.table())
    lines = out.getvalue().splitlines()
    for layer in report.layers:
        [line] = [line for line in lines if f" {layer.name} " in line]
        assert f"{layer.zeros:,}" in line and f"{layer.density:.3f}" in line
        assert f"{report.shares[layer.name]:.1%}" in line
    [total] = [line for line in lines if "all parameters" in line]
    assert f"{report.density:.3f}" in total and f"{report.size:,}" in total


def test_the_json_form_is_json_and_complete():
    report = density(sparse())
    found = json.loads(json.dumps(report.to_json()))
    assert found["parameters"] == report.size and found["zeros"] == report.zeros
    assert {row["name"]: row["density"] for row in found["layers"]} == report.densities
    assert sum(row["share"] for row in found["layers"]) == pytest.approx(1)


@pytest.mark.parametrize("tree", [hand_made(), sparse()])
def test_densities_written_as_csv_are_read_back_exactly(tree, tmp_path):
    report = density(tree)
    report.write_csv(tmp_path / "density.csv")
    assert read_csv(tmp_path / "density.csv") == report.densities
    assert [path.name for path in tmp_path.iterdir()] == ["density.csv"]


def test_other_files_with_the_two_columns_are_read_too(tmp_path):
    path = tmp_path / "report.csv"
    path.write_text("in,density,name\n6,0.858,first\n32,.07,second.weight\n")
    assert read_csv(path) == {"first": 0.858, "second.weight": 0.07}


MISTAKES = {
    "layer,density\na,1\n": "no column name; .*with the columns name and density",
    "": "no column density and name",
    "name,density\na,0.5\nb,much\n": "line 3: density of 'b' is 'much'",
    "name,density\na,1.5\n": "'1.5'; give a number in",
    "name,density\na,nan\n": "'nan'",
    "name,density\na\n": "line 2: density of 'a' is ''",
    "name,density\na,0\na,1\n": "line 3: 'a' stands there a second time",
}


@pytest.mark.parametrize("content", MISTAKES)
def test_files_that_are_no_report_are_refused_with_their_line(content, tmp_path):
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(ValueError, match=MISTAKES[content]):
        read_csv(tmp_path / "bad.csv")


# ----------------------------------------------------------------------------------------- picture


def blue(picture):
    """The length in pixels of every bar, from the top."""
    close = np.abs(picture.astype(int) - (0x00, 0x72, 0xB2)).max(axis=-1) < 30
    lengths = close.sum(axis=1)
    runs = np.split(lengths, np.nonzero(np.diff(lengths > 0))[0] + 1)
    return [int(np.median(run)) for run in runs if run[0] > 0]


def test_bars_are_as_long_as_their_values():
    assert COLOURS[0] == "#0072B2"
    first, second, third = blue(bar_chart({"a": 1.0, "b": 0.5, "zero": 0.0, "c": 0.25}, title="t"))
    assert second == pytest.approx(first / 2, abs=3) and third == pytest.approx(first / 4, abs=3)


def test_the_picture_of_a_report_has_a_bar_per_layer():
    report = density(sparse())
    picture = report.picture()
    assert picture.dtype == np.uint8 and picture.shape[1:] == (800, 3)
    lengths = blue(picture)
    assert len(lengths) == sum(layer.density > 0 for layer in report.layers)
    shown = [layer.density for layer in report.layers if layer.density > 0]
    np.testing.assert_allclose(np.divide(lengths, max(lengths)), np.divide(shown, max(shown)), atol=0.02)


@pytest.mark.parametrize("bars", [{}, {"a": 0.0}, {"a long name " * 9: 1e-9, "b": 3e9}])
def test_odd_bars_are_drawn_too(bars):
    assert bar_chart(bars).shape[1] == 800


@pytest.mark.parametrize(
    ("bars", "options", "message"),
    [
        ({"a": -1.0}, {}, "a is -1.0"),
        ({"a": np.nan}, {}, "a is nan"),
        ({"a": np.inf}, {}, "a is inf"),
        ({"a": 2.0}, {"x_max": 1.0}, "bars are from 0 to 1"),
        ({"a": 1.0}, {"width": 100}, "320 pixels"),
    ],
)
def test_bars_that_cannot_be_drawn_are_refused(bars, options, message):
    with pytest.raises(ValueError, match=message):
        bar_chart(bars, **options)
