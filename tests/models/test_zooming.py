"""Zooming Slow-Mo gives the published numbers, and its parts fit together.

Golden runs use the published widths; everything else narrow networks. Compilation is most of the time
here; XLA's own optimisation is turned down.
"""

import dataclasses
import functools
import json
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from tests import tolerance
from tests.golden.state import digest, make_clip, make_state
from tests.tolerance import close
from tests.trees import layout
from vfijax.channels import Widths
from vfijax.convert import from_torch, official_shapes
from vfijax.convert.names import NAMES
from vfijax.models import MODELS, config_for, create, forward, narrow, shapes
from vfijax.models.zooming import Step, forward_clip, leaky_relu, pixel_shuffle
from vfijax.prune import shrink, widths
from vfijax.prune.shrink import shrunk_shapes

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "zooming_slowmo.json").read_text())
TRAINING = CASES.pop("training")
ABLATIONS = "abcde"
# The forms of the network: ablations, and where the paper departs from the published code.
FORMS = {a: {"ablation": a} for a in ABLATIONS} | {"paper": {"alignment": "warped", "masks": False}}
EVERY_FORM = pytest.mark.parametrize("form", FORMS)
# (b) and (d) are parts of the others.
EVERY_KIND = pytest.mark.parametrize("form", ["a", "c", "e", "paper"])

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
quick_clip = quick_jit(forward_clip, static_argnames=("implementation", "precision"))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@functools.cache
def converted(case):
    entry = CASES[case]
    state = make_state(entry["shapes"], entry["seed"], "zooming_slowmo")
    assert digest(state) == entry["state_sha256"], "this NumPy draws other weights than the stored ones"
    return from_torch("zooming_slowmo", state, **entry["config"])


def network(form="e", width=2, groups=2, blocks=1, seed=0):
    """A fresh narrow network whose offsets are a pixel or so."""
    config = narrow("zooming_slowmo", width, groups=groups, blocks=blocks, **FORMS[form])
    params = create(config, seed)
    rng = np.random.default_rng(seed)

    def liven(path, leaf):
        if path[-1].key == "bias":
            return leaf + np.float32(rng.uniform(-0.5, 0.5, leaf.shape))
        return 2 * leaf

    return vfijax.ModelParams(jax.tree_util.tree_map_with_path(liven, params.tree), config)


def clip(count=3, height=12, width=16, batch=1, seed=0):
    return np.random.default_rng(seed).uniform(size=(batch, count, height, width, 3)).astype(np.float32)


# ------------------------------------------------------------------------------------- published numbers


def assert_published(case, key, found):
    entry = CASES[case]
    height, width, frames = entry["clips"][key]
    with np.load(GOLDEN / "zooming_slowmo.npz") as stored:
        expected = stored[f"{case}/{key}"]
    step = entry["step"]
    assert found.shape == (1, 2 * frames - 1, 4 * height, 4 * width, 3)
    assert np.abs(np.asarray(found)[:, :, ::step, ::step] - expected).max() <= tolerance.FRAME


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "key"), [("full", "out"), ("small", "out_padded"), *((a, "out") for a in "abcd")]
)
def test_network_gives_the_published_numbers(case, key):
    """`out_padded` has a size that zeros fill up to a multiple of 4."""
    entry = CASES[case]
    frames = make_clip(*entry["clips"][key], entry["seed"])[None]
    assert_published(case, key, quick_clip(converted(case), frames))


@pytest.mark.slow
def test_what_lies_between_has_the_published_numbers():
    names = {
        "first": "conv_first",
        "features": "feature_extraction",
        "pyramid/level2_1": "fea_L2_conv2",
        "pyramid/level3_1": "fea_L3_conv2",
        "align/first/fields1": "pcd_align.L1_dcnpack_1.conv_offset_mask",
        "align": "pcd_align",
        "fusion": "fusion",
        "bidirectional/merge": "ConvBLSTM.conv_1x1",
    }

    @quick_jit
    def run(params, frames):
        seen = {}

        def observe(method, args, kwargs, context):
            out = method(*args, **kwargs)
            path = "/".join(context.module.path)
            if context.method_name == "__call__" and path in names:
                seen[path] = jnp.concatenate(out, axis=-1) if isinstance(out, list) else out
            return out

        with nn.intercept_methods(observe):
            return forward_clip(params, frames), seen

    large, seen = run(converted("small"), make_clip(16, 24, 3, 11)[None])
    assert_published("small", "out", large)
    with np.load(GOLDEN / "zooming_slowmo.npz") as stored:
        for path, official in names.items():
            expected = stored[f"small/mid/{official}"]
            height, width, channels = expected.shape
            found = seen[path][0, :height, :width, :channels]
            assert np.abs(found - expected).max() <= tolerance.OFFSET, path


@pytest.mark.parametrize("case", CASES)
def test_names_shapes_and_number_of_parameters_are_the_published_ones(case):
    entry = CASES[case]
    config = config_for("zooming_slowmo", **entry["config"])
    assert official_shapes(config) == {name: tuple(shape) for name, shape in entry["shapes"]}
    assert count(shapes(config)) == entry["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ablation", "parameters"),
    [("a", 3_667_651), ("b", 6_039_379), ("c", 6_334_547), ("d", 11_094_515), ("e", 11_102_771)],
)
def test_ablations_have_the_stated_number_of_parameters(ablation, parameters):
    assert count(shapes(config_for("zooming_slowmo", ablation=ablation))) == parameters


@pytest.mark.slow
def test_training_step_has_the_published_loss_and_gradients():
    height, width, frames = TRAINING["clip"]
    inputs = make_clip(height, width, frames, TRAINING["seed"])[None]
    target = make_clip(*TRAINING["target"], TRAINING["seed"])[None]

    @quick_jit
    def step(params):
        def loss(params):
            return jnp.sum(jnp.sqrt(jnp.square(forward_clip(params, inputs) - target) + 1e-6))

        return jax.value_and_grad(loss)(params)

    loss, gradient = step(converted("small"))
    np.testing.assert_allclose(loss, TRAINING["loss"], rtol=tolerance.LOSS)
    official = NAMES["zooming_slowmo"]
    leaves = jax.tree_util.tree_leaves_with_path(gradient.tree)
    found = {official(tuple(key.key for key in path)): np.asarray(leaf, np.float64) for path, leaf in leaves}
    assert found.keys() == TRAINING["gradients"].keys()
    for name, (norm, first, last) in TRAINING["gradients"].items():
        leaf = found[name]
        ends = (leaf[0, 0, 0, 0], leaf[-1, -1, -1, -1]) if leaf.ndim == 4 else (leaf[0], leaf[-1])
        assert abs(np.linalg.norm(leaf) - norm) <= tolerance.GRADIENT_NORM * norm, name
        np.testing.assert_allclose(ends, (first, last), atol=tolerance.GRADIENT_NORM * norm, err_msg=name)


# ---------------------------------------------------------------------------------------------- the graph


def layer_paths(tree, path=()):
    for key, value in tree.items():
        yield from layer_paths(value, (*path, key)) if isinstance(value, dict) else [path]


@pytest.mark.slow
@EVERY_FORM
def test_the_graph_covers_every_layer_and_every_space_is_written(form):
    config = config_for("zooming_slowmo", blocks=3, **FORMS[form])
    graph, tree = config.graph(), shapes(config)
    graph.check(tree)
    assert sorted({*layer_paths(tree)}) == sorted(edge.path for edge in graph.edges)
    assert set(config.widths) == {edge.output for edge in graph.edges} - graph.fixed
    assert {space for edge in graph.edges for space in edge.inputs} <= {*config.widths, "rgb"}


def uneven(config):
    """Widths that differ between neighbours, in the multiples of every space."""
    graph = config.graph()
    return {s: graph.block_count(s) * (2 + i % 5) for i, s in enumerate(config.widths)}


@pytest.mark.slow
@EVERY_FORM
def test_sliced_shapes_are_those_of_the_new_config(form):
    config = narrow("zooming_slowmo", 1, groups=2, blocks=2, **FORMS[form])
    full = create(config.replace(widths=Widths.of({s: w + 6 for s, w in uneven(config).items()})), 0)
    small = shrink(full, uneven(config))
    assert layout(small.tree) == layout(shapes(small.config))
    assert layout(small.tree) == layout(shrunk_shapes(full.tree, full.config.graph(), uneven(config)))


def with_dead_channels(params):
    """In every part of a free space one channel that is never written and one that is never read."""
    graph = params.config.graph()
    tree = jax.tree.map(np.array, params.tree)

    def chosen(space, which):
        size = graph.widths[space] // graph.block_count(space)
        return [] if space in graph.fixed else np.arange(graph.block_count(space)) * size + which

    for edge in graph.edges:
        layer, size = edge.layer(tree), graph.sizes(edge)[1]
        place = np.arange(size).reshape(edge.tile, -1, edge.repeat)[:, chosen(edge.output, 0)].ravel()
        layer["kernel"][..., place.astype(int)] = 0
        layer["bias"][place.astype(int)] = 0
        start = 0
        for space in edge.inputs:
            layer["kernel"][..., start + np.asarray(chosen(space, 1), int), :] = 0
            start += graph.widths[space]
    return vfijax.ModelParams(jax.tree.map(jnp.asarray, tree), params.config)


@pytest.mark.slow
@EVERY_KIND
def test_removing_dead_channels_leaves_the_output(form):
    full = with_dead_channels(network(form, width=6))
    table = widths(full, "exact")
    assert all(table[space] < width for space, width in full.config.widths.items())
    frames = clip()
    small = shrink(full, table)
    expected = quick_clip(full, frames)
    close(quick_clip(small, frames), expected, terms=100)
    assert np.ptp(expected) > 1e-2


def test_a_width_that_the_deformable_groups_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="features is 3; give a whole number from 1 to 4, in multiples of 2"):
        shrink(network(width=4), {"features": 3})


def test_a_change_of_form_keeps_the_widths_of_the_spaces_that_stay():
    config = narrow("zooming_slowmo", 16, blocks=3)
    other = config.replace(ablation="c", blocks=4)
    kept = {space: width for space, width in other.widths.items() if space in config.widths}
    assert set(kept.values()) == {16}
    assert set(other.widths) - set(kept) == {"trunk_block3", "hidden"}
    assert other.replace(ablation="e", blocks=3).widths.keys() == config.widths.keys()
    assert MODELS["zooming_slowmo"].replace(ablation="a").replace(ablation="e") == MODELS["zooming_slowmo"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ablation": "f"}, "ablation is 'f'; it is one of a, b, c, d, e"),
        ({"alignment": "bent"}, "alignment is 'bent'; it is fused or warped"),
        ({"blocks": -1}, "blocks is -1"),
        ({"groups": 0}, "groups is 0"),
        ({"blocks": 2.5}, "blocks is 2.5; give a whole number"),
        ({"masks": 3}, "masks is 3; it is True or False"),
        ({"groups": 3}, "groups is 3, which does not divide the 64 channels of "),
    ],
)
def test_unknown_forms_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"zooming_slowmo: {message}"):
        config_for("zooming_slowmo", **changes)


# -------------------------------------------------------------------------------------------- properties


@functools.cache
def traced_gradients(form):
    """Of a random functional of the clip; a silent broadcast over ranks, or promotion, is an error."""
    cotangent = np.random.default_rng(1).normal(size=(1, 5, 48, 64, 3)).astype(np.float32)
    gradients = jax.grad(lambda *args: jnp.vdot(forward_clip(*args), cotangent), argnums=(0, 1))
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        return quick_jit(gradients).trace(network(form), clip())


@pytest.mark.slow
@EVERY_KIND
def test_nothing_is_broadcast_over_ranks_or_promoted(form):
    traced_gradients(form)


@pytest.mark.slow
@EVERY_KIND
def test_a_finite_gradient_reaches_every_parameter_and_the_frames(form):
    gradients = traced_gradients(form).lower().compile()
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients(network(form), clip())):
        assert np.isfinite(leaf).all() and np.any(leaf), path


@pytest.mark.slow
@pytest.mark.parametrize("form", ["c", "e", "paper"])
def test_the_loop_over_time_is_one_step_after_the_other(form):
    params = network(form)
    place = {"c": ("conv_lstm",)}.get(form, ("bidirectional", "lstm"))
    tree = functools.reduce(lambda tree, key: tree[key], place, params.tree)
    width = params.config.widths["hidden" if form == "c" else "features"]
    features = np.random.default_rng(0).normal(size=(4, 1, 8, 8, params.config.widths["features"]))
    step = quick_jit(partial(Step(params.config, place).apply, {"params": tree}))
    loop = nn.scan(Step, variable_broadcast="params", split_rngs={"params": False})(params.config, place)
    carry = (jnp.zeros((1, 8, 8, width)),) * 2
    _, together = quick_jit(loop.apply)({"params": tree}, carry, jnp.float32(features))
    for x, expected in zip(jnp.float32(features), together, strict=True):
        carry, h = step(carry, x)
        close(h, expected, terms=100)


def reversed_in_time(params):
    """Parameters that do with a reversed clip what `params` do with the clip, reversed."""
    tree = dict(params.tree)
    tree["align"] = {"first": tree["align"]["second"], "second": tree["align"]["first"]}

    def exchanged(kernel):
        return jnp.concatenate(jnp.split(kernel, 2, axis=2)[::-1], axis=2)

    merge = tree["bidirectional"]["merge"]
    tree["fusion"] = {**tree["fusion"], "kernel": exchanged(tree["fusion"]["kernel"])}
    merge = {**merge, "kernel": exchanged(merge["kernel"])}
    tree["bidirectional"] = {**tree["bidirectional"], "merge": merge}
    return vfijax.ModelParams(tree, params.config)


@pytest.mark.slow
def test_time_runs_both_ways():
    params, frames = network(), clip(4)
    expected = quick_clip(params, frames)[:, ::-1]
    close(quick_clip(reversed_in_time(params), frames[:, ::-1]), expected, terms=100)
    assert np.abs(quick_clip(params, frames[:, ::-1]) - expected).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ablation", "steps"), [("b", {1, 2, 3}), ("c", {1, 2, 3, 4, 5, 6}), ("e", {*range(7)})]
)
def test_a_frame_matters_where_the_network_can_know_of_it(ablation, steps):
    """The second of four frames is step 2. (b) has no memory, (c) remembers, (e) looks ahead as well."""
    params, frames = network(ablation), clip(4)
    other = frames.copy()
    other[:, 1] = 1 - other[:, 1]
    change = np.abs(quick_clip(params, frames) - quick_clip(params, other)).max((0, 2, 3, 4))
    assert {*np.flatnonzero(change)} == steps


@pytest.mark.slow
def test_the_pair_interface_gives_the_middle_frame_of_the_clip():
    params, frames = network(), clip(2, 8, 16, batch=2)
    frame, aux = quick_jit(forward)(params, frames[:, 0], frames[:, 1])
    assert frame.shape == (2, 32, 64, 3) and frame.dtype == jnp.float32
    close(frame, quick_clip(params, frames)[:, 1], terms=100)
    assert aux == {"offsets": (), "masks": {}, "warped": ()}


def test_clips_of_a_batch_do_not_meet():
    params, frames = network(), clip(2, 8, 16, batch=2)
    expected = quick_clip(params, frames)
    other = quick_clip(params, np.stack([frames[0], 1 - frames[1]]))
    close(other[0], expected[0], terms=100)
    assert np.abs(other[1] - expected[1]).max() > 1e-3


@pytest.mark.slow
def test_the_clip_does_not_depend_on_the_implementation_of_the_op():
    by_reference = quick_clip(network(), clip(), implementation="reference")
    close(quick_clip(network(), clip()), by_reference, terms=100)


@pytest.mark.slow
def test_bfloat16_is_close_to_float32():
    params, frames = network(), clip()
    close(quick_clip(params, frames, precision="bfloat16"), quick_clip(params, frames), "bfloat16", terms=100)


def test_the_form_of_the_paper_differs_from_that_of_the_code():
    """Fewer layers, and offsets alone."""
    code, paper = (network(form).config for form in ("e", "paper"))
    fused = {edge.path for edge in code.graph().edges} - {edge.path for edge in paper.graph().edges}
    assert {path[2] for path in fused} == {"hidden", "cell"}
    assert {path[3] for path in fused} == {"align", "fusion"}
    assert (code.graph().widths["fields"], paper.graph().widths["fields"]) == (27 * 2, 18 * 2)
    assert dataclasses.replace(paper) == paper


@pytest.mark.slow
@EVERY_KIND
def test_a_network_that_starts_near_the_blend_enlarges_and_averages(form):
    fresh = network(form, width=6)  # compiled above, for frames of this size
    start = vfijax.ModelParams(fresh.config.near_blend(fresh.tree), fresh.config)
    fields = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(start.tree) if "fields" in str(path)]
    assert bool(fields) == (form != "a") and not any(map(np.any, fields))
    y, x = np.mgrid[:12, :16] / 8
    frames = np.stack([0.5 + 0.4 * np.sin(y + x + t / 4 + c) for t in range(3) for c in range(3)], -1)
    frames = np.float32(frames.reshape(12, 16, 3, 3).transpose(2, 0, 1, 3))
    between = (frames[:-1] + frames[1:]) / 2
    steps = np.stack([frames[0], between[0], frames[1], between[1], frames[2]])
    wanted = jax.image.resize(steps, (5, 48, 64, 3), "linear")
    inside = np.s_[:, 8:-8, 8:-8]
    found = np.asarray(quick_clip(start, frames[None])[0])
    assert np.abs(found - wanted)[inside].max() < 0.02
    assert np.abs(np.asarray(quick_clip(fresh, frames[None])[0]) - wanted)[inside].max() > 0.2


@pytest.mark.slow
@EVERY_KIND
def test_the_published_start_has_no_offsets_and_small_residual_blocks(form):
    fresh = network(form, width=16)
    start = fresh.config.published(fresh.tree, 1)
    other = fresh.config.published(fresh.tree, 2)
    for edge in fresh.config.graph().edges:
        layer, before = edge.layer(start), edge.layer(fresh.tree)
        if edge.path[-1].startswith("fields"):
            assert not any(map(np.any, layer.values()))
        elif any(part.startswith("block") for part in edge.path):
            fan_in = np.prod(layer["kernel"].shape[:-1])
            assert abs(np.std(layer["kernel"]) / (0.1 * np.sqrt(2 / fan_in)) - 1) < 0.1
            assert np.any(layer["kernel"] != edge.layer(other)["kernel"]) and not np.any(layer["bias"])
        else:
            assert layer is before


def test_a_pixel_shuffle_spreads_neighbouring_channels_over_a_square():
    x = jnp.arange(2 * 8).reshape(1, 1, 2, 8)
    np.testing.assert_array_equal(pixel_shuffle(x)[0, :, :, 0], [[0, 1, 8, 9], [2, 3, 10, 11]])
    np.testing.assert_array_equal(pixel_shuffle(x)[0, :, :, 1], [[4, 5, 12, 13], [6, 7, 14, 15]])


def test_the_slope_at_zero_is_that_of_the_negative_side():
    slopes = jax.vmap(jax.grad(leaky_relu))(jnp.asarray([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(slopes, [0.1, 0.1, 1.0])
