"""Slicing layers of all kinds, in one small network of grouped, shuffled, gated and normalised ones."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tolerance import close
from tests.trees import layout
from vfijax.channels import ChannelGraph, Edge, Widths
from vfijax.prune import alive, shrink_tree, strength
from vfijax.prune.shrink import shrunk_shapes


class Slopes(nn.Module):
    """PReLU with a slope per channel."""

    @nn.compact
    def __call__(self, x):
        return jnp.where(x >= 0, x, x * self.param("slope", nn.initializers.uniform(1.0), x.shape[-1:]))


class Mixed(nn.Module):
    """Grouped and depthwise convolutions, a pixel shuffle, gates, slopes, a normalisation, a dense layer."""

    widths: Widths

    @nn.compact
    def __call__(self, x):
        w = self.widths
        a = nn.Conv(w["a"], (3, 3), name="first")(x)
        a = nn.Conv(w["a"], (3, 3), feature_group_count=w["a"], use_bias=False, name="depthwise")(a)
        a = nn.PReLU(name="one_slope")(Slopes(name="slopes")(a))
        b = nn.relu(nn.Conv(w["b"], (3, 3), feature_group_count=2, name="grouped")(a))
        c = nn.Conv(4 * w["c"], (1, 1), name="to_shuffle")(jnp.concatenate([b, x, a], axis=-1))
        batch, height, width, _ = c.shape
        c = c.reshape(batch, height, width, w["c"], 2, 2).transpose(0, 1, 4, 2, 5, 3)
        c = nn.relu(c.reshape(batch, 2 * height, 2 * width, w["c"]))
        i, f, o, g = jnp.split(nn.Conv(4 * w["h"], (3, 3), name="gates")(c), 4, axis=-1)
        h = nn.sigmoid(o) * jnp.tanh((nn.sigmoid(i) + nn.sigmoid(f)) * jnp.tanh(g))
        d = nn.LayerNorm(name="norm")(nn.Conv(w["d"], (1, 1), name="to_norm")(h))
        return nn.Dense(2, name="last")(d.mean(axis=(1, 2)))


MIXED = Widths.of({"a": 8, "b": 4, "c": 5, "h": 6, "d": 3})


def mixed_graph(table=MIXED):
    return ChannelGraph(
        {**table, "x": 3, "y": 2},
        (
            Edge(("first",), ("x",), "a"),
            Edge(("depthwise",), (), "a"),
            Edge(("slopes",), (), "a"),
            Edge(("grouped",), ("a",), "b", groups=2),
            Edge(("to_shuffle",), ("b", "x", "a"), "c", repeat=4),
            Edge(("gates",), ("c",), "h", tile=4),
            Edge(("to_norm",), ("h",), "d"),
            Edge(("norm",), (), "d"),
            Edge(("last",), ("d",), "y"),
        ),
        fixed=frozenset("xy"),
    )


def mixed():
    """The network, frames, and parameters none of which is zero."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    like = jax.eval_shape(Mixed(MIXED).init, jax.random.key(0), x)["params"]

    def draw(leaf):
        return (rng.normal(size=leaf.shape) / np.sqrt(max(1, leaf.size // 9))).astype(np.float32)

    return Mixed(MIXED), x, jax.tree.map(draw, like)


def apply(module, tree, x):
    return jax.jit(module.apply)({"params": tree}, x)


def test_the_graph_of_the_mixed_network_fits():
    mixed_graph().check(mixed()[2])


def test_layers_of_all_kinds_are_sliced_to_the_shapes_of_the_narrow_network():
    _, x, tree = mixed()
    table = {"a": 6, "b": 2, "c": 3, "h": 5, "d": 2}
    small = shrink_tree(tree, mixed_graph(), table)
    wanted = jax.eval_shape(Mixed(Widths.of(table)).init, jax.random.key(0), x)["params"]
    assert layout(small) == layout(wanted) == layout(shrunk_shapes(tree, mixed_graph(), table))
    assert np.isfinite(apply(Mixed(Widths.of(table)), small, x)).all()


def kill(edge, tree, channels):
    """Zeros in the channels of what a layer writes, in all their copies."""
    layer = tree[edge.path[0]]
    for name in layer:
        if name in ("kernel", "bias"):
            copies = layer[name].shape[-1] // (edge.repeat * edge.tile)
            place = np.arange(layer[name].shape[-1]).reshape(edge.tile, copies, edge.repeat)
            layer[name][..., place[:, channels].ravel()] = 0


@pytest.mark.parametrize(
    ("layer", "space", "channels", "left"),
    [
        ("first", "a", [1, 6], 6),  # one in each half: the groups stay equal
        ("grouped", "b", [0, 3], 2),
        ("to_shuffle", "c", [0, 3], 3),
        ("gates", "h", [2, 5, 3], 3),
    ],
)
def test_dead_channels_leave_grouped_shuffled_and_gated_layers_without_a_change(layer, space, channels, left):
    module, x, tree = mixed()
    graph = mixed_graph()
    kill(next(edge for edge in graph.edges if edge.path == (layer,)), tree, channels)
    living = alive(tree, graph)
    assert np.flatnonzero(~living[space]).tolist() == sorted(channels)
    small = shrink_tree(tree, graph, {space: left})
    narrow_module = Mixed(MIXED.replace({space: left}))
    close(apply(narrow_module, small, x), apply(module, tree, x), terms=100)


def test_a_group_keeps_as_many_channels_as_the_other():
    _, _, tree = mixed()
    tree["first"]["kernel"][..., :3] *= 0.01  # the weakest are all in the first group
    small = shrink_tree(tree, mixed_graph(), {"a": 4})
    scores = strength(tree, mixed_graph())["a"]
    best = np.concatenate([np.sort(np.argsort(-scores[h : h + 4])[:2]) + h for h in (0, 4)])
    np.testing.assert_array_equal(small["first"]["kernel"], tree["first"]["kernel"][..., best])
    np.testing.assert_array_equal(small["slopes"]["slope"], tree["slopes"]["slope"][best])


def test_a_space_that_is_normalised_is_left_alone_by_exact():
    _, _, tree = mixed()
    graph = mixed_graph()
    kill(Edge(("to_norm",), ("h",), "d"), tree, [0])
    tree["norm"]["bias"][0] = 0
    tree["last"]["kernel"][0] = 0
    assert alive(tree, graph)["d"].all()


def test_a_space_that_is_nonzero_at_zero_dies_by_not_being_read_alone():
    graph = ChannelGraph(
        {"x": 1, "a": 2, "y": 1},
        (Edge(("in",), ("x",), "a"), Edge(("out",), ("a",), "y")),
        frozenset("xy"),
        nonzero=frozenset("a"),
    )
    tree = {"in": {"kernel": np.array([[0.0, 1.0]])}, "out": {"kernel": np.array([[1.0], [0.0]])}}
    assert alive(tree, graph)["a"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        (Edge(("grouped",), ("a",), "b", groups=3), "3 groups do not divide a"),
        (Edge(("grouped",), ("a", "x"), "b", groups=2), "a grouped layer reads one space"),
        (Edge(("gates",), ("c",), "h", tile=3), r"gates: \(5, 24\) not \(5, 18\)"),
        (Edge(("slopes",), (), "b"), r"slopes: slope \(8,\) does not end with 4"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(edge, message):
    graph = mixed_graph()
    edges = tuple(edge if e.path == edge.path else e for e in graph.edges)
    with pytest.raises(ValueError, match=message):
        shrink_tree(mixed()[2], ChannelGraph(graph.widths, edges, graph.fixed), {"c": 2})


def test_a_width_must_be_a_multiple_of_the_groups():
    with pytest.raises(ValueError, match="b is 3; give a whole number from 1 to 4, in multiples of 2"):
        shrink_tree(mixed()[2], mixed_graph(), {"b": 3})
