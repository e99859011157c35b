"""Overlapping tiles, so that the memory a network takes does not depend on the size of the frames."""

from typing import NamedTuple

import numpy as np

AUTOMATIC = 192  # pixels: the side of a tile if none is given
OVERLAP = 32  # pixels that neighbours share if nothing is said, or half of a tile
WHOLE = 256 * 256  # pixels: frames up to this area are not divided then


class Grid(NamedTuple):
    """Tiles: every one of the rows crosses every one of the columns."""

    rows: list[slice]
    columns: list[slice]


def spans(length: int, tile: int, overlap: int, stride: int) -> list[slice]:
    """Parts of an axis that cover it evenly and share at least `overlap` with the next.

    Parts begin at multiples of `stride`, so that a network that reduces its input finds the same grid in
    each as in the whole. They are as long as each other, and no longer than `tile`; the last one ends at
    `length`.

    Args:
      tile, overlap: multiples of `stride`, overlap < tile.
    """
    units, tile, overlap = -(-length // stride), tile // stride, overlap // stride
    count = max(1, -(-(units - overlap) // (tile - overlap)))
    size = min(tile, -(-(units + (count - 1) * overlap) // count))
    last = units - size
    starts = [last * i // max(1, count - 1) for i in range(count)]
    return [slice(s * stride, min((s + size) * stride, length)) for s in starts]


def tiles(height: int, width: int, tile: int | None, overlap: int | None, stride: int = 1) -> Grid:
    """The tiles of a frame; one if `tile` is 0, or None and the frame is small.

    Raises:
      ValueError: `tile` or `overlap` is no multiple of `stride`, or they do not go together.
    """
    side = AUTOMATIC if tile is None else tile
    if side % stride or (side and side < 4 * stride):
        raise ValueError(
            f"tile is {side}; give a multiple of {stride} pixels from {4 * stride} on, or 0 for whole frames"
        )
    if overlap is None:
        overlap = min(OVERLAP, side // 2 // stride * stride) if side else 0
    if overlap < 0 or overlap % stride:
        raise ValueError(f"tile overlap is {overlap}; give a multiple of {stride} pixels")
    if side and 2 * overlap > side:
        raise ValueError(f"tile overlap is {overlap}; half the tile of {side} pixels is the most")
    if side == 0 or (tile is None and height * width <= WHOLE):
        return Grid([slice(0, height)], [slice(0, width)])
    return Grid(spans(height, side, overlap, stride), spans(width, side, overlap, stride))


class Strip:
    """Puts enlarged parts together along one axis, in the order of `spans`; holds 8 bits per sample.

    Each part fades in over the inner half of what it shares with the one before. In the outer quarters,
    where one of the two is near its border, the other is taken alone.

    Args:
      shape: of the whole, [T, H, W, 3].
      axis: along which parts are added.
      scale: pixels for each source pixel.

    Attributes:
      images: the whole, uint8.
    """

    def __init__(self, shape: tuple[int, ...], axis: int, scale: int) -> None:
        self.images = np.zeros(shape, np.uint8)
        self._lines = np.moveaxis(self.images, axis, 0)
        self._axis, self._scale, self._end = axis, scale, 0

    def add(self, at: slice, images: np.ndarray) -> None:
        """Adds a part, uint8, at a range of source pixels."""
        start, stop = at.start * self._scale, at.stop * self._scale
        shared = self._end - start
        below, lines = self._lines[start:stop], np.moveaxis(images, self._axis, 0)
        share = np.clip(2 * (np.arange(shared, dtype=np.float32) + 0.5) / max(1, shared) - 0.5, 0, 1)
        share = share[:, None, None, None]
        below[:shared] = np.rint(below[:shared] * (1 - share) + lines[:shared] * share)
        below[shared:] = lines[shared:]
        self._end = stop
