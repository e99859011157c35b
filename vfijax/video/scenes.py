"""Scene cuts in a stream of images."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np

from vfijax.media import histogram_difference

# Both must be exceeded. Within the shots of six different videos the largest values were 1.0e-3 and 24,
# across cuts from one to another the least were 4.6e-3 and 52.
HISTOGRAMS = 3e-3  # see `histogram_difference`
LEVELS = 16  # of 255: mean absolute difference; flat pictures can change their histogram by little


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two consecutive images, uint8 [H, W, 3], belong to different scenes."""
    if histogram_difference(before, after) <= HISTOGRAMS:
        return False
    return float(np.abs(after.astype(np.int16) - before).mean()) > LEVELS


def scenes(images: Iterable[np.ndarray], cuts: list[int]) -> Iterator[Iterator[np.ndarray]]:
    """Images divided at scene cuts; the index of the first image after each is added to `cuts`.

    Each scene must be read to its end before the next.
    """
    before: np.ndarray | None = None

    def number(indexed: tuple[int, np.ndarray]) -> int:
        nonlocal before
        index, image = indexed
        if before is not None and is_cut(before, image):
            cuts.append(index)
        before = image
        return len(cuts)

    for _, scene in groupby(enumerate(images), number):
        yield (image for _, image in scene)
