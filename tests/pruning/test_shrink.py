"""Slicing a network to a table of widths: shapes, choice of channels, mistakes; every network."""

import dataclasses
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from tests.trees import layout
from vfijax.channels import NO_WIDTHS, ChannelGraph, Edge, Widths
from vfijax.models import MODELS, ModelConfig, create, forward, narrow, shapes
from vfijax.models.adacof import AdaCoFConfig
from vfijax.prune import alive, prune, shrink, shrink_tree, strength, widths
from vfijax.prune.shrink import shrunk_shapes

# One name per kind of network; the others are the same code with other numbers.
NETWORKS = {
    "adacof": {"taps": 3},
    "cdfi": {"taps": 3},
    "cdfi_fp1x1": {"taps": 3},
    "cdfi_fp": {"taps": 3},
    "sepconv": {"taps": 5},
    "adaconv": {"taps": 3},
    "dsepconv": {"taps": 3},
    "edsc_s": {"taps": 3},
    "edsc_m": {"taps": 3},
    "coarse_motion": {},
    "guided": {},
}
EVERY_NETWORK = pytest.mark.parametrize("name", NETWORKS)


@functools.cache
def network(name, width=6):
    """Fresh parameters under which no ReLU is dead."""

    def liven(path, leaf):
        if path[-1].key != "bias" or path[0].key in ("synthesis", "features"):
            return leaf
        positive = np.abs(leaf) + np.float32(0.05)
        return -positive if path[-2].key == "pointwise_grouped" else positive  # this branch is subtracted

    fresh = create(narrow(name, width, **NETWORKS[name]), 0)
    # In NumPy: JAX would compile a program for every shape.
    tree = jax.tree_util.tree_map_with_path(liven, jax.tree.map(np.asarray, fresh.tree))
    return vfijax.ModelParams(jax.tree.map(jnp.asarray, tree), fresh.config)


def uneven(table, most):
    """Different widths, up to `most`, in an order that no neighbour shares."""
    return {space: 1 + (3 * i) % most for i, space in enumerate(table)}


def frames(seed=0):
    rng = np.random.default_rng(seed)
    return (np.float32(rng.uniform(size=(1, 32, 32, 3))) for _ in range(2))


# Compilation is most of the time here; XLA's own optimisation is turned down.
run = jax.jit(forward, compiler_options={"xla_backend_optimization_level": 0})


# -------------------------------------------------------------------------------- every model


def test_every_model_is_covered():
    def skeleton(name):
        return [edge.path for edge in narrow(name).graph().edges]

    covered = [skeleton(name) for name in NETWORKS]
    assert all(
        skeleton(name) in covered
        for name in MODELS
        if narrow(name).graph().edges and name != "zooming_slowmo"
    )


@pytest.mark.slow
@EVERY_NETWORK
def test_sliced_shapes_are_those_of_the_new_config(name):
    config = narrow(name, **NETWORKS[name])
    blocks = [config.graph().block_count(space) for space in config.widths]
    sizes = {space: (3 + i) * blocks[i] for i, space in enumerate(config.widths)}
    config = config.replace(widths=Widths.of(sizes))
    full = create(config, 0)
    table = {space: (1 + (7 * i) % (2 + i)) * blocks[i] for i, space in enumerate(config.widths)}
    small = shrink(full, table)
    assert dict(small.config.widths) == table
    assert layout(small.tree) == layout(shapes(small.config))
    assert layout(small.tree) == layout(shrunk_shapes(full.tree, config.graph(), table))
    small.config.graph().check(small.tree)


def zero_rows(kernel, channels, groups):
    """Makes a convolution deaf to some of its input channels."""
    rows, columns = kernel.shape[-2], kernel.shape[-1] // groups
    for channel in channels:
        group = channel // rows
        kernel[..., channel % rows, group * columns : (group + 1) * columns] = 0


def with_dead_channels(params, seed=1):
    """Whole channels of every free space set to zero, some where they are written, some where read."""
    graph = params.config.graph()
    rng = np.random.default_rng(seed)
    silent, unread = {}, {}
    by_layers = {space for edge in graph.edges for space in edge.inputs}  # features may be compared instead
    for space, width in graph.widths.items():
        size = 0 if space in graph.fixed else width // graph.block_count(space)
        starts = range(0, width, size) if size else ()
        chosen = [start + rng.permutation(size)[: size // 2] for start in starts]  # as many of every block
        chosen = np.concatenate(chosen) if chosen else np.zeros(0, int)
        silent[space], unread[space] = chosen[::2], chosen[1::2] if space in by_layers else chosen[:0]
    tree = jax.tree.map(np.array, params.tree)
    for edge in graph.edges:
        layer = edge.layer(tree)
        for name in ("kernel", "bias"):
            if name in layer:
                layer[name][..., silent[edge.output]] = 0
        starts = np.cumsum([0, *(graph.widths[space] for space in edge.inputs)])
        for start, space in zip(starts, edge.inputs, strict=False):
            zero_rows(layer["kernel"], start + unread[space], edge.groups)
    counts = {space: graph.widths[space] - len(silent[space]) - len(unread[space]) for space in graph.free}
    return vfijax.ModelParams(jax.tree.map(jnp.asarray, tree), params.config), counts


# cdfi_fp1x1 is cdfi without masks, and edsc_s edsc_m without the times.
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("cdfi_fp1x1", "edsc_s")])
def test_removing_dead_channels_leaves_the_output(name):
    full, counts = with_dead_channels(network(name))
    table = widths(full, "exact")
    normalised = {edge.output for edge in full.config.graph().edges if not edge.inputs}  # are left alone
    removable = table.keys() - normalised
    assert all(table[space] <= counts[space] for space in removable)
    assert sum(table[s] for s in removable) < 0.7 * sum(full.config.widths[s] for s in removable)
    small = shrink(full, table)
    f0, f1 = frames()
    given = {"motion": full.config.motion(full.tree, f0, f1)} if full.config.guesses else {}
    # Motion of 20 pixels is rounded, and read in noise.
    error = 2e-5 if name == "coarse_motion" else 1e-6
    np.testing.assert_allclose(
        run(small, f0, f1, **given)[0], run(full, f0, f1, **given)[0], rtol=0, atol=error
    )


def test_removing_living_channels_changes_the_output():
    full, _ = with_dead_channels(network("adacof"))
    f0, f1 = frames()
    small = prune(full, "uniform", ratio=0.17)
    assert np.abs(run(small, f0, f1)[0] - run(full, f0, f1)[0]).max() > 1e-4


@EVERY_NETWORK
def test_a_network_without_dead_channels_stays_as_it_is(name):
    full = network(name)
    table = widths(full, "exact")
    assert table == full.config.widths
    assert shrink(full, table) is full


def with_maps_reversed(graph):
    """A graph that names the maps of the concatenation for the synthesis in the wrong order."""
    edges = (
        dataclasses.replace(e, inputs=(*e.inputs[:2], *reversed(e.inputs[2:]))) if len(e.inputs) > 1 else e
        for e in graph.edges
    )
    return dataclasses.replace(graph, edges=tuple(edges))


def test_a_wrong_order_of_a_concatenation_would_be_seen():
    """The shapes are the same either way: the output tells."""
    full, _ = with_dead_channels(network("cdfi"))
    table = widths(full, "exact")
    f0, f1 = frames()
    expected = run(full, f0, f1)[0]
    tree = shrink_tree(full.tree, with_maps_reversed(full.config.graph()), table)
    right = shrink(full, table)
    assert layout(tree) == layout(right.tree)
    wrong = run(vfijax.ModelParams(tree, right.config), f0, f1)[0]
    assert np.abs(wrong - expected).max() > 1e-4
    np.testing.assert_allclose(run(right, f0, f1)[0], expected, rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------ the choice


def test_the_strongest_channels_are_kept_in_their_order():
    full = network("adacof")
    scores = strength(full.tree, full.config.graph())
    small = shrink(full, {"conv1_0": 2})
    best = np.sort(np.argsort(-scores["conv1_0"])[:2])
    before, after = full.tree["unet"], small.tree["unet"]
    for leaf in ("kernel", "bias"):
        np.testing.assert_array_equal(after["conv1_0"][leaf], before["conv1_0"][leaf][..., best])
    np.testing.assert_array_equal(after["conv1_1"]["kernel"], before["conv1_1"]["kernel"][:, :, best])
    np.testing.assert_array_equal(after["conv1_1"]["bias"], before["conv1_1"]["bias"])


def test_features_that_are_compared_and_read_by_no_layer_count_by_what_writes_them():
    full = network("coarse_motion")
    layer = full.tree["coarse"]["match"]
    squares = np.square(layer["kernel"], dtype=np.float64).sum((0, 1, 2)) + np.square(layer["bias"])
    scores = strength(full.tree, full.config.graph())
    np.testing.assert_allclose(scores["match"], np.sqrt(squares), rtol=1e-6)


def test_the_strength_is_the_norm_written_times_the_norm_read_over_all_layers_of_a_join():
    full = network("cdfi")
    unet, synthesis = full.tree["unet"], full.tree["synthesis"]

    def squares(leaf, axis):
        moved = np.moveaxis(np.asarray(leaf, np.float64), axis, -1)
        return np.square(moved).reshape(-1, moved.shape[-1]).sum(axis=0)

    written = sum(squares(unet[n][leaf], -1) for n in ("conv2_2", "up2_0") for leaf in ("kernel", "bias"))
    heads = [n for n in unet if n.endswith("_0") and n.startswith(("weight", "offset", "occ", "blend"))]
    read = sum(squares(unet[name]["kernel"], -2) for name in ("conv3_0", *heads))
    read = read + squares(full.tree["features"]["level2"]["kernel"], -2)
    assert len(heads) == 8
    scores = strength(full.tree, full.config.graph())
    np.testing.assert_allclose(scores["level2"], np.sqrt(written * read), rtol=1e-12)

    feature = sum(squares(full.tree["features"]["level3"][leaf], -1) for leaf in ("kernel", "bias"))
    first = 6 + 4 * 6  # after the frames and twice the maps of levels 1 and 2
    both = sum(
        squares(synthesis["lateral_init"][layer]["kernel"], -2)[first + side * 6 :][:6]
        for layer in ("conv_0", "skip")
        for side in (0, 1)
    )
    np.testing.assert_allclose(scores["feature3"], np.sqrt(feature * both), rtol=1e-12)


def test_death_spreads_to_what_only_the_dead_feed_or_read():
    graph = ChannelGraph(
        {"x": 2, "a": 3, "b": 2, "c": 2, "y": 1},
        tuple(Edge((f"l{i}",), (s,), t) for i, (s, t) in enumerate(["xa", "ab", "bc", "cy"])),
        frozenset("xy"),
    )
    sizes = ((2, 3), (3, 2), (2, 2), (2, 1))
    tree = {f"l{i}": {"kernel": np.ones(size)} for i, size in enumerate(sizes)}
    tree["l0"]["kernel"][:, 2] = 0  # a2 is silent
    tree["l1"]["kernel"][:2, 1] = 0  # b1 hears a2 alone
    tree["l3"]["kernel"][1] = 0  # c1 is unread
    tree["l2"]["kernel"][0, 0] = 0  # b0 is read by c1 alone, and c0 hears the silent b1 alone
    living = {space: mask.tolist() for space, mask in alive(tree, graph).items()}
    assert living == {"x": [1, 1], "a": [0, 0, 0], "b": [0, 0], "c": [0, 0], "y": [1]}
    tree["l2"]["bias"] = np.array([0.5, 0.0])  # now c0 is a constant
    living = {space: mask.tolist() for space, mask in alive(tree, graph).items()}
    assert living == {"x": [1, 1], "a": [0, 0, 0], "b": [0, 0], "c": [1, 0], "y": [1]}


# ------------------------------------------------------------------------------ init, and mistakes


def test_fresh_parameters_are_those_of_create():
    full = network("adacof")
    small = shrink(full, {"level5": 2}, init="fresh", key=7)
    expected = create(small.config, 7)
    assert small.config == full.config.replace(widths=full.config.widths.replace({"level5": 2}))
    jax.tree.map(np.testing.assert_array_equal, small.tree, expected.tree)


def test_shrinking_changes_nothing_of_the_network_that_is_given():
    full = network("adacof")
    before = jax.tree.map(np.array, full.tree)
    shrink(full, uneven(full.config.widths, 6))
    jax.tree.map(np.testing.assert_array_equal, full.tree, before)


def test_a_shrunk_network_is_saved_and_loaded(tmp_path):
    full = network("adacof")
    small = shrink(full, uneven(full.config.widths, 6))
    vfijax.save(tmp_path / "small", small)
    loaded = vfijax.load(tmp_path / "small")
    assert loaded.config == small.config
    jax.tree.map(np.testing.assert_array_equal, loaded.tree, small.tree)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"taps": 3}, "taps is fixed by the task"),
        ({"level6": 3}, "no channel space level6; there are conv1_0"),
        ({"level5": 0}, "level5 is 0; give a whole number from 1 to 6"),
        ({"level5": 7}, "level5 is 7; give a whole number from 1 to 6"),
        ({"level5": 2.5}, "level5 is 2.5; give a whole number"),
    ],
)
@pytest.mark.parametrize("init", ["slice", "fresh"])
def test_a_wrong_table_is_refused(table, message, init):
    with pytest.raises(ValueError, match=message):
        shrink(network("adacof"), table, init=init)


@dataclass(frozen=True)
class Forgetful(AdaCoFConfig):
    """AdaCoF whose graph leaves a layer out."""

    def graph(self):
        graph = super().graph()
        return dataclasses.replace(graph, edges=tuple(e for e in graph.edges if e.path[-1] != "conv3_0"))


def test_a_layer_that_the_graph_forgets_is_named():
    full = network("adacof")
    fields = {f.name: getattr(full.config, f.name) for f in dataclasses.fields(full.config)}
    model = vfijax.ModelParams(full.tree, Forgetful(**fields))
    with pytest.raises(ValueError, match="Forgetful: its graph does not describe unet/conv3_0/kernel"):
        shrink(model, {"level2": 3})


def test_an_unknown_init_is_refused():
    with pytest.raises(ValueError, match="init is 'zero'; it is slice or fresh"):
        shrink(network("adacof"), {"level5": 2}, init="zero")


@dataclass(frozen=True)
class Plain(ModelConfig):
    """A network without a graph."""

    widths: Widths = NO_WIDTHS
    architecture: ClassVar[str] = "plain"


def test_a_model_without_a_graph_is_told_how_to_declare_one():
    model = vfijax.ModelParams({"layer": {"kernel": jnp.ones((3, 3, 2, 2))}}, Plain("mine"))
    for action in (lambda: shrink(model, {"a": 1}), lambda: prune(model)):
        with pytest.raises(ValueError, match=r"mine: Plain declares no channel graph.*graph\(\).*pruning.md"):
            action()


def test_the_blend_has_nothing_to_remove():
    with pytest.raises(ValueError, match="blend: has no channels that could be removed"):
        prune(create("blend", 0))


def test_the_example_of_the_documentation_runs():
    text = (Path(__file__).parents[2] / "docs" / "pruning.md").read_text()
    network, imports = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    found = {"__name__": "example"}
    exec(imports + network, found)
    full, small = found["params"], found["small"]
    assert dict(small.config.widths) == {"a": 8, "b": 12}
    assert layout(small.tree) == layout(shapes(small.config))
    f0, f1 = frames()
    assert run(small, f0, f1)[0].shape == f0.shape
    dead, _ = with_dead_channels(full)
    assert sum(widths(dead, "exact").values()) < 40 * 0.7
    np.testing.assert_allclose(run(prune(dead, "exact"), f0, f1)[0], run(dead, f0, f1)[0], atol=1e-6)
