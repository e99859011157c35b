"""Contact sheets: captioned panels side by side, and pictures of errors."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CAPTION_HEIGHT = 24  # pixels above each panel; even, since video with 4:2:0 samples needs even sizes
ERROR_GAIN = 4  # of every picture of an error; captions say it

Panel = tuple[str, np.ndarray]  # caption, uint8 [H, W, 3]


def error_picture(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The absolute error of uint8 frames of one shape, times `ERROR_GAIN`, cut off at 255."""
    error = np.abs(prediction.astype(np.int16) - truth.astype(np.int16))
    return np.minimum(error * ERROR_GAIN, 255).astype(np.uint8)


def average(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Two uint8 frames laid over each other, which shows the motion between them."""
    return ((first.astype(np.uint16) + last) // 2).astype(np.uint8)


def sheet(rows: Sequence[Sequence[Panel]]) -> np.ndarray:
    """Rows of captioned panels of one size, as one uint8 picture [H, W, 3]."""
    lines = [[np.concatenate([_caption(text, image.shape[1]), image]) for text, image in row] for row in rows]
    return np.concatenate([np.concatenate(line, axis=1) for line in lines])


@lru_cache(maxsize=64)
def _caption(text: str, width: int) -> np.ndarray:
    strip = Image.new("RGB", (width, CAPTION_HEIGHT), "#181818")
    pen = ImageDraw.Draw(strip)
    pen.text((6, CAPTION_HEIGHT // 2), text, "#F0F0F0", ImageFont.load_default(13), anchor="lm")
    return np.asarray(strip)
