"""The networks have their sizes, which mostly were published, and their channel graphs describe them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from vfijax.channels import Edge, Widths
from vfijax.models import MODELS, config_for, create, forward, narrow, shapes, traced_shapes

NETWORKS = [name for name, config in MODELS.items() if hasattr(config, "widths")]
EVERY_NETWORK = pytest.mark.parametrize("name", NETWORKS)


def count(tree):
    """Parameters that are learned: running statistics are none."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return sum(leaf.size for path, leaf in leaves if path[-1].key not in ("mean", "variance"))


def layers(tree, path=()):
    """Path and entries of every layer with parameters."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from layers(value, (*path, key))
    if {"kernel", "slope", "scale"} & tree.keys():
        yield path, tree


def layer_shapes(config):
    return {path: {k: v.shape for k, v in entries.items()} for path, entries in layers(shapes(config))}


# ------------------------------------------------------------------------------------------ shapes

# Every model, and every field that adds or takes layers.
FORMS = [(name, {}) for name in MODELS]
FORMS += [("zooming_slowmo", {"ablation": ablation, "blocks": 1}) for ablation in "abcd"]
FORMS += [
    ("zooming_slowmo", {"blocks": 2, "alignment": "warped", "groups": 2}),
    ("zooming_slowmo", {"blocks": 0, "masks": False}),
    ("dsepconv", {"masks": False, "taps": 7}),
    ("edsc_m", {"masks": False}),
    ("sepconv", {"padding": "paper", "taps": 5}),
    ("guided", {"coarse": False, "residual": False, "quality": "fine"}),
    ("adaconv", {"taps": 3}),
    ("cdfi", {"taps": 5, "features": "filtered"}),
]


def in_order(tree):
    """The keys of a tree as they come."""
    return [(key, in_order(value)) for key, value in tree.items()] if isinstance(tree, dict) else tree


@pytest.mark.parametrize(("name", "changes"), FORMS, ids=str)
def test_shapes_from_the_graph_are_exactly_those_of_tracing(name, changes):
    changes = {"blocks": 1, **changes} if name == "zooming_slowmo" else changes
    config = different(name, **changes) if name in NETWORKS else config_for(name, **changes)
    assert in_order(shapes(config)) == in_order(traced_shapes(config))


@pytest.mark.slow
@EVERY_NETWORK
def test_shapes_of_the_full_networks_are_those_of_tracing(name):
    assert in_order(shapes(MODELS[name])) == in_order(traced_shapes(MODELS[name]))


def test_no_network_is_traced_for_its_shapes(monkeypatch):
    monkeypatch.setattr(
        vfijax.models, "traced_shapes", lambda config: pytest.fail(f"{config.name} is traced")
    )
    shapes.cache_clear()
    for name, config in MODELS.items():
        assert bool(shapes(config)) == config.learned, name


def test_a_network_that_declares_no_sizes_is_traced():
    @dataclasses.dataclass(frozen=True)
    class Own(type(narrow("coarse_motion"))):
        def graph(self):
            edges = (dataclasses.replace(edge, size=None) for edge in super().graph().edges)
            return dataclasses.replace(super().graph(), edges=tuple(edges))

    own = Own("own", narrow("coarse_motion").widths)
    assert own.graph().shapes() is None
    assert shapes(own) == shapes(narrow("coarse_motion"))


# --------------------------------------------------------------------------------------------- x64

TINY = {"zooming_slowmo": {"blocks": 1}}
EVERY_TINY = pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].learned])


@EVERY_TINY
def test_parameters_are_float32_with_64_bits_too_and_so_are_those_that_begin_otherwise(name, float64):
    shapes.cache_clear()
    fresh = create(narrow(name, **TINY.get(name, {})), 0)
    trees = {
        "fresh": fresh.tree,
        "near the blend": fresh.config.near_blend(fresh.tree),
        "as published": fresh.config.published(fresh.tree, 0),
        "traced": traced_shapes(fresh.config) if name == "coarse_motion" else shapes(fresh.config),
    }
    for kind, tree in trees.items():
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}, kind


def test_parameters_do_not_depend_on_the_bits_that_are_enabled():
    config = narrow("coarse_motion")
    usual = create(config, 1).tree
    with jax.enable_x64(True):
        shapes.cache_clear()
        wide = create(config, 1).tree
    jax.tree.map(np.testing.assert_array_equal, usual, wide)


# ------------------------------------------------------------------------------------------ counts

# Of the published networks, and of our own, coarse_motion and guided; the ablations are those of CDFI's
# table (4.98, 4.83, 4.72, 4.88 million) and DSepConv's kernel sizes with and without masks.
COUNTS = [
    ("adacof", {}, 21_843_427),
    ("adacof_plus", {}, 22_933_219),
    ("compressed_adacof", {}, 2_452_094),
    ("compressed_adacof_plus", {}, 2_557_214),
    ("cdfi", {}, 4_976_718),
    ("cdfi_fp1x1", {}, 4_833_276),
    ("cdfi_fp1x1", {"taps": 5, "dilation": 1}, 4_723_836),
    ("cdfi_fp", {}, 4_888_738),
    ("sepconv", {}, 21_675_452),
    ("sepconv_kth", {}, 21_602_256),
    ("adaconv", {}, 15_927_394),
    ("dsepconv", {}, 21_806_350),
    ("dsepconv", {"taps": 1}, 21_725_390),
    ("dsepconv", {"taps": 3}, 21_746_238),
    ("dsepconv", {"taps": 7}, 21_947_198),
    ("dsepconv", {"taps": 1, "masks": False}, 21_614_008),
    ("dsepconv", {"taps": 3, "masks": False}, 21_628_776),
    ("dsepconv", {"taps": 5, "masks": False}, 21_669_816),
    ("dsepconv", {"taps": 7, "masks": False}, 21_764_776),
    ("edsc_s", {}, 8_945_189),
    ("edsc_m", {}, 8_950_949),
    ("zooming_slowmo", {}, 11_102_771),
    ("flow", {}, 0),
    ("flow_fine", {}, 0),
    ("flow_medium", {}, 0),
    ("coarse_motion", {}, 212_200),
    ("guided", {}, 776_617),
    ("blend", {}, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes", "parameters"), COUNTS)
def test_parameters_are_as_many_as_stated(name, changes, parameters):
    config = config_for(name, **changes)
    assert count(shapes(config)) == parameters
    assert config.learned == (parameters > 0)


def test_every_model_has_a_stated_count():
    assert {name for name, _, _ in COUNTS} == set(MODELS)


@pytest.mark.parametrize(
    ("part", "parameters"), [("synthesis", 2_317_492), ("features", 6_676), ("unet", 2_659_226 - 6_676)]
)
def test_the_parts_of_cdfi_have_the_published_counts(part, parameters):
    assert count(shapes(MODELS["cdfi"])[part]) == parameters


# --------------------------------------------------------------------------------------- ablations


def test_path_selection_is_the_two_mask_heads():
    full, without = layer_shapes(MODELS["cdfi"]), layer_shapes(MODELS["cdfi_fp1x1"])
    removed = {path: full[path] for path in full.keys() - without.keys()}
    assert {path[-1].rsplit("_", 1)[0] for path in removed} == {"occlusion", "blend"}
    assert all(full[path] == entries for path, entries in without.items())
    assert sum(int(np.prod(s)) for entries in removed.values() for s in entries.values()) == 143_442


def test_fewer_taps_change_the_last_layer_of_the_tap_heads_alone():
    eleven = layer_shapes(MODELS["cdfi_fp1x1"])
    five = layer_shapes(config_for("cdfi_fp1x1", taps=5, dilation=1))
    changed = {path[-1] for path in eleven if eleven[path] != five[path]}
    assert changed == {f"{head}{n}_3" for head in ("weight", "offset_y", "offset_x") for n in "12"}


def test_without_filters_the_encoder_levels_are_warped_whole():
    tree = shapes(MODELS["cdfi_fp"])
    assert set(tree) == {"unet", "synthesis"}
    assert not [name for name in tree["unet"] if name.startswith(("occlusion", "blend"))]
    levels = sum(tree["unet"][f"conv{level}_2"]["bias"].size for level in (1, 2, 3, 4, 5))
    assert (levels, tree["synthesis"]["lateral_init"]["conv_0"]["kernel"].shape[2]) == (449, 3 + 3 + 449)


def test_masks_are_two_heads_of_dsepconv():
    full, without = layer_shapes(MODELS["dsepconv"]), layer_shapes(config_for("dsepconv", masks=False))
    removed = {path: full[path] for path in full.keys() - without.keys()}
    assert {path[-1].rsplit("_", 1)[0] for path in removed} == {"mask1", "mask2"}
    assert all(full[path] == entries for path, entries in without.items())


def test_other_taps_change_the_last_two_layers_of_the_heads_of_dsepconv_alone():
    five, three = layer_shapes(MODELS["dsepconv"]), layer_shapes(config_for("dsepconv", taps=3))
    changed = {path[-1] for path in five if five[path] != three[path]}
    heads = {head.name for head in MODELS["dsepconv"].heads}
    assert changed == {f"{head}_{i}" for head in heads for i in (2, 3)}
    assert config_for("dsepconv", taps=3).replace(taps=5, masks=True) == MODELS["dsepconv"]


def test_other_taps_leave_narrow_layers_narrow():
    config = narrow("dsepconv").replace(taps=3, masks=False)
    assert {width for space, width in config.widths.items() if not space.endswith("_2")} == {4}
    assert config.widths["vertical1_2"] == 3 and config.widths["offset_x2_2"] == 9


@pytest.mark.parametrize("taps", [0, 2, -1])
@pytest.mark.parametrize("name", ["dsepconv", "edsc_m"])
def test_an_even_number_of_taps_is_refused(name, taps):
    with pytest.raises(ValueError, match=f"{name}: taps is {taps}; give an odd number, 1 or more"):
        config_for(name, taps=taps)


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="sepconv: padding is 'zero'; give improved or paper"):
        config_for("sepconv", padding="zero")


def test_the_time_is_read_by_the_heads_of_its_frame_alone():
    midpoint, timed = layer_shapes(MODELS["edsc_s"]), layer_shapes(MODELS["edsc_m"])
    larger = {path[-1] for path in timed if midpoint[path] != timed[path]}
    assert larger == {f"{head.name}_0" for head in MODELS["edsc_m"].heads if head.name != "bias"}
    read = {e.path[-1]: e.inputs for e in MODELS["edsc_m"].graph().edges if e.path[-1] in larger}
    for layer, spaces in read.items():
        assert spaces == ("level2", "elapsed" if "1_" in layer else "remaining")


def test_the_synthesis_of_cdfi_reads_126_channels():
    assert shapes(MODELS["cdfi"])["synthesis"]["lateral_init"]["skip"]["kernel"].shape == (3, 3, 126, 32)


# --------------------------------------------------------------------------------------- the graph


@EVERY_NETWORK
def test_the_graph_covers_every_layer_and_fits_the_tree(name):
    config = MODELS[name]
    tree = shapes(config)
    edges = [edge.path for edge in config.graph().edges]
    assert len(set(edges)) == len(edges)
    assert set(edges) == {path for path, entries in layers(tree) if {"kernel", "scale"} & entries.keys()}
    config.graph().check(tree)


INPUTS = {"pair", "rgb", "elapsed", "remaining", "patch", "costs", "motion", "seen"}


@EVERY_NETWORK
def test_every_space_is_written_and_the_table_has_no_other(name):
    graph = MODELS[name].graph()
    written = {edge.output for edge in graph.edges}
    read = {space for edge in graph.edges for space in edge.inputs}
    assert read | written <= set(graph.widths)
    # frames, times, and what is computed of them without parameters
    assert {space.removeprefix("coarse_") for space in read - written} <= INPUTS
    assert set(MODELS[name].widths) == (read | written) - graph.fixed


def different(name, **changes):
    """A narrow config whose spaces all have different widths, so that none can stand for another."""
    config = narrow(name, **changes)
    graph = config.graph()
    widths = {space: (2 + i) * graph.block_count(space) for i, space in enumerate(config.widths)}
    return config.replace(widths=Widths.of(widths))


SMALL_TAPS = [(name, {"taps": 3}) for name in NETWORKS if hasattr(MODELS[name], "taps")]
SMALL_TAPS += [("dsepconv", {"taps": 1, "masks": False})]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes"), SMALL_TAPS)
def test_all_shapes_follow_the_table_of_widths(name, changes):
    config = different(name, **changes)
    tree = shapes(config)
    config.graph().check(tree)
    frames = jax.ShapeDtypeStruct((2, 32, 64, 3), jnp.float32)
    frame, aux = jax.eval_shape(forward, vfijax.ModelParams(tree, config), frames, frames)
    assert frame.shape == (2, 32, 64, 3)
    assert all(field.shape == (2, 9, 32, 64) for taps in aux["offsets"] for field in taps)
    assert all(mask.shape == (2, 32, 64, 1) for mask in aux["masks"].values())
    padded = jax.eval_shape(config.framing.prepare, frames).shape
    assert [warped.shape for warped in aux["warped"]] == [padded] * 2


@pytest.mark.parametrize(("name", "changes"), SMALL_TAPS)
def test_a_wrong_edge_or_width_is_found_and_named(name, changes):
    config = different(name, **changes)
    tree, graph = shapes(config), config.graph()
    for i, edge in enumerate(graph.edges):
        if not edge.inputs:
            continue  # per channel: reads nothing
        size = graph.widths[edge.output]
        wrong = (
            Edge(edge.path, edge.inputs[1:] or ("pair", *edge.inputs), edge.output),
            Edge(edge.path, edge.inputs, next(s for s, w in graph.widths.items() if w != size)),
        )
        for planted in wrong:
            edges = (*graph.edges[:i], planted, *graph.edges[i + 1 :])
            with pytest.raises(ValueError, match=f"{'/'.join(edge.path)}: "):
                dataclasses.replace(graph, edges=edges).check(tree)


def test_an_unknown_space_is_refused_by_name():
    widths = MODELS["cdfi"].widths
    with pytest.raises(ValueError, match="no channel space \\['level6'\\]"):
        widths.replace({"level6": 3})
    with pytest.raises(KeyError, match="no channel space 'level6'"):
        widths["level6"]
    assert widths.replace({"level5": 7})["level5"] == 7 and widths["level5"] == 121


# ----------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize("name", MODELS)
def test_narrow_has_one_width_and_keeps_the_rest(name):
    config = narrow(name, width=6)
    grouped = config.graph().block_count
    for space, width in getattr(config, "widths", {}).items():
        assert 6 <= width < 6 + grouped(space) and width % grouped(space) == 0
    if name in NETWORKS:
        assert config.replace(widths=MODELS[name].widths) == MODELS[name]
    if hasattr(config, "taps"):
        assert narrow(name, width=6, taps=3).taps == 3


def test_the_compressed_network_is_the_full_one_with_other_widths():
    for full, compressed in (("adacof", "compressed_adacof"), ("adacof_plus", "compressed_adacof_plus")):
        renamed = dataclasses.replace(narrow(compressed), name=full)
        assert shapes(renamed) == shapes(narrow(full))
        assert (renamed.taps, renamed.dilation) == (MODELS[full].taps, MODELS[full].dilation)


@pytest.mark.parametrize("name", MODELS)
def test_configs_are_hashable_and_equal_by_value(name):
    again = dataclasses.replace(MODELS[name])
    assert again == MODELS[name] and hash(again) == hash(MODELS[name])


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown model 'cdfy'; did you mean 'cdfi'"):
        create("cdfy", 0)
    with pytest.raises(ValueError, match="models: adacof, adacof_plus"):
        create("zzz", 0)


def test_an_unknown_field_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="compressed_adacof: no config field tapz; it has dilation, rounding, taps"
    ):
        create("compressed_adacof", 0, tapz=5)
    with pytest.raises(ValueError, match="blend: no config field taps; it has none"):
        create("blend", 0, taps=5)


# -------------------------------------------------------------------------------------- parameters


def test_fresh_parameters_have_the_published_distribution():
    tree = create("compressed_adacof", 3).tree
    kernel, bias = tree["unet"]["conv3_1"]["kernel"], tree["unet"]["conv3_1"]["bias"]
    bound = 1 / np.sqrt(3 * 3 * 99)
    for leaf in (kernel, bias):
        assert np.abs(leaf).max() <= bound and np.abs(leaf).max() > 0.9 * bound
    assert np.std(kernel) == pytest.approx(bound / np.sqrt(3), rel=0.02)
    slopes = create(narrow("cdfi"), 0).tree["synthesis"]["lateral_0_0"]["prelu_0"]["slope"]
    np.testing.assert_array_equal(slopes, [0.25])
    norm = create(narrow("adaconv"), 0).tree["conv2_norm"]
    assert {name: float(np.unique(leaf).item()) for name, leaf in norm.items()} == {
        "scale": 1,
        "bias": 0,
        "mean": 0,
        "variance": 1,
    }


def test_the_same_key_gives_the_same_parameters_and_another_key_others():
    config = narrow("adacof", taps=3)
    first, again, other = (create(config, key).tree for key in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    differing = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != b)), first, other)
    assert all(jax.tree.leaves(differing))
    by_jax = [create(config, jax.random.key(5)).tree for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *by_jax)


def test_a_leaf_does_not_depend_on_the_other_leaves():
    without, full = create(narrow("cdfi_fp1x1"), 1).tree, create(narrow("cdfi"), 1).tree
    for path, entries in layers(without):
        layer = full
        for key in path:
            layer = layer[key]
        jax.tree.map(np.testing.assert_array_equal, entries, layer)
