"""Frames between two frames."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from vfijax.models import narrow
from vfijax.pairs import dyadic_times

BLEND = vfijax.create("blend", 0)


@pytest.fixture(scope="module")
def network():
    config = narrow("adacof", width=2, taps=3)
    return vfijax.create("adacof", 3, widths=config.widths, taps=3)


def frames(*shape, dtype="float32", seed=0):
    both = np.random.default_rng(seed).random((2, *shape))
    return tuple((both * 255).astype("uint8") if dtype == "uint8" else both.astype(dtype))


@pytest.mark.parametrize("shape", [(40, 36, 3), (1, 40, 36, 3), (2, 40, 36, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_a_frame_has_the_shape_of_its_neighbours(network, shape, dtype):
    frame = vfijax.interpolate(network, *frames(*shape, dtype=dtype))
    assert frame.shape == shape
    assert frame.dtype == ("uint8" if dtype == "uint8" else "float32")


def test_a_batch_is_its_frames_one_by_one(network):
    f0, f1 = frames(2, 34, 33, 3)
    batch = vfijax.interpolate(network, f0, f1)
    single = [vfijax.interpolate(network, a, b) for a, b in zip(f0, f1, strict=True)]
    np.testing.assert_allclose(batch, np.stack(single), atol=1e-5)


def test_8_bit_frames_give_the_rounded_float_result(network):
    f0, f1 = frames(33, 40, 3, dtype="uint8")
    exact = vfijax.interpolate(network, f0.astype("float32") / 255, f1.astype("float32") / 255)
    rounded = np.floor(np.clip(exact, 0, 1) * 255 + 0.5)
    difference = np.abs(vfijax.interpolate(network, f0, f1).astype("float32") - rounded)
    assert difference.max() <= 1  # a last bit may decide a tie
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("size", [(2, 2), (2, 70), (3, 5), (16, 17), (17, 16), (31, 33)])
def test_frames_from_two_pixels_up_work(network, size):
    frame = vfijax.interpolate(network, *frames(*size, 3))
    assert frame.shape == (*size, 3)
    assert np.isfinite(frame).all()


@pytest.mark.parametrize("model", ["blend", "adacof"])
def test_a_constant_pair_stays_constant(network, model):
    """Tap weights add up to one, whatever the parameters are."""
    params = {"blend": BLEND, "adacof": network}[model]
    grey = np.full((37, 50, 3), 0.3, "float32")
    np.testing.assert_allclose(vfijax.interpolate(params, grey, grey), grey, atol=1e-6)


def test_it_can_be_used_inside_jit_vmap_and_grad(network):
    f0, f1 = frames(2, 32, 32, 3)
    plain = vfijax.interpolate(network, f0, f1)
    np.testing.assert_allclose(jax.jit(vfijax.interpolate)(network, f0, f1), plain, atol=1e-6)
    over = jax.vmap(lambda a, b: vfijax.interpolate(network, a, b))
    np.testing.assert_allclose(over(f0, f1), plain, atol=1e-5)
    slope = jax.grad(lambda a: vfijax.interpolate(network, a, f1).mean())(jnp.asarray(f0))
    assert np.abs(slope).max() > 0


BAD = {
    "unequal sizes": (frames(32, 32, 3)[0], frames(32, 33, 3)[0], ValueError, "must agree"),
    "unequal dtypes": (frames(8, 8, 3)[0], frames(8, 8, 3, dtype="uint8")[0], TypeError, "must agree"),
    "grey": (*frames(8, 8), ValueError, r"\[H, W, 3\]"),
    "four channels": (*frames(8, 8, 4), ValueError, r"\[H, W, 3\]"),
    "five axes": (*frames(1, 1, 8, 8, 3), ValueError, r"\[H, W, 3\]"),
    "one pixel": (*frames(1, 8, 3), ValueError, "2x2 is the least"),
    "integers": (np.zeros((8, 8, 3), "int32"),) * 2 + (TypeError, "int32"),
    "a list": ([[[0.0] * 3] * 8] * 8,) * 2 + (TypeError, "list"),
    "NaN": (np.full((8, 8, 3), np.nan, "float32"), frames(8, 8, 3)[1], ValueError, "f0 holds NaN"),
    "infinite": (frames(8, 8, 3)[0], np.full((8, 8, 3), np.inf, "float32"), ValueError, "f1 holds NaN"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("call", ["interpolate", "interpolate_n"])
def test_bad_frames_are_refused_at_once(case, call):
    f0, f1, error, message = BAD[case]
    extra = (3,) if call == "interpolate_n" else ()
    with pytest.raises(error, match=message):
        getattr(vfijax, call)(BLEND, f0, f1, *extra)


def test_other_times_lie_between(network):
    f0, f1 = np.zeros((8, 8, 3), "float32"), np.ones((8, 8, 3), "float32")
    for t in (0.0, 0.25, 0.5, 0.75, 1.0, 0.3):
        frame = vfijax.interpolate(BLEND, f0, f1, t=t)
        np.testing.assert_allclose(frame, t, atol=2**-11)
    for t in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="t is"):
            vfijax.interpolate(BLEND, f0, f1, t=t)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 9, 15, 23])
def test_n_frames_come_in_order_near_their_times(n):
    f0, f1 = np.zeros((4, 4, 3), "float32"), np.ones((4, 4, 3), "float32")
    times = [float(frame.mean()) for frame in vfijax.interpolate_n(BLEND, f0, f1, n)]
    assert len(times) == n
    np.testing.assert_allclose(times, [float(t) for t in dyadic_times(n)], atol=1e-6)
    assert times == sorted(times)


@pytest.mark.parametrize("n", range(1, 64))
def test_times_are_exact_for_powers_of_two_and_within_an_eighth_of_the_spacing_else(n):
    wanted = [Fraction(i, n + 1) for i in range(1, n + 1)]
    error = max(abs(a - b) for a, b in zip(dyadic_times(n), wanted, strict=True))
    assert error == 0 if (n + 1) & n == 0 else error <= Fraction(1, 8 * (n + 1))
    assert len(set(dyadic_times(n))) == n


def test_frames_are_made_as_they_are_asked_for():
    f0, f1 = frames(4, 4, 3)
    made = vfijax.interpolate_n(BLEND, f0, f1, 7)
    assert next(made).shape == (4, 4, 3)
    with pytest.raises(ValueError, match="1 or more"):
        vfijax.interpolate_n(BLEND, f0, f1, 0)
