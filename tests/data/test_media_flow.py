"""Guesses of the motion: signs and places, sizes, starts, and the same numbers however they are found."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from vfijax.media import flow
from vfijax.media.flow import FINE, MEDIUM, QUALITIES, find_motion

MOVES = {"right": (0, 3), "down and left": (4, -5), "still": (0, 0)}
EVERY_QUALITY = pytest.mark.parametrize("quality", QUALITIES)


def moved(rows, columns, side=128):
    """A photograph, and the same after it has moved by so many pixels."""
    photograph, start = astronaut(), 200
    cut = [photograph[start - y :, start - x :][:side, :side] for y, x in ((0, 0), (rows, columns))]
    return tuple(map(np.ascontiguousarray, cut))


@EVERY_QUALITY
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_every_guess_is_the_motion_from_the_first_frame_to_the_last_rows_first(quality, move):
    motion = find_motion(*moved(*move), QUALITIES[quality])
    assert motion.shape == (2 * len(QUALITIES[quality]), 2, 128, 128) and motion.dtype == np.float32
    inside = motion[..., 16:-16, 16:-16]
    expected = np.broadcast_to(np.reshape(move, (2, 1, 1)), inside.shape)
    assert np.median(np.abs(inside - expected)) < 0.1
    assert np.quantile(np.abs(inside - expected), 0.9) < 0.5


def test_the_first_guess_is_of_pixels_of_the_first_frame_and_the_second_of_pixels_of_the_last():
    """A square of 32 pixels moves by 8 over a background that stays."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (96, 96, 3), np.uint8), (0, 0), 1.5)
    square = cv2.GaussianBlur(rng.integers(0, 256, (32, 32, 3), np.uint8), (0, 0), 1.5)
    first, last = ground.copy(), ground.copy()
    first[32:64, 24:56], last[32:64, 32:64] = square, square
    motion = find_motion(first, last, QUALITIES["fine"])
    own = motion[0, 1, 32:64, 24:56], motion[1, 1, 32:64, 32:64]
    assert all(abs(np.median(columns) - 8) < 0.5 for columns in own)


@EVERY_QUALITY
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 300), (300, 2), (31, 33), (33, 700), (64, 65)])
def test_frames_of_any_size_have_motion(quality, size):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    motion = find_motion(*frames, QUALITIES[quality])
    assert motion.shape[2:] == size and np.isfinite(motion).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_and_equal_frames_do_not_move(level):
    flat = np.full((48, 64, 3), level, np.uint8)
    assert not find_motion(flat, flat, QUALITIES["best"]).any()
    photograph = moved(0, 0)[0]
    assert not find_motion(photograph, photograph, QUALITIES["best"]).any()


# ---------------------------------------------------------------------------------------- starts


def texture(height, width, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def far(distance=60, side=48):
    """A square that moves far to the right over a background that stays, where it is, and the true motion."""
    square, places = texture(side, side, 1), []
    frames = [texture(112, 176, 0) for _ in range(2)]
    truth = np.zeros((2, 2, 112, 176), np.float32)
    for i, left in enumerate((24, 24 + distance)):
        place = slice(32, 32 + side), slice(left, left + side)
        frames[i][place], truth[(i, 1, *place)] = square, distance
        places.append((i, 1, *place))
    return frames, places, truth


@EVERY_QUALITY
def test_a_right_start_leads_to_motion_that_the_search_alone_misses(quality):
    frames, places, truth = far()
    alone = find_motion(*frames, QUALITIES[quality])
    started = find_motion(*frames, QUALITIES[quality], start=truth)
    for place in places:
        assert np.median(np.abs(alone[-2:][place] - 60)) > 20
        assert np.median(np.abs(started[-2:][place] - 60)) < 5
    np.testing.assert_array_equal(started[:-2], alone[:-2])  # the last search alone begins there


@EVERY_QUALITY
@pytest.mark.parametrize("wrong", [(25, 0), (-11, 40)])
def test_a_wrong_start_does_little_harm(quality, wrong):
    frames = moved(4, -5)
    start = np.broadcast_to(np.float32(wrong)[:, None, None], (2, 2, 128, 128))
    motion = find_motion(*frames, QUALITIES[quality], start=start)[-2:, :, 16:-16, 16:-16]
    errors = np.abs(motion - np.reshape((4, -5), (2, 1, 1)))
    assert np.median(errors) < 0.2 and np.quantile(errors, 0.75) < 1


@pytest.mark.parametrize("side", [96, 128], ids=["another size", "the same size"])
def test_a_start_is_forgotten_when_the_next_frames_have_none(side):
    """OpenCV keeps it, and fails where the next frames have another size."""
    search = partial(find_motion, searches=(FINE,), parallel=False)
    start = np.full((2, 2, 128, 128), 9, np.float32)
    with ThreadPoolExecutor(1) as fresh:
        expected = fresh.submit(search, *moved(2, 5, side)).result()
    with ThreadPoolExecutor(1) as used:
        used.submit(search, *moved(2, 5), start=start).result()
        found = used.submit(search, *moved(2, 5, side)).result()
    np.testing.assert_array_equal(found, expected)


# ---------------------------------------------------------------------------------------- threads


def test_motion_is_the_same_in_threads_and_without_and_whatever_ran_before():
    frames, others = moved(2, 5), moved(-3, 1, side=96)
    expected = find_motion(*frames, QUALITIES["best"], parallel=False)
    find_motion(*others, QUALITIES["best"])
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: find_motion(*frames, QUALITIES["best"]), range(4)))
    for motion in found:
        np.testing.assert_array_equal(motion, expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_motion_does_not_depend_on_the_threads_of_opencv_and_leaves_their_number(threads):
    frames, before = moved(2, 5), cv2.getNumThreads()
    expected = find_motion(*frames, (MEDIUM,))
    try:
        cv2.setNumThreads(threads)
        np.testing.assert_array_equal(find_motion(*frames, (MEDIUM,)), expected)
        assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_finds_motion_too():
    frames = moved(2, 5)
    find_motion(*frames, (FINE,))  # starts the threads, which a forked process does not have
    threads = cv2.getNumThreads()
    with flow._one_thread():  # as if another thread were searching
        child = os.fork()
        if child == 0:
            good = np.isfinite(find_motion(*frames, (FINE,))).all() and cv2.getNumThreads() == threads
            os._exit(0 if good else 1)
    done = []
    waiting = threading.Thread(target=lambda: done.append(os.waitpid(child, 0)[1]))
    waiting.start()
    waiting.join(60)
    if not done:
        os.kill(child, 9)
    assert done == [0]
