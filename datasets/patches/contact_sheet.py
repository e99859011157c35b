"""A picture of patches that were kept and of patches that were rejected."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.patches.selection import CUT, KEPT, STILL, crop
from datasets.patches.statistics import Example, Statistics
from datasets.sources import Source

SIDE = 96  # of a patch in the picture
GAP, CAPTION = 8, 18  # pixels between examples, and above each for its caption
INK, PAPER = "#222222", "#FFFFFF"


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
    columns = {
        f"kept ({measure})": [(e, f"{measure} {e[-1]:.2f}") for e in statistics.examples[KEPT]],
        f"rejected: motion ({measure})": [(e, f"{measure} {e[-1]:.2f}") for e in statistics.examples[STILL]],
        "rejected: jump cut": [(e, f"histograms {e[-1]:.4f}") for e in statistics.examples[CUT]],
    }
    most = max(map(len, columns.values()))
    width, height = 3 * SIDE + GAP, SIDE + CAPTION + GAP
    sheet = Image.new("RGB", (len(columns) * width + GAP, most * height + CAPTION + 2 * GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for i, (title, examples) in enumerate(columns.items()):
        left = GAP + i * width
        pen.text((left, GAP), title if examples else f"{title}: none", INK, ImageFont.load_default(14))
        for j, (example, caption) in enumerate(examples):
            top = GAP + CAPTION + j * height
            pen.text((left, top + 2), caption, INK, font)
            sheet.paste(_strip(_frames(source, example, size)), (left, top + CAPTION))
    return np.asarray(sheet)


def _frames(source: Source, example: Example, size: int) -> np.ndarray:
    _, item, start, top, left, _ = example
    return crop(source[item][start : start + 3], top, left, size)


def _strip(patch: Sequence[np.ndarray] | np.ndarray) -> Image.Image:
    strip = Image.new("RGB", (3 * SIDE, SIDE))
    for i, frame in enumerate(patch):
        strip.paste(Image.fromarray(frame).resize((SIDE, SIDE)), (i * SIDE, 0))
    return strip
