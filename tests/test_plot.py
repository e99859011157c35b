"""Line charts."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from PIL import ImageColor

from vfijax.media.plot import COLOURS, MOST_DOTS, line_chart


def has_colour(picture, colour):
    return bool((np.abs(picture.astype(int) - ImageColor.getrgb(colour)).max(axis=-1) < 8).any())


def rows_of(picture, colour, columns):
    """Mean row of a colour between two columns of a picture."""
    close = np.abs(picture.astype(int) - ImageColor.getrgb(colour)).max(axis=-1) < 40
    return np.nonzero(close[80:, columns])[0].mean()


def columns_of(picture, colour):
    """The columns with a colour below the legend."""
    close = np.abs(picture.astype(int) - ImageColor.getrgb(colour)).max(axis=-1) < 40
    return np.nonzero(close[40:].any(axis=0))[0]


def test_a_chart_has_the_wanted_size_and_draws_every_curve_in_its_colour():
    picture = line_chart({"a": ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}, title="t", size=(300, 500))
    assert picture.shape == (300, 500, 3) and picture.dtype == np.uint8
    assert has_colour(picture, COLOURS[0]) and has_colour(picture, COLOURS[1])
    assert not has_colour(picture, COLOURS[2])


def test_a_rising_curve_rises_in_the_picture():
    picture = line_chart({"a": (np.arange(20), np.arange(20))}, size=(400, 600))
    assert rows_of(picture, COLOURS[0], slice(60, 200)) > rows_of(picture, COLOURS[0], slice(400, 580))


@pytest.mark.parametrize(
    "series",
    [
        {},
        {"one point": ([3], [4.0])},
        {"constant": ([0, 1, 2], [5.0, 5.0, 5.0])},
        {"gap": ([0, 1, 2, 3], [1.0, np.nan, np.inf, 2.0])},
        {"nothing finite": ([0, 1], [np.inf, np.inf])},
        {"a name longer than the picture is wide " * 4: ([0, 1], [1e-9, 2e-9])},
        {"large": ([0, 10**6], [-1e12, 1e12])},
    ],
    ids=lambda series: next(iter(series), "empty")[:20],
)
def test_charts_of_unusual_data_can_be_drawn(series):
    assert line_chart(series).shape == (420, 800, 3)


def test_charts_are_the_same_each_time_and_in_threads():
    draw = partial(line_chart, {"a": ([0, 1, 2], [1, 3, 2])}, title="t", x_label="x", y_label="y")
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(draw) for _ in range(8)]
    assert all(np.array_equal(draw(), future.result()) for future in futures)


def test_a_gap_is_left_open_and_a_point_alone_in_it_is_a_dot():
    ys = np.full(9 * MOST_DOTS, 1.0)
    ys[3 * MOST_DOTS : 6 * MOST_DOTS] = np.nan
    ys[0] = 0.0  # so that the curve lies at the top
    gap = columns_of(line_chart({"a": (np.arange(len(ys)), ys)}), COLOURS[0])
    ys[9 * MOST_DOTS // 2] = 0.5
    dotted = columns_of(line_chart({"a": (np.arange(len(ys)), ys)}), COLOURS[0])
    assert max(np.diff(gap)) > 150 and 5 <= len(dotted) - len(gap) <= 12


def test_dollars_in_names_are_letters():
    assert line_chart({"$a_$": ([0, 1], [0, 1])}, title="$^$ $_$", x_label="$$^", y_label="$^^$").any()


@pytest.mark.parametrize(
    ("series", "size", "message"),
    [({"a": ([0, 1], [0])}, (400, 400), "a has xs"), ({}, (100, 400), "160 pixels")],
)
def test_what_cannot_be_drawn_is_refused(series, size, message):
    with pytest.raises(ValueError, match=message):
        line_chart(series, size=size)
