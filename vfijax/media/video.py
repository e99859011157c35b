"""What describes a video: its frames, and what is carried from a source to what is made of it."""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.error
import numpy as np
from av.container import InputContainer

from vfijax.media.color import Color
from vfijax.media.errors import MediaError


class Frame(NamedTuple):
    """One frame of a stream."""

    image: np.ndarray  # uint8 [H, W, 3] RGB
    time: Fraction  # seconds
    duration: Fraction | None = None  # seconds, None where the source does not say


@dataclass(frozen=True)
class VideoInfo:
    """What describes a video besides its frames, and is carried from a source to what is made of it.

    Attributes:
      width, height: of the stored frames, before any rotation.
      rate: average frames per second.
      time_base: times are multiples of it; None takes 1 / rate.
      frames: the number of frames by the header, else estimated from the duration, else None.
      color: None takes limited range and the matrix that players assume for this height.
      chroma: "420", "422" or "444" samples.
      pixel_aspect: width of a pixel divided by its height.
      display_matrix: nine integers in FFmpeg's layout that turn the frames upright, or None.
      audio: codec names of the audio streams.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction | None = None
    frames: int | None = None
    color: Color | None = None
    chroma: str = "420"
    pixel_aspect: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None
    audio: tuple[str, ...] = ()


def upright(image: np.ndarray, display_matrix: tuple[int, ...] | None) -> np.ndarray:
    """A frame as it is displayed: turned by quarter turns and mirrored as the display matrix says."""
    if display_matrix is None:
        return image
    a, b, _, c, d = display_matrix[:5]  # a pixel at (x, y) is shown at (a x + c y, b x + d y)
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    image = image.swapaxes(0, 1) if transposed else image
    x, y = (c, b) if transposed else (a, d)
    return np.ascontiguousarray(image[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])


def open_input(path: Path, data: bytes | None = None) -> InputContainer:
    """A video file, or its bytes if they are at hand and `path` is only what errors call them."""
    if data is None and not path.is_file():
        raise MediaError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
    try:
        # the prefix keeps names with a colon from being taken for addresses
        return av.open(f"file:{path}" if data is None else io.BytesIO(data), "r")
    except av.error.EOFError:
        raise MediaError(f"{path}: has no video frames") from None
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: cannot be read as video ({error.strerror}); is it truncated?") from error
