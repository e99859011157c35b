"""SepConv, AdaConv, DSepConv and EDSC give the stored numbers of the published networks.

The files hold what those networks receive and return: frames in BGR, except for the replication of
SepConv. Users give RGB, so that frames are turned round on the way in and out.
"""

import json
from functools import cache, partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from tests import tolerance
from tests.golden.state import digest, make_state, make_triplet
from vfijax.convert import from_torch
from vfijax.convert.names import NAMES
from vfijax.losses import charbonnier_flip, gradient, l1
from vfijax.losses.pixel import charbonnier_mean
from vfijax.models import adaconv, forward
from vfijax.models.sepconv import HEADS

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parents[1] / "golden"
NETWORKS = json.loads((GOLDEN / "sepconv_family.json").read_text())
TIME = {"edsc_m": 0.3}

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@cache
def stored(key):
    with np.load(GOLDEN / f"{key}.npz") as arrays:
        return dict(arrays)


def converted(key, **changes):
    network = NETWORKS[key]
    state = make_state(network["shapes"], network["seed"], network["family"])
    assert digest(state) == network["state_sha256"], "this NumPy draws other weights than the stored ones"
    return from_torch(network["model"], state, **network["changes"], **changes)


def received(key, size):
    """First, middle and last frame [1, H, W, 3], in the order in which the network was given them."""
    return [jnp.asarray(frame[None]) for frame in make_triplet(*size, NETWORKS[key]["frame_seed"])]


def users(params, frames):
    """The same frames as the user has them, in RGB; and the other way round."""
    return [frame if params.config.name == "sepconv_kth" else frame[..., ::-1] for frame in frames]


def inside(params, f0, f1, *times):
    """What the module makes of frames that fit it: the frame, and the outputs of all parts of the U-Net."""
    seen = {}

    def observe(method, args, kwargs, context):
        out = method(*args, **kwargs)
        if context.method_name == "__call__":
            seen["/".join(context.module.path)] = out
        return out

    with nn.intercept_methods(observe):
        frame, _ = params.config.module().apply({"params": params.tree}, f0, f1, *times)
    return frame, {path: out for path, out in seen.items() if path.startswith("unet/")}


def parts(params, seen):
    """Name of an official block to its output: that of its last layer."""
    official = NAMES[params.config.architecture]
    last = {}
    for edge in params.config.graph().edges:
        if edge.path[0] == "unet":
            last[official((*edge.path, "bias")).split(".")[0]] = edge.path[1]
    activations = {head.name: head.activation for head in getattr(params.config, "heads", HEADS)}

    def activated(layer):
        out, head = seen[f"unet/{layer}"], layer.removesuffix("_3")
        if head not in activations:
            return nn.relu(out)
        return nn.sigmoid(out) if activations[head] == "sigmoid" else out

    return {block: activated(layer) for block, layer in last.items()}


def assert_equal(found, expected):
    """[B, H, W, C] against [B, C, H, W]."""
    found = np.moveaxis(np.asarray(found), -1, 1)
    assert found.shape == expected.shape
    limit = tolerance.FRAME + 2e-5 * np.abs(expected).max()  # outputs up to 16: these weights sum to no one
    assert np.abs(found - expected).max() <= limit


# --------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("key", NETWORKS)
def test_network_gives_the_published_numbers(key):
    params = converted(key)
    f0, _, f1 = received(key, NETWORKS[key]["size"])
    times = [jnp.float32(TIME[key])] if key in TIME else []
    frame, seen = quick_jit(inside)(params, f0, f1, *times)
    golden = stored(key)
    assert_equal(frame, golden["out"])
    corners = {name.removeprefix("mid/"): c for name, c in golden.items() if name.startswith("mid/")}
    found = parts(params, seen) if corners else {}
    assert corners.keys() <= found.keys()
    for name, corner in corners.items():
        assert_equal(found[name][:, :8, :8, :6], corner[None])


@pytest.mark.parametrize("padding", ["improved", "paper"])
def test_sepconv_pads_as_published(padding):
    params = converted("sepconv", padding=padding)
    f0, _, f1 = users(params, received("sepconv", (50, 70)))
    [frame] = users(params, [quick_jit(forward)(params, f0, f1)[0]])
    assert_equal(frame, stored("sepconv")[f"out_{padding}"])


def test_dsepconv_pads_as_published():
    params = converted("dsepconv_n5m")
    f0, _, f1 = users(params, received("dsepconv_n5m", (50, 70)))
    [frame] = users(params, [quick_jit(forward)(params, f0, f1)[0]])
    assert_equal(frame, stored("dsepconv_n5m")["out_padded"])


@pytest.mark.parametrize("key", [key for key in NETWORKS if key.startswith("dsepconv")])
def test_dsepconv_centres_its_taps_on_request(key):
    params = converted(key, grid="centred")
    f0, _, f1 = users(params, received(key, NETWORKS[key]["size"]))
    [frame] = users(params, [quick_jit(forward)(params, f0, f1)[0]])
    golden = stored(key)
    assert ("out_centred" in golden) == (params.config.taps != 3)  # for n = 3 the grids are one
    assert_equal(frame, golden.get("out_centred", golden["out"]))


@pytest.mark.parametrize("key", ["edsc_s", "edsc_m", "adaconv"])
def test_users_give_and_get_rgb(key):
    params = converted(key)
    f0, _, f1 = users(params, received(key, NETWORKS[key]["size"]))
    frame = vfijax.interpolate(params, f0, f1, t=TIME.get(key, 0.5))
    [frame] = users(params, [frame])
    assert_equal(frame, stored(key)["out"])


def test_the_kernels_of_adaconv_have_the_published_numbers(monkeypatch):
    """In place of the filtered frame, three columns of row 19 of the kernels."""

    def shown(image, kernel, implementation):
        return jnp.moveaxis(kernel[:, 19 * 41 + 18 : 19 * 41 + 21], 1, -1)

    monkeypatch.setattr(adaconv, "adaptive_conv", shown)
    params = converted("adaconv")
    f0, _, f1 = received("adaconv", (5, 7))
    _, aux = quick_jit(lambda tree, *frames: params.config.module().apply({"params": tree}, *frames))(
        params.tree, f0, f1
    )
    centre = stored("adaconv")["kernel_centre"][0]  # rows and columns 18 to 22: row, frame, column, y, x
    for side, found in enumerate(aux["warped"]):
        np.testing.assert_allclose(np.moveaxis(found[0], -1, 0), centre[1, side, :3], rtol=1e-4)


# ----------------------------------------------------------------------------------- training step

EPSILON = 1e-6  # of the Charbonnier function
LOSSES = {  # of the prediction, the true frame, and a function for the prediction from swapped inputs
    "sepconv": lambda frame, middle, swapped: l1(frame, middle),
    "dsepconv_n5m": lambda frame, middle, swapped: (
        charbonnier_flip(frame, middle, {"flipped": swapped()}, EPSILON) + gradient(frame, middle)
    ),
    "edsc_s": lambda frame, middle, swapped: charbonnier_mean(frame - middle, EPSILON),
}


@pytest.mark.parametrize("key", LOSSES)
def test_training_step_has_the_published_loss_and_gradients(key):
    golden = NETWORKS[key]["training"]
    params, frames = converted(key), received(key, golden["size"])
    module = params.config.module()

    @quick_jit
    def step(tree, f0, middle, f1):
        def loss(tree):
            frame, _ = module.apply({"params": tree}, f0, f1)
            return LOSSES[key](frame, middle, lambda: module.apply({"params": tree}, f1, f0)[0])

        return jax.value_and_grad(loss)(tree)

    value, slopes = step(params.tree, *frames)
    np.testing.assert_allclose(value, golden["loss"], rtol=tolerance.LOSS)
    official = NAMES[params.config.architecture]
    leaves = jax.tree_util.tree_leaves_with_path(slopes)
    found = {official(tuple(k.key for k in path)): np.asarray(leaf, float) for path, leaf in leaves}
    assert found.keys() == golden["gradients"].keys()
    for name, (norm, first, last) in golden["gradients"].items():
        leaf = found[name].transpose(3, 2, 0, 1).ravel() if found[name].ndim == 4 else found[name]
        np.testing.assert_allclose(np.linalg.norm(leaf), norm, rtol=tolerance.GRADIENT_NORM, err_msg=name)
        near = {"rtol": tolerance.GRADIENT_NORM, "atol": tolerance.GRADIENT_NORM * norm, "err_msg": name}
        np.testing.assert_allclose([leaf[0], leaf[-1]], [first, last], **near)
