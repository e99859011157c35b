"""Clips in space and time: shapes and types, sizes, rounding, and what is refused."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from tests.tolerance import close
from vfijax import clips
from vfijax.levels import to_uint8
from vfijax.models import create, narrow
from vfijax.models.zooming import forward_clip


@cache
def network():
    return create(narrow("zooming_slowmo", 2, groups=2, blocks=1, ablation="a"), 0)


def clip(*shape, dtype=np.float32, seed=0):
    frames = np.random.default_rng(seed).uniform(0, 1, (*shape, 3))
    return (frames * 255).astype(dtype) if dtype == np.uint8 else frames.astype(dtype)


@pytest.mark.parametrize("shape", [(3, 8, 12), (2, 3, 8, 12)])
@pytest.mark.parametrize("dtype", ["uint8", "bfloat16", "float32"])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_the_clip_is_four_times_larger_with_the_frames_between_and_uint8_stays_uint8(shape, dtype, array):
    large = vfijax.zoom(network(), array(clip(*shape, dtype=jnp.dtype(dtype))))
    assert large.shape == (*shape[:-3], 5, 32, 48, 3)
    assert large.dtype == (jnp.uint8 if dtype == "uint8" else jnp.float32)


def test_a_single_clip_is_a_batch_of_one():
    clips = clip(2, 3, 8, 12)
    together = vfijax.zoom(network(), clips)
    for frames, expected in zip(clips, together, strict=True):
        close(vfijax.zoom(network(), frames), expected, terms=100)


@pytest.mark.parametrize("size", [(2, 2), (3, 9), (5, 4)])
def test_any_size_is_zoomed_as_if_zeros_filled_it_up(size):
    frames = clip(2, *size)
    large = vfijax.zoom(network(), frames)
    assert large.shape == (3, 4 * size[0], 4 * size[1], 3)
    padded = np.pad(frames, [(0, 0), *((0, -n % 4) for n in size), (0, 0)])
    close(large, vfijax.zoom(network(), padded)[:, : 4 * size[0], : 4 * size[1]], terms=100)


@pytest.mark.parametrize("count", [2, 5])
def test_n_frames_become_2n_minus_1(count):
    assert vfijax.zoom(network(), clip(count, 4, 4)).shape == (2 * count - 1, 16, 16, 3)


def test_the_result_is_that_of_the_network_and_not_clipped():
    frames = 1.9 * clip(1, 2, 4, 8) - 0.45
    large = vfijax.zoom(network(), frames)
    close(large, jax.jit(forward_clip)(network(), frames), terms=100)
    assert large.min() < 0


def test_uint8_is_rounded_as_when_interpolating():
    frames = clip(2, 4, 8, dtype=np.uint8)
    as_float = vfijax.zoom(network(), np.float32(frames) / 255)
    found = vfijax.zoom(network(), frames)
    assert np.abs(np.int32(found) - np.int32(to_uint8(as_float))).max() <= 1  # a tie may fall either way
    assert np.mean(found == to_uint8(as_float)) > 0.99


def test_sizes_that_are_padded_to_the_same_one_share_a_program(monkeypatch):
    traced = []

    def repeated(params, frames, **options):
        traced.append(frames.shape)
        large = jnp.repeat(jnp.repeat(jnp.repeat(frames, 4, -2), 4, -3), 2, -4)
        return large[..., 1:, :, :, :]

    monkeypatch.setattr(clips, "apply_to_clip", repeated)
    jax.clear_caches()
    for size in [(5, 7), (6, 8), (8, 8), (7, 6)]:
        expected = (4 * size[0], 4 * size[1], 3)
        assert vfijax.zoom(network(), clip(3, *size)).shape == (5, *expected)
        assert vfijax.zoom(network(), jnp.asarray(clip(7, *size)), window=3).shape == (13, *expected)
    assert traced == [(1, 3, 8, 8, 3)]


def test_it_may_be_used_inside_jit_and_grad():
    frames = clip(2, 4, 4)
    energy = jax.jit(lambda frames: jnp.sum(vfijax.zoom(network(), frames)))
    close(energy(frames), jnp.sum(vfijax.zoom(network(), frames)), terms=100)
    assert bool(jnp.any(jax.grad(energy)(frames)))


# Windows


@cache
def remembering():
    """A network whose frames depend on all others of the window."""
    return create(narrow("zooming_slowmo", 2, groups=2, blocks=1, ablation="c"), 0)


def test_a_long_clip_passes_through_windows_joined_in_the_middle_of_what_they_share():
    frames = clip(6, 4, 8)
    first, second = (vfijax.zoom(remembering(), frames[start : start + 4]) for start in (0, 2))
    found = vfijax.zoom(remembering(), frames, window=4)
    assert np.array_equal(found, np.concatenate([first[:5], second[1:]]))
    assert not np.array_equal(first[4:], second[:3])


def test_published_windows_share_a_frame_and_drop_the_rest():
    frames = clip(8, 4, 8)
    first, second = (vfijax.zoom(remembering(), frames[start : start + 4]) for start in (0, 3))
    found = vfijax.zoom(remembering(), frames, window=4, published=True)
    assert np.array_equal(found, np.concatenate([first, second[1:]]))


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_batches_of_clips_pass_through_windows_too(array):
    clips = array(clip(2, 7, 4, 8, dtype=np.uint8))
    found = vfijax.zoom(network(), clips, window=3)
    assert found.shape == (2, 13, 16, 32, 3) and found.dtype == jnp.uint8
    # without a memory a frame does not depend on the windows, but for rounding
    assert np.abs(np.asarray(found, int) - np.asarray(vfijax.zoom(network(), clips), int)).max() <= 1


def test_windows_may_be_used_inside_jit_and_are_the_whole_where_they_hold_it():
    frames = clip(3, 4, 8)
    close(
        jax.jit(lambda f: vfijax.zoom(network(), f, window=4))(frames),
        vfijax.zoom(network(), frames),
        terms=100,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 2}, "zoom: overlap and published say how windows follow each other; give window too"),
        ({"published": True}, "zoom: overlap and published"),
        ({"window": 2}, "window is 2; give 3 frames or more"),
        ({"window": 4, "overlap": 4}, "overlap is 4; give 2 frames"),
        (
            {"window": 4, "overlap": 2, "published": True},
            "overlap is 2, but published windows share",
        ),
        ({"window": 6, "published": True}, "zoom: frames has 5 in time; a published window takes 6"),
    ],
    ids=str,
)
def test_windows_that_do_not_follow_one_another_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        vfijax.zoom(network(), clip(5, 4, 4), **options)


# What is refused


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        ([[1, 2]], TypeError, "zoom: frames is list; give a NumPy or JAX array"),
        (clip(8, 12), ValueError, "zoom: frames has shape (8, 12, 3); RGB [N, H, W, 3] or [B, N, H, W, 3]"),
        (np.zeros((2, 8, 8, 4)), ValueError, "zoom: frames has shape (2, 8, 8, 4); RGB"),
        (
            clip(1, 8, 8),
            ValueError,
            "zoom: frames has shape (1, 8, 8, 3), so 1 in time; 2 frames are the least",
        ),
        (np.zeros((0, 3, 8, 8, 3)), ValueError, "zoom: frames has shape (0, 3, 8, 8, 3), a batch of none"),
        (clip(2, 1, 8), ValueError, "zoom: the frames are 1x8; 2x2 is the least"),
        (np.zeros((2, 8, 8, 3), int), TypeError, "zoom: frames is int64; give uint8 (0 to 255) or float"),
        (np.full((2, 8, 8, 3), np.nan), ValueError, "zoom: frames holds NaN or infinite values"),
        (np.full((2, 8, 8, 3), np.inf), ValueError, "zoom: frames holds NaN or infinite values"),
    ],
    ids=str,
)
def test_what_is_no_clip_is_refused(frames, error, message):
    with pytest.raises(error, match=re.escape(message)):
        vfijax.zoom(network(), frames)


def test_other_models_are_refused_with_the_way_there():
    with pytest.raises(ValueError, match=r"zoom: the model is blend, .* give it to vfijax\.interpolate"):
        vfijax.zoom(create("blend", 0), clip(2, 8, 8))


def test_an_unknown_implementation_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown implementation 'xlla'; did you mean 'xla'"):
        vfijax.zoom(network(), clip(2, 4, 4), implementation="xlla")
