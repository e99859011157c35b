"""A picture of patches that were kept and of patches that were rejected."""

from itertools import zip_longest

import numpy as np
from PIL import Image

from datasets.patches.selection import CUT, KEPT, STILL, crop
from datasets.patches.statistics import Example, Statistics
from datasets.sources import Source
from vfijax.media.sheet import sheet

SIDE = 96  # of a patch in the picture
GAP = 8  # pixels after the three frames of a patch


def contact_sheet(source: Source, statistics: Statistics, size: int, measure: str) -> np.ndarray:
    """Examples of kept and rejected patches, a column for each fate, first to last frame side by side.

    Args:
      source: that the patches are from.
      statistics: with the examples.
      size: side of the patches.
      measure: name of the motion measure.

    Returns:
      uint8 [H, W, 3].
    """
    fates = {
        KEPT: ("kept", f"{measure} {{:.2f}}"),
        STILL: ("rejected: motion", f"{measure} {{:.2f}}"),
        CUT: ("rejected: jump cut", "histograms {:.4f}"),
    }
    empty = np.zeros((SIDE, 3 * SIDE + GAP, 3), np.uint8)
    columns = []
    for fate, (title, value) in fates.items():
        column = [
            (f"{title}, {value}".format(e[-1]), _strip(_frames(source, e, size)))
            for e in statistics.examples[fate]
        ]
        columns.append(column or [(f"{title}: none", empty)])
    return sheet(list(zip_longest(*columns, fillvalue=("", empty))))


def _frames(source: Source, example: Example, size: int) -> np.ndarray:
    _, item, start, top, left, _ = example
    return crop(source[item][start : start + 3], top, left, size)


def _strip(patch: np.ndarray) -> np.ndarray:
    frames = [np.asarray(Image.fromarray(frame).resize((SIDE, SIDE))) for frame in patch]
    return np.pad(np.concatenate(frames, axis=1), [(0, 0), (0, GAP), (0, 0)])
