"""Frames between frames: shapes and types, sizes, times, and what is refused."""

import re
from fractions import Fraction
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from tests.tolerance import close
from vfijax import pairs
from vfijax.levels import to_float, to_uint8
from vfijax.models import MODELS, create, forward, guided, narrow
from vfijax.models.base import apply_network
from vfijax.pairs import dyadic_times


@cache
def network():
    return create(narrow("adacof", taps=3), 0)


@cache
def blend():
    return create("blend", 0)


def pair(*shape, dtype=np.float32, seed=0):
    frames = np.random.default_rng(seed).uniform(0, 1, (2, *shape, 3))
    return tuple((frames * 255).astype(dtype) if dtype == np.uint8 else frames.astype(dtype))


# --------------------------------------------------------------------------------- shapes and types


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6)])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_the_frame_is_like_the_inputs_and_uint8_stays_uint8(shape, dtype, array):
    f0, f1 = (array(frame) for frame in pair(*shape, dtype=jnp.dtype(dtype)))
    frame = vfijax.interpolate(blend(), f0, f1)
    assert frame.shape == f0.shape
    assert frame.dtype == (jnp.uint8 if dtype == "uint8" else jnp.float32)


@pytest.mark.slow
def test_a_single_frame_is_a_batch_of_one():
    f0, f1 = pair(3, 20, 24)
    together = vfijax.interpolate(network(), f0, f1)
    for i in range(3):
        close(vfijax.interpolate(network(), f0[i], f1[i]), together[i], terms=100)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(2, 2), (2, 33), (3, 17), (16, 16), (17, 5), (31, 32), (33, 2)])
def test_any_size_from_two_pixels_up_is_interpolated(size):
    frame = vfijax.interpolate(network(), *pair(*size))
    assert frame.shape == (*size, 3)
    assert bool(jnp.isfinite(frame).all())


def test_where_the_published_padding_works_the_frame_is_that_of_a_frame_padded_by_it():
    """One reflection without the edge pixel, at the bottom and on the right, and a crop."""
    f0, f1 = pair(20, 40)
    padded = [np.pad(frame, [(0, 12), (0, 24), (0, 0)], mode="reflect") for frame in (f0, f1)]
    expected = vfijax.interpolate(network(), *padded)[:20, :40]
    close(vfijax.interpolate(network(), f0, f1), expected, terms=100)


def test_the_result_is_that_of_the_network_and_not_clipped():
    f0, f1 = pair(1, 20, 24)
    close(vfijax.interpolate(network(), f0, f1), jax.jit(forward)(network(), f0, f1)[0], terms=100)
    a, b = np.float32(1.4) * f0, np.float32(-0.4) * f1
    np.testing.assert_array_equal(vfijax.interpolate(blend(), a, b), (a + b) / 2)


@pytest.mark.parametrize("model", [blend, network])
def test_the_uint8_frame_is_the_rounded_float_frame(model):
    f0, f1 = pair(20, 24, dtype=np.uint8)
    exact = np.asarray(vfijax.interpolate(model(), *(frame.astype(np.float32) / 255 for frame in (f0, f1))))
    levels = np.clip(exact.astype(float), 0, 1) * 255
    found = np.asarray(vfijax.interpolate(model(), f0, f1)).astype(int)
    assert np.abs(found - levels).max() <= 0.5 + 1e-3  # the nearest level, ties either way
    clear = np.abs(levels - np.floor(levels) - 0.5) > 1e-3
    np.testing.assert_array_equal(found[clear], np.rint(levels)[clear])


def test_every_8_bit_level_survives_the_way_to_float_and_back():
    levels = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_array_equal(to_uint8(to_float(levels)), levels)
    np.testing.assert_array_equal(to_uint8(jnp.asarray([-1.0, 0.4 / 255, 0.6 / 255, 2.0])), [0, 0, 1, 255])


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_a_constant_image_stays_constant(level):
    """Tap weights and masks sum to one, whatever the parameters are."""
    image = np.full((20, 24, 3), level, np.float32)
    close(vfijax.interpolate(network(), image, image), image, terms=9)


# ------------------------------------------------------------------------------------------ jax


def test_it_may_be_used_inside_jit_vmap_and_grad():
    f0, f1 = pair(2, 5, 6)
    expected = (f0 + f1) / 2
    close(jax.jit(vfijax.interpolate)(blend(), f0, f1), expected)
    close(jax.vmap(lambda a, b: vfijax.interpolate(blend(), a, b))(f0, f1), expected)
    gradient = jax.grad(lambda a: jnp.sum(vfijax.interpolate(blend(), a, f1)))(f0)
    np.testing.assert_array_equal(gradient, np.full_like(f0, 0.5))
    later = jax.jit(lambda a, b: vfijax.interpolate(blend(), a, b, t=0.75))(f0, f1)
    close(later, 0.25 * f0 + 0.75 * f1)


@pytest.fixture
def traces(monkeypatch):
    """Grows by one each time that a network is traced."""
    found = []

    def counted(*arguments, **options):
        found.append(arguments[0].config.name)
        return apply_network(*arguments, **options)

    monkeypatch.setattr(pairs, "apply_network", counted)
    jax.clear_caches()  # of programs that other tests have compiled
    return found


def test_parameters_are_arguments_of_the_compiled_function(traces):
    """Other parameters of one config give other frames, without another compilation."""
    f0, f1 = pair(18, 23)
    first = vfijax.interpolate(network(), f0, f1)
    other = vfijax.interpolate(create(narrow("adacof", taps=3), 1), f0, f1)
    assert traces == ["adacof"]
    assert np.abs(first - other).max() > 1e-4


def same_padded_sizes(config):
    """Sizes that are padded to the same one, which is the last, and one pixel more than that."""
    multiple, edge = config.framing.multiple, 2 * config.framing.border
    side = 2 * multiple - edge % multiple  # after its border a multiple
    less = min(multiple - 1, 3)
    return [(side - less, side), (side, side - less // 2), (side, side)], (side + 1, side)


@pytest.fixture
def stubs(monkeypatch):
    """Grows by one each time that a program is traced, whose network is but an average."""
    found = []

    def average(params, f0, f1, **options):
        found.append(params.config.name)
        return jnp.repeat(jnp.repeat((f0 + f1) / 2, params.config.scale, 1), params.config.scale, 2), {}

    monkeypatch.setattr(pairs, "apply_network", average)
    jax.clear_caches()
    return found


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", MODELS)
def test_sizes_that_are_padded_to_the_same_one_share_a_program(stubs, name, dtype):
    """Of NumPy and JAX arrays, at all times, and of `interpolate_n`, which may halve with what it made."""
    params = vfijax.ModelParams({}, MODELS[name])
    sizes, larger = same_padded_sizes(params.config)
    times = [None] if params.config.scale > 1 else [0.25, 0.75] if params.config.any_time else [0.25]
    for size in sizes:
        frames = pair(*size, dtype=dtype)
        motion = np.zeros((1, params.config.guesses, 2, *size), np.float32) if params.config.guesses else None
        for array in (np.asarray, jnp.asarray):
            given = [array(frame) for frame in frames]
            for t in times:
                named = {"motion": motion} if t is None else {"motion": motion, "t": t}
                frame = vfijax.interpolate(params, *given, **named)
                assert frame.shape == (*(params.config.scale * side for side in size), 3)
            n = 3 if params.config.scale == 1 else 1
            made = list(vfijax.interpolate_n(params, *given, n, motion=motion))
            assert len(made) == n and made[0].shape == frame.shape and made[0].dtype == dtype
    assert stubs == [name]
    motion = np.zeros((1, params.config.guesses, 2, *larger), np.float32) if params.config.guesses else None
    vfijax.interpolate(params, *pair(*larger, dtype=dtype), motion=motion)
    assert len(stubs) == 2


def test_the_motion_of_the_coarse_network_shares_its_program_too(monkeypatch):
    traced = []

    class Still:
        def __init__(self, widths, steps):
            traced.append(1)

        def apply(self, variables, f0, f1, reduction):
            assert reduction == 0
            return (jnp.zeros((f0.shape[0], 2, 2, *f0.shape[1:3])),)

    monkeypatch.setattr(guided, "Coarse", Still)
    jax.clear_caches()
    params = vfijax.ModelParams({"coarse": {}}, narrow("guided", quality="medium"))
    for size in [(18, 23), (20, 24), (24, 24)]:  # whole cells are 8x8
        assert pairs.find_motion(params, *pair(*size)).shape == (1, params.config.guesses, 2, *size)
    assert len(traced) == 1


# The framings of all models, each once, and sizes that need one padding or another.
FRAMINGS = {str(config.framing): config.framing for config in MODELS.values()}
FRAMINGS["a border"] = narrow("sepconv", taps=5, padding="paper").framing


@pytest.mark.parametrize("name", FRAMINGS)
def test_arrays_of_numpy_are_padded_as_those_of_jax(name):
    framing = FRAMINGS[name]
    for size in [(2, 3), (5, 33), (framing.multiple,) * 2]:
        frames = pair(2, *size)[0]
        by_numpy, by_jax = framing.prepare(frames), framing.prepare(jnp.asarray(frames))
        np.testing.assert_array_equal(by_numpy, by_jax)
        inside = jax.jit(framing.prepare)(frames)
        np.testing.assert_array_equal(by_numpy, inside)
        np.testing.assert_array_equal(framing.restore(by_jax, *size), frames)
        motion = np.moveaxis(frames, -1, 1)[:, None, :2]
        by_numpy, by_jax = framing.prepare_motion(motion), framing.prepare_motion(jnp.asarray(motion))
        np.testing.assert_array_equal(by_numpy, by_jax)
        assert by_numpy.shape[-2:] == framing.prepare(frames).shape[1:3]


# ------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_at_the_ends_the_frames_themselves_are_returned(dtype):
    f0, f1 = pair(5, 6, dtype=dtype)
    for t, expected in ((0, f0), (0.0, f0), (1, f1), (1.0, f1)):
        frame = vfijax.interpolate(network(), f0, f1, t=t)
        np.testing.assert_array_equal(frame, expected)
        assert frame.dtype == dtype


@pytest.mark.parametrize("t", [0.125, 0.25, 0.5, 0.75, 0.875, 0.375, 1 / 1024])
def test_dyadic_times_are_exact(t):
    """The blend halves between its two frames, so that its frames say their time."""
    f0, f1 = np.zeros((4, 4, 3), np.float32), np.ones((4, 4, 3), np.float32)
    np.testing.assert_array_equal(vfijax.interpolate(blend(), f0, f1, t=t), np.full_like(f0, t))


@pytest.mark.parametrize("t", [0.1, 1 / 3, 0.4999, 0.9999, 0.0001])
def test_other_times_are_the_nearest_multiple_of_a_1024th(t):
    f0, f1 = np.zeros((4, 4, 3), np.float32), np.ones((4, 4, 3), np.float32)
    found = float(vfijax.interpolate(blend(), f0, f1, t=t)[0, 0, 0])
    assert abs(found - t) <= 2**-11
    assert (found * 1024).is_integer()


def test_a_quarter_is_the_middle_of_the_first_half():
    f0, f1 = pair(20, 24)
    middle = vfijax.interpolate(network(), f0, f1)
    quarter = vfijax.interpolate(network(), f0, f1, t=0.25)
    close(quarter, vfijax.interpolate(network(), f0, middle), terms=100)
    three = vfijax.interpolate(network(), f0, f1, t=0.75)
    close(three, vfijax.interpolate(network(), middle, f1), terms=100)


@pytest.mark.parametrize("n", range(1, 34))
def test_times_of_n_frames_are_increasing_and_nearly_even(n):
    times = dyadic_times(n)
    assert len(times) == n
    assert all(a < b for a, b in zip([0, *times], [*times, 1], strict=True))
    error = max(abs(t - Fraction(i, n + 1)) for i, t in enumerate(times, 1))
    assert error <= Fraction(1, 8 * (n + 1))  # the stated bound: an eighth of the spacing
    if n + 1 in (2, 4, 8, 16, 32):
        assert error == 0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 9])
def test_n_frames_come_in_the_order_of_their_times(n):
    f0, f1 = np.zeros((4, 4, 3), np.float32), np.ones((4, 4, 3), np.float32)
    frames = list(vfijax.interpolate_n(blend(), f0, f1, n))
    assert [float(frame[0, 0, 0]) for frame in frames] == [float(t) for t in dyadic_times(n)]


def test_each_of_n_frames_is_the_frame_at_its_time():
    f0, f1 = pair(20, 24, dtype=np.uint8)
    for frame, t in zip(vfijax.interpolate_n(network(), f0, f1, 5), dyadic_times(5), strict=True):
        np.testing.assert_array_equal(frame, vfijax.interpolate(network(), f0, f1, t=float(t)))
        assert frame.shape == f0.shape and frame.dtype == jnp.uint8


def test_n_frames_are_made_as_they_are_asked_for(monkeypatch):
    import vfijax.pairs

    calls, frame = [], vfijax.pairs._frame
    monkeypatch.setattr(vfijax.pairs, "_frame", lambda *args: calls.append(1) or frame(*args))
    frames = vfijax.interpolate_n(blend(), *pair(4, 4), 7)
    assert calls == []
    made = [next(frames) is not None and len(calls) for _ in range(7)]
    assert made == [3, 3, 4, 4, 6, 6, 7]


# --------------------------------------------------------------------------------- models for any time


@cache
def timed():
    """Its heads are drawn large, so that the time has an effect that can be seen."""
    fresh = create(narrow("edsc_m", taps=3), 0)
    return vfijax.ModelParams(jax.tree.map(lambda leaf: 1.5 * leaf, fresh.tree), fresh.config)


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.3, 0.5, 0.001])
def test_a_model_for_any_time_is_evaluated_at_that_very_time(t):
    f0, f1 = pair(1, 20, 24)
    expected = jax.jit(forward)(timed(), f0, f1, t=t)[0]
    close(vfijax.interpolate(timed(), f0, f1, t=t), expected, terms=100)
    later = jax.jit(forward)(timed(), f0, f1, t=t + 0.1)[0]
    assert np.abs(expected - later).max() > 1e-4


def test_without_a_time_such_a_model_makes_the_middle_frame():
    f0, f1 = pair(1, 20, 24)
    expected = jax.jit(forward)(timed(), f0, f1, t=0.5)[0]
    close(jax.jit(forward)(timed(), f0, f1)[0], expected, terms=100)
    close(vfijax.interpolate(timed(), f0, f1), expected, terms=100)


def test_frames_of_a_batch_may_have_times_of_their_own():
    f0, f1 = pair(2, 20, 24)
    together = jax.jit(forward)(timed(), f0, f1, t=jnp.asarray([0.2, 0.9]))[0]
    for i, t in enumerate((0.2, 0.9)):
        close(vfijax.interpolate(timed(), f0[i], f1[i], t=t), together[i], terms=100)


def test_another_time_is_not_compiled_again(traces):
    f0, f1 = pair(18, 23)
    for t in (0.1, 0.2, 0.75):
        vfijax.interpolate(timed(), f0, f1, t=t)
    assert len(traces) == 1


@pytest.mark.parametrize("t", [0, 1])
def test_such_a_model_returns_the_frames_at_the_ends_too(t):
    f0, f1 = pair(20, 24)
    np.testing.assert_array_equal(vfijax.interpolate(timed(), f0, f1, t=t), (f0, f1)[t])


def test_n_frames_of_a_model_for_any_time_are_evenly_spaced_and_made_from_the_two_frames():
    f0, f1 = pair(20, 24)
    frames = list(vfijax.interpolate_n(timed(), f0, f1, 4))
    assert len(frames) == 4
    for i, frame in enumerate(frames, 1):
        close(frame, vfijax.interpolate(timed(), f0, f1, t=i / 5), terms=100)


def test_a_time_is_refused_by_the_network_of_a_model_for_the_middle():
    f0, f1 = pair(1, 20, 24)
    with pytest.raises(ValueError, match="adacof knows the middle frame only; leave t out, or use vfijax"):
        forward(network(), f0, f1, t=0.3)


# ------------------------------------------------------------------------------------------ errors

GOOD = np.zeros((5, 6, 3), np.float32)
ERRORS = [
    ("a list", [[[0, 0, 0]]], GOOD, TypeError, "f0 is list; give a NumPy or JAX array"),
    (
        "a grey image",
        GOOD[..., 0],
        GOOD,
        ValueError,
        "f0 has shape (5, 6); RGB [H, W, 3] or [B, H, W, 3] is needed",
    ),
    ("channels first", GOOD, GOOD.transpose(2, 0, 1), ValueError, "f1 has shape (3, 5, 6); RGB"),
    ("with alpha", np.zeros((5, 6, 4)), GOOD, ValueError, "f0 has shape (5, 6, 4); RGB"),
    ("five axes", GOOD[None, None], GOOD, ValueError, "f0 has shape (1, 1, 5, 6, 3); RGB"),
    ("one row", GOOD[:1], GOOD[:1], ValueError, "f0 is 1x6; 2x2 is the least"),
    ("no columns", GOOD[:, :0], GOOD[:, :0], ValueError, "f0 is 5x0; 2x2 is the least"),
    (
        "integers",
        GOOD.astype(np.int32),
        GOOD.astype(np.int32),
        TypeError,
        "f0 is int32; give uint8 (0 to 255) or float",
    ),
    ("booleans", GOOD, GOOD.astype(bool), TypeError, "f1 is bool; give uint8"),
    ("other sizes", GOOD, GOOD[:, :4], ValueError, "f0 is (5, 6, 3) but f1 (5, 4, 3); they must agree"),
    ("other batches", GOOD[None], GOOD, ValueError, "f0 is (1, 5, 6, 3) but f1 (5, 6, 3); they must agree"),
    (
        "other dtypes",
        GOOD,
        GOOD.astype(np.uint8),
        TypeError,
        "f0 is float32 but f1 is uint8; they must agree",
    ),
    ("NaN", GOOD, GOOD * np.nan, ValueError, "f1 holds NaN or infinite values"),
    ("infinity", GOOD + np.inf, GOOD, ValueError, "f0 holds NaN or infinite values"),
]


@pytest.mark.parametrize(("f0", "f1", "kind", "message"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
@pytest.mark.parametrize(
    "call",
    [vfijax.interpolate, lambda *args: vfijax.interpolate_n(*args, 2)],
    ids=["interpolate", "interpolate_n"],
)
def test_bad_frames_are_named_at_once(call, f0, f1, kind, message):
    with pytest.raises(kind, match=re.escape(f"interpolate: {message}")):
        call(blend(), f0, f1)


def test_nan_passes_under_jit_where_values_are_unknown():
    frame = jax.jit(vfijax.interpolate)(blend(), GOOD, GOOD * np.nan)
    assert bool(jnp.isnan(frame).all())


@pytest.mark.parametrize("t", [-0.1, 1.5, float("nan")])
def test_times_outside_the_interval_are_refused(t):
    with pytest.raises(ValueError, match=f"interpolate: t is {t}; give a time from 0"):
        vfijax.interpolate(blend(), GOOD, GOOD, t=t)


@pytest.mark.parametrize("n", [0, -3])
def test_fewer_than_one_frame_is_refused_before_anything_is_made(n):
    with pytest.raises(ValueError, match=f"interpolate_n: n is {n}; give the number of new frames"):
        vfijax.interpolate_n(blend(), GOOD, GOOD, n)


def test_an_unknown_implementation_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'xla'"):
        vfijax.interpolate(network(), GOOD, GOOD, implementation="xle")


def test_a_model_that_enlarges_makes_the_middle_frame_alone():
    params = create(narrow("zooming_slowmo", blocks=1, ablation="a"), 0)
    frames = np.zeros((2, 8, 12, 3), np.float32)
    assert vfijax.interpolate(params, *frames).shape == (32, 48, 3)
    with pytest.raises(
        ValueError, match=r"at t=0\.25: the model is zooming_slowmo, which makes clips larger"
    ):
        vfijax.interpolate(params, *frames, t=0.25)
    with pytest.raises(ValueError, match=r"interpolate_n, 3 frames: .* give it to vfijax\.zoom"):
        vfijax.interpolate_n(params, *frames, 3)
