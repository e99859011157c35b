"""What holds for every network, tried on narrow ones: four channels wherever the task leaves the choice.

The compressed networks are the full ones with other widths (test_configs.py), so that their narrow
forms are not run again. Compilation is most of the time here; XLA's own optimisation is turned down.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from tests.tolerance import close
from vfijax.models import MODELS, create, forward, narrow, shapes

GRAPHS = {
    "adacof": {"taps": 3},
    "adacof_plus": {"taps": 3, "rounding": "trunc"},  # dilation 2
    "cdfi": {"taps": 3},
    "cdfi_fp1x1": {"taps": 3, "dilation": 1, "rounding": "trunc"},
    "cdfi_fp": {"taps": 3},
    "sepconv": {"taps": 5},
    "sepconv_kth": {"taps": 5},
    "adaconv": {"taps": 3},
    "dsepconv": {"taps": 3},
    "edsc_s": {"taps": 3, "masks": False, "grid": "centred"},
    "edsc_m": {"taps": 3},
    "flow": {},
    "coarse_motion": {},
    "guided": {},
    "blend": {},
}
EVERY_GRAPH = pytest.mark.parametrize("name", GRAPHS)
NETWORKS = [name for name in GRAPHS if shapes(narrow(name))]
HEIGHT, WIDTH = 30, 40  # padded to 32x64

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
quick_forward = quick_jit(forward, static_argnames=("implementation", "reference_grads"))


@cache
def params(name):
    """Fresh parameters under which no part of the network is dead, with filters of different widths."""
    config = narrow(name, **GRAPHS[name])
    if getattr(config, "features", "") == "filtered":
        config = config.replace(widths=config.widths.replace({f"feature{i}": i for i in range(1, 6)}))

    def liven(path, leaf):
        if path[-1].key != "bias":
            return leaf
        if path[0].key in ("synthesis", "features", "weights"):  # PReLU: some inputs are negative
            return leaf + np.linspace(-0.5, 0.5, leaf.size, dtype=np.float32)
        positive = np.abs(leaf) + np.float32(0.05)  # ReLU: some inputs are positive
        return -positive if path[-2].key == "pointwise_grouped" else positive  # this branch is subtracted

    fresh = create(config, 0)
    # In NumPy: JAX would compile a program for every shape.
    tree = jax.tree_util.tree_map_with_path(liven, jax.tree.map(np.asarray, fresh.tree))
    return vfijax.ModelParams(jax.tree.map(jnp.asarray, tree), config)


def frames(batch=2):
    return np.random.default_rng(0).uniform(0, 1, (2, batch, HEIGHT, WIDTH, 3)).astype(np.float32)


@cache
def traced(name, reference_grads=False):
    """The program of `gradients`; a silent broadcast over ranks, or promotion, in it is an error."""
    cotangent = np.random.default_rng(1).normal(size=(2, HEIGHT, WIDTH, 3)).astype(np.float32)

    def energy(params, f0, f1):
        frame, aux = forward(params, f0, f1, reference_grads=reference_grads)
        return jnp.vdot(frame, cotangent), (frame, aux)

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        return quick_jit(jax.value_and_grad(energy, has_aux=True)).trace(params(name), *frames())


@cache
def gradients(name, reference_grads=False):
    """(frame, aux) and the gradient of a random functional of the frame, by path."""
    (_, result), gradient = traced(name, reference_grads).lower().compile()(params(name), *frames())
    leaves = jax.tree_util.tree_leaves_with_path(gradient.tree)
    return result, {"/".join(key.key for key in path): leaf for path, leaf in leaves}


# -------------------------------------------------------------------------------- frames, gradients


@pytest.mark.slow
@EVERY_GRAPH
def test_frame_has_the_size_of_the_input_and_is_finite(name):
    (frame, aux), _ = gradients(name)
    assert frame.shape == (2, HEIGHT, WIDTH, 3) and frame.dtype == jnp.float32
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((frame, aux)))
    assert set(aux) == {"offsets", "masks", "warped"} | ({"motion"} if name == "coarse_motion" else set())
    for taps in aux["offsets"]:
        np.testing.assert_allclose(taps.weight.sum(1), 1, rtol=1e-5)  # a softmax
    for mask in aux["masks"].values():
        assert mask.min() > 0 and mask.max() < 1


# Interpolated frames and encoder levels are never negative, so that this slope has no part in the frame.
# Running statistics are left as they are, and the motion of the coarse network is a constant for the other.
WITHOUT_EFFECT = {
    "cdfi_fp": {"synthesis/lateral_init/prelu_0/slope"},
    "adaconv": {f"conv{i}_norm/{leaf}" for i in (1, 2, 3, 4) for leaf in ("mean", "variance")},
    "guided": {
        "/".join(key.key for key in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(shapes(narrow("guided")))
        if path[0].key == "coarse"
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_finite_gradient_reaches_every_parameter(name):
    _, leaves = gradients(name)
    assert all(np.isfinite(leaf).all() for leaf in leaves.values())
    assert {path for path, leaf in leaves.items() if not np.any(leaf)} == WITHOUT_EFFECT.get(name, set())


@pytest.mark.slow
def test_published_gradients_leave_the_filters_of_cdfi_alone_and_change_no_value():
    result, leaves = gradients("cdfi", reference_grads=True)
    jax.tree.map(partial(close, terms=100), result, quick_forward(params("cdfi"), *frames()))
    without = {path for path, leaf in leaves.items() if not np.any(leaf)}
    assert without == {f"features/level{i}/{leaf}" for i in range(1, 6) for leaf in ("kernel", "bias")}


@pytest.mark.slow
@EVERY_GRAPH
def test_nothing_is_broadcast_over_ranks_or_promoted(name):
    traced(name)


# ------------------------------------------------------------------------------------- equivalences


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adacof", "cdfi", "adaconv", "edsc_m"])
def test_jit_equals_the_plain_call(name):
    plain, _ = forward(params(name), *frames())
    close(quick_forward(params(name), *frames())[0], plain, terms=100)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adacof_plus", "cdfi", "sepconv", "adaconv", "edsc_s"])
def test_the_frame_does_not_depend_on_the_implementation(name):
    by_reference, _ = quick_forward(params(name), *frames(), implementation="reference")
    close(quick_forward(params(name), *frames(), implementation="xla")[0], by_reference, terms=100)


def test_images_of_a_batch_do_not_meet():
    f0, f1 = frames()
    together, _ = quick_forward(params("cdfi"), f0, f1)
    for i in range(2):
        alone, _ = quick_forward(params("cdfi"), f0[i : i + 1], f1[i : i + 1])
        close(together[i : i + 1], alone, terms=100)


def swapped(tree, graph):
    """Parameters that do with (f1, f0) what `tree` does with (f0, f1)."""

    def exchange(kernel, order):
        return kernel[:, :, np.asarray(order)]

    unet = dict(tree["unet"])
    unet["conv1_0"] = {**unet["conv1_0"], "kernel": exchange(unet["conv1_0"]["kernel"], [3, 4, 5, 0, 1, 2])}
    fields = ("weight", "offset_y", "offset_x", "vertical", "horizontal", "mask")
    for head in (field for field in fields if f"{field}1_0" in unet):
        for i in range(4):
            first, second = f"{head}1_{i}", f"{head}2_{i}"
            unet[first], unet[second] = unet[second], unet[first]
    if "occlusion_3" in unet:
        unet["occlusion_3"] = jax.tree.map(jnp.negative, unet["occlusion_3"])  # m becomes 1 - m
    changed = {**tree, "unet": unet}
    if "synthesis" in tree:
        # Frames and levels come in pairs, first and second set of taps.
        edge = next(edge for edge in graph.edges if edge.path[-2:] == ("lateral_init", "skip"))
        ends = np.cumsum([0, *(graph.widths[space] for space in edge.inputs)])
        pieces = [list(range(*ends[i : i + 2])) for i in range(len(edge.inputs))]
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        order = [channel for first, second in pairs for channel in (*second, *first)]
        initial = dict(tree["synthesis"]["lateral_init"])
        for layer in ("conv_0", "skip"):
            initial[layer] = {**initial[layer], "kernel": exchange(initial[layer]["kernel"], order)}
        changed["synthesis"] = {**tree["synthesis"], "lateral_init": initial}
    return changed


# In cdfi_fp the first set of taps alone warps the levels: it has no mirror image.
MIRRORED = ["adacof", "adacof_plus", "cdfi", "cdfi_fp1x1", "sepconv", "dsepconv", "edsc_m", "blend"]


@pytest.mark.parametrize("name", MIRRORED)
def test_swapping_the_frames_swaps_the_sides_of_the_network(name):
    model, (f0, f1) = params(name), frames()
    mirrored = model
    if model.tree:
        mirrored = vfijax.ModelParams(swapped(model.tree, model.config.graph()), model.config)
    expected, _ = quick_forward(model, f0, f1)
    close(quick_forward(mirrored, f1, f0)[0], expected, terms=100)
    if model.tree:
        assert np.abs(quick_forward(model, f1, f0)[0] - expected).max() > 1e-3


def test_the_graph_of_cdfi_names_the_concatenated_maps_in_their_order():
    """A map that its filter makes zero counts for as much as one whose synthesis kernels are zero."""
    model = params("cdfi")
    graph = model.config.graph()
    initial = model.tree["synthesis"]["lateral_init"]
    edge = next(edge for edge in graph.edges if edge.path == ("synthesis", "lateral_init", "conv_0"))
    place = np.repeat(edge.inputs, [graph.widths[space] for space in edge.inputs])
    whole, _ = quick_forward(model, *frames())
    for level in range(1, 6):
        filters = {**model.tree["features"]}
        filters[f"level{level}"] = jax.tree.map(jnp.zeros_like, filters[f"level{level}"])
        kept = jnp.asarray(place != f"feature{level}", jnp.float32)[:, None]
        deaf = {**initial}
        for layer in ("conv_0", "skip"):
            deaf[layer] = {**deaf[layer], "kernel": deaf[layer]["kernel"] * kept}
        no_map = {**model.tree, "features": filters}
        no_kernel = {**model.tree, "synthesis": {**model.tree["synthesis"], "lateral_init": deaf}}
        expected, _ = quick_forward(vfijax.ModelParams(no_map, model.config), *frames())
        found, _ = quick_forward(vfijax.ModelParams(no_kernel, model.config), *frames())
        close(found, expected, terms=100)
        assert np.abs(found - whole).max() > 1e-4


# ------------------------------------------------------------------------------------------- frames


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adacof", "cdfi", "sepconv", "adaconv", "dsepconv", "edsc_s", "edsc_m"])
def test_a_network_that_starts_near_the_blend_is_near_the_blend(name):
    fresh = params(name)
    calm = vfijax.ModelParams(fresh.config.near_blend(fresh.tree), fresh.config)
    yy, xx = np.mgrid[:HEIGHT, :WIDTH] / 40
    smooth = np.stack([0.5 + 0.4 * np.sin(3 * yy + 2 * xx + phase) for phase in range(3)], -1)
    smooth = np.stack([smooth, smooth])  # the shape whose program is there already
    f0, f1 = (np.float32(frame) for frame in (smooth, np.roll(smooth, 1, 2)))

    def distance(model):
        return float(np.abs(quick_forward(model, f0, f1)[0] - (f0 + f1) / 2).mean())

    assert distance(calm) < 0.05
    assert distance(calm) < distance(fresh) / 2


def test_the_blend_is_the_average():
    f0, f1 = frames()
    np.testing.assert_array_equal(forward(create("blend", 0), f0, f1)[0], (f0 + f1) / 2)


def test_every_model_for_pairs_is_covered_by_a_graph():
    def skeleton(name):
        config = narrow(name)
        return type(config), [edge.path for edge in config.graph().edges]

    covered = [skeleton(name) for name in GRAPHS]
    assert all(skeleton(name) in covered for name in MODELS if name != "zooming_slowmo")  # has its own file
