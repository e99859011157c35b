"""Tiles: how they cover a frame, and how they are put together."""

from itertools import pairwise

import numpy as np
import pytest

from vfijax.video.tiles import WHOLE, Strip, spans, tiles

AXES = [
    (1, 32, 8, 4),
    (32, 32, 8, 4),
    (33, 32, 8, 4),
    (100, 32, 8, 4),
    (101, 32, 16, 4),
    (250, 64, 0, 4),
    (37, 8, 3, 1),
]


@pytest.mark.parametrize(("length", "tile", "overlap", "stride"), AXES)
def test_parts_cover_an_axis_evenly_and_share_the_overlap(length, tile, overlap, stride):
    parts = spans(length, tile, overlap, stride)
    assert (parts[0].start, parts[-1].stop) == (0, length)
    assert all(part.start % stride == 0 and part.stop - part.start <= tile for part in parts)
    assert all(left.stop - right.start >= overlap for left, right in pairwise(parts))
    assert len({part.stop - part.start for part in parts[:-1]}) <= 1
    assert len(parts) == 1 or tile * (len(parts) - 1) - overlap * (len(parts) - 2) < length + stride


def number(grid):
    return len(grid.rows) * len(grid.columns)


def test_small_frames_are_whole_and_large_ones_divided_unless_asked_otherwise():
    assert number(tiles(256, WHOLE // 256, None, 32, 4)) == 1
    assert number(tiles(256, WHOLE // 256 + 1, None, 32, 4)) == 4
    assert tiles(4000, 3000, 0, 32, 4) == ([slice(0, 4000)], [slice(0, 3000)])
    assert number(tiles(64, 80, 32, 8, 4)) == 9


@pytest.mark.parametrize(("tile", "overlap"), [(16, 8), (20, 8), (64, 32), (128, 32)])
def test_tiles_share_32_pixels_or_half_of_a_smaller_tile(tile, overlap):
    assert tiles(300, 200, tile, None, 4) == tiles(300, 200, tile, overlap, 4)


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [
        (30, 8, "tile is 30; give a multiple of 4"),
        (-4, 8, "tile is -4"),
        (12, 4, "tile is 12; give a multiple of 4 pixels from 16 on"),
        (32, 6, "tile overlap is 6; give a multiple of 4"),
        (32, -4, "tile overlap is -4"),
        (32, 20, "tile overlap is 20; half the tile of 32 pixels is the most"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(tile, overlap, message):
    with pytest.raises(ValueError, match=message):
        tiles(64, 64, tile, overlap, 4)


def together(grid, image, change=lambda rows, columns, part: part):
    """Every tile enlarged to twice its size by repetition, changed, and put together."""
    height, width = image.shape[:2]
    whole = Strip((1, 2 * height, 2 * width, 3), 1, 2)
    for rows in grid.rows:
        band = Strip((1, 2 * (rows.stop - rows.start), 2 * width, 3), 2, 2)
        for columns in grid.columns:
            part = image[rows, columns].repeat(2, 0).repeat(2, 1)
            band.add(columns, change(rows, columns, part)[None])
        whole.add(rows, band.images)
    return whole.images[0]


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 37), (32, 200)])
@pytest.mark.parametrize("overlap", [0, 4, 16])
def test_tiles_of_a_picture_give_the_picture(height, width, overlap):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    whole = image.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(together(tiles(height, width, 32, overlap, 4), image), whole)


def test_tiles_that_differ_fade_into_each_other():
    """Tiles of 0 and 200 in a chessboard: no step is larger than that of a fade over 16 of 32 pixels."""
    grid = tiles(80, 80, 32, 16, 4)
    result = together(
        grid,
        np.zeros((80, 80, 3), np.uint8),
        lambda rows, columns, part: part + np.uint8(200 * ((rows.start + columns.start) // 16 % 2)),
    )
    assert set(np.unique(result)) >= {0, 200}
    for axis in (0, 1):
        assert 0 < np.abs(np.diff(result.astype(int), axis=axis)).max() <= 200 / 16 + 1


def test_what_is_near_the_border_of_a_tile_is_not_used_inside_the_frame():
    def spoilt(rows, columns, part):
        """The outer eight pixels of the enlarged tile are wrong, except at the border of the frame."""
        good = np.zeros(part.shape[:2], bool)
        inner = [slice(8 * (s.start > 0), -8 if s.stop < 80 else None) for s in (rows, columns)]
        good[tuple(inner)] = True
        return np.where(good[..., None], part, np.uint8(255))

    image = np.full((80, 80, 3), 100, np.uint8)
    assert (together(tiles(80, 80, 32, 16, 4), image, spoilt) == 100).all()
