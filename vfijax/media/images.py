"""Pictures: any common file to uint8 RGB, and back."""

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vfijax.files import IMAGE_SUFFIXES, complete, given_path
from vfijax.media.errors import MediaError

_OPTIONS: dict[str, dict[str, Any]] = {
    ".webp": {"lossless": True},
    ".jpg": {"quality": 95},
    ".jpeg": {"quality": 95},
}


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture as uint8 [H, W, 3] RGB, turned upright as its EXIF orientation says.

    Grey becomes RGB; of 16-bit samples the upper 8 bits are kept. An alpha channel is accepted when
    every pixel is opaque.

    Raises:
      MediaError: no such file, unreadable or truncated, floating-point samples, or transparency.
    """
    path = given_path(path, "read_image", MediaError)
    return _decode(path, path)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """The same as `read_image` for the bytes of a picture file; `name` is what errors call it."""
    return _decode(io.BytesIO(data), Path(name))


def _decode(source: Path | io.BytesIO, path: Path) -> np.ndarray:
    try:
        with warnings.catch_warnings(), Image.open(source) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large, but below the refusal
            image.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(image), path))
    except MediaError:
        raise
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = str(error).replace(repr(str(path)), "it").replace(repr(source), "it") or type(error).__name__
        raise MediaError(f"{path}: cannot be read as an image ({reason})") from error


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which `convert` would clip instead of scale
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise MediaError(f"{path}: has floating-point samples; convert it to 8 or 16 bits first")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise MediaError(
                f"{path}: has an alpha channel with transparent pixels, which cannot be kept; "
                "flatten it onto a background first"
            )
    return image.convert("RGB")


def write_image(path: str | os.PathLike[str], image: np.ndarray, **options: Any) -> None:
    """Writes uint8 [H, W, 3] RGB (or [H, W] grey) in the format of the suffix; WebP is lossless.

    The file appears under its name only when it is complete.

    Args:
      path: ends in one of `IMAGE_SUFFIXES`.
      image: the picture.
      **options: of Pillow's `save`, such as `compress_level`.

    Raises:
      MediaError: an unknown suffix, or an array that is no picture.
      OSError: the file cannot be written.
    """
    path = given_path(path, "write_image", MediaError)
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        given = suffix or "a name without suffix"
        raise MediaError(f"{path}: cannot write {given}; use one of {', '.join(IMAGE_SUFFIXES)}")
    image = np.asarray(image)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3)):
        raise MediaError(
            f"{path}: image is {image.dtype} {list(image.shape)}; give uint8 [H, W, 3] or [H, W]"
        )
    with complete(path) as partial:
        Image.fromarray(image).save(partial, **{**_OPTIONS.get(suffix, {}), **options})
