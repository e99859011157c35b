"""Weights in official names give the stored numbers of the published networks (tests/golden).

All five networks run in both roundings at a size that needs padding; compressed_adacof and cdfi also at
one that needs none, with what lies between frames and result. One compiled function runs both roundings,
so that the estimation network is compiled once. The training step is compiled with little optimisation.
"""

import json
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest

from tests import tolerance
from tests.golden.state import digest, make_state, make_triplet
from vfijax import ModelParams
from vfijax.convert import from_torch
from vfijax.convert.names import NAMES
from vfijax.losses import LossWeights, weighted
from vfijax.models import forward
from vfijax.models.base import apply_network

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parents[1] / "golden"
NETWORKS = json.loads((GOLDEN / "networks.json").read_text())
ROUNDINGS = ("floor", "trunc")
INSIDE = ("compressed_adacof", "cdfi")  # also with intermediate results, at a second size


def converted(name):
    """The parameters in both roundings; the tree is one."""
    network = NETWORKS[name]
    state = make_state(network["shapes"], network["seed"])
    assert digest(state) == network["state_sha256"], "this NumPy draws other weights than the stored ones"
    params = from_torch(name, state)
    return {
        rounding: ModelParams(params.tree, params.config.replace(rounding=rounding)) for rounding in ROUNDINGS
    }


def both_roundings(params, f0, f1):
    """What `observed` gives in each rounding; the network is compiled once for frames of one padded size."""
    framing = params["floor"].config.framing
    found = compiled(params, framing.prepare(f0), framing.prepare(f1))
    return {r: (framing.restore(frame, *f0.shape[1:3]), *rest) for r, (frame, *rest) in found.items()}


@partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})  # as users get it
def compiled(params, f0, f1):
    return {rounding: observed(params[rounding], f0, f1) for rounding in params}


def observed(params, f0, f1):
    """Frame, aux, and the outputs of all modules by path; of the synthesis its input too."""
    seen = {}

    def observe(method, args, kwargs, context):
        out = method(*args, **kwargs)
        if context.method_name == "__call__":
            seen["/".join(context.module.path)] = out
            if context.module.name == "synthesis":
                seen["synthesis input"] = args[0]
        return out

    with nn.intercept_methods(observe):
        frame, aux = apply_network(params, f0, f1)
    return frame, aux, seen


def by_official_name(aux, seen):
    """What the golden files hold, [C, H, W] in their names."""
    levels, _ = seen["unet"]
    found = {f"Conv{i}": level[0] for i, level in enumerate(levels, 1)}
    found |= {f"Upsample{i}": nn.relu(seen[f"unet/up{i}_0"][0]) for i in (5, 4, 3, 2)}
    found["Deconv5"] = nn.relu(seen["unet/deconv5_2"][0])
    found |= {f"warp{i}": warped[0] for i, warped in enumerate(aux["warped"], 1)}
    found |= {name.capitalize(): mask[0] for name, mask in aux["masks"].items()}
    if "features" in seen:
        found |= {f"feat{i}": feature[0] for i, feature in enumerate(seen["features"], 1)}
        sides = [f"feat{i}_warp{side}" for i in range(1, 6) for side in "LR"]
        ends = np.cumsum([6, 4, 4, 8, 8, 12, 12, 16, 16, 20])
        found |= dict(zip(sides, np.split(seen["synthesis input"][0], ends, -1)[1:], strict=True))
    found = {name: np.moveaxis(np.asarray(array), -1, 0) for name, array in found.items()}
    for i, taps in enumerate(aux["offsets"], 1):
        found |= {
            f"{name}{i}": np.asarray(field[0])
            for name, field in zip(("Weight", "Alpha", "Beta"), taps, strict=True)
        }
    return found


def limit(name):
    if name.startswith(("Weight", "Occlusion", "Blend")):
        return tolerance.PROBABILITY
    return tolerance.OFFSET


def differences(array, stored):
    found = np.asarray(array)
    assert found.shape == stored.shape
    return np.abs(found - stored)


def assert_truncated_frame(name, found, stored, ambiguous):
    """Where an offset lies within rounding of a negative integer, the published op may jump."""
    error = differences(found, stored)
    assert error.max() <= tolerance.AMBIGUOUS
    if name.startswith("cdfi"):  # its synthesis spreads a jump over the picture
        assert np.quantile(error, 0.99) <= tolerance.FRAME
    else:
        assert error[:, ~ambiguous[: error.shape[1], : error.shape[2]]].max() <= tolerance.FRAME


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, (50, 70)) for name in NETWORKS] + [(name, (64, 96)) for name in INSIDE],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)),
)
def test_network_gives_the_published_numbers(name, size):
    network = NETWORKS[name]
    f0, _, f1 = (frame[None] for frame in make_triplet(*size, network["seed"]))
    results = both_roundings(converted(name), f0, f1)
    frames = {rounding: np.moveaxis(np.asarray(results[rounding][0][0]), -1, 0) for rounding in ROUNDINGS}
    with np.load(GOLDEN / f"{name}.npz") as stored:
        golden = {key.split("/")[1]: stored[key] for key in stored if key.startswith("{}x{}/".format(*size))}
    masks = [np.unpackbits(golden.pop(f"ambiguous{i}")).reshape(64, 96).astype(bool) for i in (1, 2)]
    ambiguous = masks[0] | masks[1]
    assert 0 < ambiguous.mean() < 0.05  # else the exception would be the rule

    assert differences(frames["floor"], golden.pop("frame1_floor")).max() <= tolerance.FRAME
    assert np.abs(frames["floor"] - frames["trunc"]).max() > 100 * tolerance.FRAME  # it tells them apart
    assert_truncated_frame(name, frames["trunc"], golden.pop("frame1"), ambiguous)
    if "grid_out_floor" in golden:
        synthesised = np.moveaxis(np.asarray(results["floor"][2]["synthesis"][0]), -1, 0)
        assert differences(synthesised, golden.pop("grid_out_floor")).max() <= tolerance.FRAME

    found = by_official_name(*results["trunc"][1:])
    for i in (1, 2):
        if f"warp{i}" in golden:
            assert_truncated_frame("", found[f"warp{i}"], golden.pop(f"warp{i}"), masks[i - 1])
    assert golden.keys() <= found.keys()
    for key, stored in golden.items():
        a, b, c = network["steps"][key]
        error = differences(found[key][::a, ::b, ::c], stored)
        if "_warp" in key:  # a feature, sampled with the truncated offsets of its side
            assert np.quantile(error, 0.99) <= tolerance.FRAME and error.max() <= tolerance.AMBIGUOUS, key
        else:
            assert error.max() <= limit(key), key


# ----------------------------------------------------------------------------------- training step

STEPS = [  # rounding, published gradients, entry of norms, prefix of sampled gradients
    ("trunc", False, "grad_norm", "grad/"),
    ("floor", False, "grad_norm_floor", "grad_floor/"),
    ("trunc", True, "grad_norm_official_kernel", None),
]


@partial(jax.jit, static_argnames="reference_grads", compiler_options={"xla_backend_optimization_level": 0})
def training_step(params, f0, middle, f1, reference_grads):
    def loss(params):
        frame, aux = forward(params, f0, f1, reference_grads=reference_grads)
        return weighted(LossWeights(smoothness=0.01), frame, middle, aux)

    (total, terms), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return total, terms, gradient


@pytest.mark.parametrize(
    ("name", "step"),
    [("compressed_adacof", step) for step in STEPS[:2]] + [("cdfi", step) for step in STEPS],
    ids=lambda value: value if isinstance(value, str) else value[2],
)
def test_training_step_has_the_published_loss_and_gradients(name, step):
    rounding, reference_grads, entry, prefix = step
    network = NETWORKS[name]
    f0, middle, f1 = (frame[None] for frame in make_triplet(64, 64, network["seed"]))
    total, terms, gradient = training_step(converted(name)[rounding], f0, middle, f1, reference_grads)
    values = network["training"][rounding]
    np.testing.assert_allclose(total, values["loss"], rtol=tolerance.LOSS)
    np.testing.assert_allclose(terms["charbonnier"], values["charbonnier"], rtol=tolerance.LOSS)
    np.testing.assert_allclose(terms["smoothness"], values["g_spatial"], rtol=tolerance.LOSS)

    official = NAMES[gradient.config.architecture]
    found = {
        official(tuple(key.key for key in path)): np.asarray(leaf, np.float64)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient.tree)
    }
    with np.load(GOLDEN / f"train_{name}.npz") as stored:
        golden = dict(stored)
    norms = dict(zip((key for key, _ in network["shapes"]), golden[entry], strict=True))
    for key, expected in norms.items():
        allowed = tolerance.GRADIENT_NORM if found[key].size > 1 else tolerance.GRADIENT_NORM_SCALAR
        assert abs(np.linalg.norm(found[key]) - expected) <= allowed * expected, key
    filters = [key for key in norms if "module1by1" in key]
    assert all((norms[key] == 0) == reference_grads for key in filters)

    sampled = {key.removeprefix(prefix): g for key, g in golden.items() if prefix and key.startswith(prefix)}
    assert bool(sampled) == (prefix is not None)
    for key, expected in sampled.items():
        leaf = found[key].transpose(3, 2, 0, 1) if found[key].ndim == 4 else found[key]
        error = leaf.ravel()[:: network["training"]["grad_flat_step"][key]] - expected
        allowed = tolerance.GRADIENT_NORM if leaf.size > 1 else tolerance.GRADIENT_NORM_SCALAR
        assert np.linalg.norm(error) <= allowed * np.linalg.norm(expected), key
