"""The frame from flow: right where motion is known, harmless where it is not, and an ordinary model."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.data import astronaut, coffee

import vfijax
import vfijax.models.flow
from tests.tolerance import close
from vfijax.metrics import psnr
from vfijax.models import create, forward
from vfijax.models.flow import FLOOR, WINDOW, Flow, disagreement
from vfijax.pairs import find_motion

QUALITIES = ("flow", "flow_fine", "flow_medium")
TIMES = (0.25, 0.5, 0.75)


def params(name="flow_medium"):
    return create(name, 0)


def panning(*places, side=96):
    """A photograph seen through a window at some (row, column), uint8."""
    return [np.ascontiguousarray(astronaut()[y : y + side, x : x + side]) for y, x in places]


def unrelated(height=40, width=48):
    return astronaut()[:height, :width].copy(), coffee()[100 : 100 + height, 200 : 200 + width].copy()


def quality(frame, truth, border=16):
    inside = (slice(border, -border),) * 2
    frame, truth = (np.asarray(f[inside], np.float32) / 255 for f in (frame, truth))
    return float(psnr(frame, truth))


# ------------------------------------------------------------------------------------------ frames


@pytest.mark.parametrize("name", QUALITIES)
@pytest.mark.parametrize("t", TIMES)
def test_a_panning_photograph_is_met_at_every_time(name, t):
    first, truth, last = panning((100, 100), (100 + round(8 * t), 100 + round(16 * t)), (108, 116))
    frame = vfijax.interpolate(params(name), first, last, t=t)
    assert quality(frame, truth) > 35
    assert quality((1 - t) * first + t * last, truth) < 25


def test_an_overlay_that_stays_is_kept_while_the_picture_behind_it_moves():
    first, truth, last = panning((100, 100), (104, 105), (108, 110))
    for frame in (first, truth, last):
        frame[30:70, 20:76] = (250, 240, 20)
        frame[40:60, 28:68:4] = 0
    frame = vfijax.interpolate(params("flow"), first, last)
    inside = slice(37, 63), slice(27, 69)
    assert np.abs(np.asarray(frame[inside], int) - truth[inside]).mean() < 2


@pytest.mark.slow
@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("size", [(2, 2), (2, 40), (5, 3), (33, 48)])
def test_equal_frames_stay_as_they_are(size, t):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    np.testing.assert_array_equal(vfijax.interpolate(params("flow"), frame, frame, t=t), frame)


@pytest.mark.parametrize("levels", [(0, 0), (7, 201), (255, 255)])
def test_flat_frames_are_blended(levels):
    first, last = (np.full((20, 24, 3), level, np.uint8) for level in levels)
    frame = np.asarray(vfijax.interpolate(params("flow"), first, last, t=0.25), int)
    np.testing.assert_allclose(frame, 0.75 * levels[0] + 0.25 * levels[1], atol=0.5 + 1e-3)


def test_across_a_cut_every_pixel_is_made_of_what_both_frames_have():
    first, last = unrelated()
    frame = np.asarray(vfijax.interpolate(params("flow"), first, last), int)
    assert frame.shape == first.shape
    both = np.stack([first, last]).astype(int)
    assert frame.min() >= both.min() - 20 and frame.max() <= both.max() + 20


def test_what_is_farther_away_in_time_counts_less():
    first, last = unrelated()
    early, late = (np.asarray(vfijax.interpolate(params(), first, last, t=t), int) for t in (0.1, 0.9))
    assert np.abs(early - first).mean() < np.abs(late - first).mean()
    assert np.abs(late - last).mean() < np.abs(early - last).mean()


@pytest.mark.parametrize("t", TIMES)
def test_the_other_way_round_is_the_same_frame(t):
    first, last = (f.astype(np.float32) / 255 for f in panning((100, 100), (106, 109)))
    forwards = vfijax.interpolate(params("flow"), first, last, t=t)
    close(vfijax.interpolate(params("flow"), last, first, t=1 - t), forwards, terms=100)


def test_parts_add_up_to_the_frame_and_the_mask_is_a_share():
    first, last = (f[None].astype(np.float32) / 255 for f in unrelated())
    frame, aux = jax.jit(forward)(params(), first, last, t=0.3)
    close(sum(aux["warped"]), frame)
    assert aux["masks"]["still"].min() > 0 and aux["masks"]["still"].max() < 1


def test_disagreement_is_the_mean_square_over_a_window_mirrored_at_the_edges():
    first, last = (f[None].astype(np.float64) / 255 for f in unrelated(9, 23))
    half = WINDOW // 2
    squares = np.pad(((first - last)[0] ** 2).mean(-1), half, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(squares, (WINDOW, WINDOW))
    close(disagreement(first, last)[0, ..., 0], windows.mean((2, 3)))
    assert pytest.approx(20) == FLOOR * 255**2


# ------------------------------------------------------------------------------------------ motion


def counted(monkeypatch):
    calls = itertools.count()

    def find(*args, **options):
        next(calls)
        return original(*args, **options)

    original = vfijax.models.flow.find_motion
    monkeypatch.setattr(vfijax.models.flow, "find_motion", find)
    return lambda: next(calls)


def test_motion_is_found_once_for_all_times_between_two_frames(monkeypatch):
    calls = counted(monkeypatch)
    first, last = panning((100, 100), (106, 109))
    frames = list(vfijax.interpolate_n(params(), first, last, 3))
    assert calls() == 1
    for frame, t in zip(frames, TIMES, strict=True):
        np.testing.assert_array_equal(frame, vfijax.interpolate(params(), first, last, t=t))


def test_a_motion_that_is_given_is_taken(monkeypatch):
    calls = counted(monkeypatch)
    first, last = panning((100, 100), (106, 109))
    true = np.broadcast_to(np.reshape([-6.0, -9.0], (1, 1, 2, 1, 1)), (1, 2, 2, 96, 96))
    frame = vfijax.interpolate(params(), first, last, t=1 / 3, motion=true)
    assert calls() == 0
    assert quality(frame, panning((102, 103))[0]) > 45


@pytest.mark.slow
@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(f)), jax.checkpoint])
def test_motion_comes_through_a_callback_where_frames_are_not_known_yet(transform):
    pairs = [(f.astype(np.float32) / 255) for f in panning((100, 100), (50, 50), (106, 109), (53, 46))]
    first, last = np.stack(pairs[:2]), np.stack(pairs[2:])
    expected = vfijax.interpolate(params(), first, last, t=0.3)
    close(transform(partial(vfijax.interpolate, params(), t=0.3))(first, last), expected, terms=16)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("blend", (1, 2, 2, 40, 48), r"motion has shape (1, 2, 2, 40, 48); blend takes none"),
        ("flow_medium", (1, 4, 2, 40, 48), r"flow_medium takes (1, 2, 2, 40, 48)"),
        ("flow_medium", (2, 2, 40, 48), r"motion has shape (2, 2, 40, 48)"),
    ],
)
def test_a_motion_that_does_not_fit_is_refused(name, shape, message):
    first, last = (f[None].astype(np.float32) for f in unrelated())
    with pytest.raises(ValueError) as error:
        forward(params(name), first, last, motion=np.zeros(shape, np.float32))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "motion", "message"),
    [
        ("blend", np.zeros((1, 2, 2, 40, 48)), "blend takes none"),
        (
            "flow_medium",
            np.zeros((1, 4, 2, 40, 48)),
            "motion is (1, 4, 2, 40, 48); flow_medium takes an array (1, 2,",
        ),
        ("flow_medium", [1.0], "motion is list; flow_medium takes an array"),
        ("flow_medium", "fine", "motion is str"),
        ("flow_medium", np.full((1, 2, 2, 40, 48), np.nan), "motion holds NaN or infinite values"),
    ],
)
def test_interpolate_refuses_a_motion_that_makes_no_sense(name, motion, message):
    for call in (vfijax.interpolate, partial(vfijax.interpolate_n, n=2)):
        with pytest.raises(ValueError) as error:
            call(params(name), *unrelated(), motion=motion)
        assert message in str(error.value)


@pytest.mark.parametrize("t", [np.zeros(3), np.zeros((1, 1))])
def test_times_that_are_neither_a_number_nor_one_for_each_frame_are_refused(t):
    first, last = (f[None].astype(np.float32) for f in unrelated())
    with pytest.raises(ValueError, match=r"t has shape .*; give a number or \[B\], here \(1,\)"):
        forward(params(), first, last, t=t)


def test_the_reference_of_sampling_can_be_asked_for_and_a_kernel_cannot():
    first, last = panning((100, 100), (106, 109), side=48)
    expected = vfijax.interpolate(params(), first, last)
    found = vfijax.interpolate(params(), first, last, implementation="reference")
    assert np.abs(np.asarray(found, int) - expected).max() <= 1
    for name in ("pallas", "refrence"):
        with pytest.raises(ValueError, match=r"bicubic has no Pallas kernel|did you mean 'reference'"):
            vfijax.interpolate(params(), first, last, implementation=name)


def test_models_without_guesses_have_no_motion():
    assert find_motion(params("blend"), *unrelated()) is None


def test_an_unknown_quality_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="quality is 'finest'; give one of medium, fine, best"):
        create("flow", 0, quality="finest")


# --------------------------------------------------------------------------------------- gradients


@pytest.mark.slow
def test_gradients_are_finite_differences(float64):
    rng = np.random.default_rng(0)
    first, last = rng.uniform(0, 1, (2, 2, 17, 18, 3))
    motion = rng.normal(0, 2, (2, 2, 2, 17, 18))
    cotangent = rng.normal(size=first.shape)

    @jax.jit
    def energy(first, last, t, motion):
        return jnp.vdot(Flow().apply({}, first, last, t, motion=motion)[0], cotangent)

    arrays = [first, last, np.array([0.3, 0.6]), motion]
    gradients = jax.jit(jax.grad(energy, argnums=(0, 1, 2, 3)))(*arrays)
    for i, gradient in enumerate(gradients):
        direction, step = rng.choice([-1.0, 1.0], gradient.shape), 1e-5
        ends = [energy(*arrays[:i], arrays[i] + s * direction, *arrays[i + 1 :]) for s in (step, -step)]
        np.testing.assert_allclose(np.vdot(gradient, direction), (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


@pytest.mark.slow
def test_no_gradient_goes_through_the_motion_that_is_found():
    first, last = (f.astype(np.float32) / 255 for f in panning((100, 100), (106, 109), side=48))

    def energy(first, motion=None):
        return jnp.sum(vfijax.interpolate(params(), first, last, motion=motion) ** 2)

    given = find_motion(params(), first, last)
    found = jax.jit(jax.grad(energy))(first)
    close(found, jax.grad(energy)(first, given), gradient=True)
    assert np.abs(found).max() > 0
