"""Networks that find motion, and weigh guesses of it: what holds whatever their parameters are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.data import astronaut

import vfijax
from tests.tolerance import close
from vfijax.levels import to_uint8
from vfijax.media.flow import find_motion
from vfijax.models import create, forward, narrow
from vfijax.models.coarse import (
    CELL,
    PIXELS,
    RADIUS,
    Coarse,
    directed,
    globally_matched,
    local_costs,
    reduced,
    space_to_depth,
)
from vfijax.models.flow import WINDOW
from vfijax.models.guided import depth_to_space

# Compilation is most of the time here; XLA's own optimisation is turned down.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
quick_forward = quick_jit(forward)


def params(name="guided", **changes):
    return create(narrow(name, **changes), 0)


def panning(height, width, rows=3, columns=-4):
    """A photograph, and the same seen from elsewhere, float [1, height, width, 3]."""
    places = ((10, 10), (10 + rows, 10 + columns))
    return [np.float32(astronaut()[None, y : y + height, x : x + width] / 255) for y, x in places]


MEDIUM = params(quality="medium")


# ------------------------------------------------------------------------------------------ guided


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.5, 0.2])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (42, 63)])
def test_it_begins_as_flow(height, width, t):
    """Frames that must be padded, by reflection, differ near the edges where there is padding."""
    fresh, (f0, f1) = params(), panning(height, width)
    model = vfijax.ModelParams(fresh.config.near_blend(fresh.tree), fresh.config)
    motion = model.config.motion(model.tree, f0, f1)
    frame, aux = quick_forward(model, f0, f1, t=t, motion=motion)
    expected, flow_aux = quick_forward(create("flow", 0), f0, f1, t=t, motion=motion)
    reach = WINDOW // 2 + int(np.abs(motion).max()) + 3
    bottom, right = (side if side % 16 == 0 else max(side - reach, 0) for side in (height, width))
    inside = slice(None), slice(bottom), slice(right)
    assert bottom > 16 and right > 32
    close(frame[inside], expected[inside], terms=100)
    close(aux["masks"]["still"][inside], flow_aux["masks"]["still"][inside], terms=100)
    assert np.abs(frame - expected).mean() < 1e-3


@pytest.mark.slow
def test_at_the_times_of_the_frames_it_gives_the_frames():
    f0, f1 = (np.repeat(frame, 2, 0) for frame in panning(40, 48))
    frame, _ = quick_forward(params(), f0, f1, t=np.float32([0, 1]))
    close(frame, np.stack([f0[0], f1[1]]))


@pytest.mark.slow
@pytest.mark.parametrize("coarse", [True, False])
def test_without_a_correction_it_keeps_a_level_and_its_parts_add_up(coarse):
    model = params(coarse=coarse, residual=False, quality="medium")
    assert set(model.tree) == ({"coarse", "weights"} if coarse else {"weights"})
    model.config.graph().check(model.tree)
    flat = np.full((1, 32, 40, 3), 0.3, np.float32)
    close(quick_forward(model, flat, flat, t=0.3)[0], flat)
    f0, f1 = panning(32, 48)
    frame, aux = quick_forward(model, f0, f1, t=0.3)
    close(sum(aux["warped"]), frame)


def test_the_motion_is_the_same_under_jit_and_for_uint8_frames():
    """But for the rounding of its start, which a search may follow a little farther at single patches."""
    model, frames = MEDIUM, panning(64, 80)
    found = model.config.motion(model.tree, *map(to_uint8, frames))
    assert isinstance(found, np.ndarray) and found.shape == (1, 2, 2, 64, 80)
    for find in (model.config.motion, jax.jit(model.config.motion)):
        error = np.abs(find(model.tree, *frames) - found)
        assert np.median(error) < 1e-3 and np.quantile(error, 0.99) < 1e-2


def test_without_a_coarse_network_the_motion_is_that_of_flow():
    model, frames = params(coarse=False), panning(48, 64)
    expected = find_motion(*(to_uint8(frame[0]) for frame in frames), model.config.searches)
    np.testing.assert_array_equal(model.config.motion(model.tree, *frames)[0], expected)


@pytest.mark.slow
def test_the_gradient_equals_finite_differences_in_double_precision(float64):
    model, (f0, f1) = MEDIUM, panning(32, 32)
    rng = np.random.default_rng(0)
    motion = rng.normal(0, 2, (1, 2, 2, 32, 32))
    tree, f0, f1 = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (model.tree, f0, f1))
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), tree["weights"])
    cotangent = rng.normal(size=f0.shape)

    def along(distance):
        moved = jax.tree.map(lambda leaf, step: leaf + distance * step, tree["weights"], direction)
        variables = {"params": {**tree, "weights": moved}}
        frame, _ = model.config.module().apply(variables, f0, f1, 0.3, motion=motion)
        return jnp.vdot(frame, cotangent)

    step, value = 1e-7, quick_jit(along)
    difference = (value(step) - value(-step)) / (2 * step)
    np.testing.assert_allclose(quick_jit(jax.grad(along))(0.0), difference, rtol=1e-5)


def test_no_gradient_reaches_the_motion():
    model, frames = MEDIUM, panning(32, 32)
    motion = model.config.motion(model.tree, *frames)

    @quick_jit
    @jax.grad
    def gradient(motion):
        return jnp.sum(jnp.square(forward(model, *frames, motion=motion)[0]))

    assert not gradient(motion).any()


def test_pixels_go_to_channels_and_back():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 3))
    small = space_to_depth(x, 2)
    assert small.shape == (2, 3, 2, 12)
    np.testing.assert_array_equal(small[1, 2, 1], x[1, 4:, 2:].reshape(-1))
    np.testing.assert_array_equal(depth_to_space(small, 2), x)


# ------------------------------------------------------------------------------------------ coarse

COARSE = params("coarse_motion")
coarse = quick_jit(partial(Coarse(COARSE.config.widths, 2).apply, {"params": COARSE.tree["coarse"]}))
SIZES = [(2, 2), (17, 40), (200, 300), (330, 500)]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_motion_is_found_in_frames_of_any_size_and_the_same_the_other_way_round(size):
    f0, f1 = panning(*size)[0], np.random.default_rng(0).uniform(size=(1, *size, 3)).astype(np.float32)
    found, back = coarse(f0, f1), coarse(f1, f0)
    assert len(found) == 3
    for motion, reverse in zip(found, back, strict=True):
        assert motion.shape == (1, 2, 2, *size) and motion.dtype == np.float32
        assert np.isfinite(motion).all()
        close(motion, -reverse[:, ::-1], terms=100)


def test_frames_that_are_too_large_are_halved_until_they_are_not():
    for size, times in {(400, 400): 0, (400, 401): 1, (800, 800): 1, (1080, 1920): 2}.items():
        small, found = jax.eval_shape(lambda x: reduced(x)[0], jnp.zeros((1, *size, 3))), 0
        sides = [-(-side // (CELL * 2**times)) * CELL for side in size]
        found = reduced(np.zeros((1, *size, 1), np.float32))[1]
        assert (small.shape[1:3], found) == (tuple(sides), times)
    assert any(height * width > PIXELS for height, width in SIZES)


def test_what_is_alike_is_found_and_the_motion_leads_there():
    """Features of one frame are those of the other, a row further down and two columns to the left."""
    features = np.random.default_rng(0).normal(size=(1, 10, 12, 40)).astype(np.float32)
    first, last = directed(features), directed(np.roll(features, (1, -2), (1, 2)))
    motion = globally_matched(first, last)
    np.testing.assert_allclose(motion[0, :-1, 2:], np.broadcast_to([1, -2], (9, 10, 2)), atol=1e-3)
    np.testing.assert_allclose(motion[1, 1:, :-2], np.broadcast_to([-1, 2], (9, 10, 2)), atol=1e-3)


def test_costs_are_cosines_with_the_cells_around():
    own, other = np.random.default_rng(0).normal(size=(2, 1, 6, 7, 5)).astype(np.float32)
    padded = np.pad(other, [(0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)])
    found = local_costs(own, other)
    for i, j in ((0, 0), (3, 4), (5, 6)):
        around = padded[0, i : i + 2 * RADIUS + 1, j : j + 2 * RADIUS + 1].reshape(-1, 5)
        close(found[0, i, j], around @ own[0, i, j])
