"""Pictures of what a network makes of some triplets."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
from PIL import Image

from datasets.transforms import reduced
from vfijax.levels import to_uint8
from vfijax.media.sheet import ERROR_GAIN, error_picture, sheet
from vfijax.models import create
from vfijax.scoring import two_stage


def grey(mask: np.ndarray) -> np.ndarray:
    """Float [..., H, W, 1] in [0, 1] to uint8 [..., H, W, 3]."""
    return to_uint8(np.asarray(mask)).repeat(3, axis=-1)


def flow_colours(field: np.ndarray, full: float) -> np.ndarray:
    """A field [..., 2, H, W] as uint8 [..., H, W, 3]: hue is direction, saturation is length / `full`."""
    y, x = np.moveaxis(field, -3, 0)
    hue = (np.arctan2(y, x) / (2 * np.pi)) % 1
    saturation = np.minimum(np.hypot(y, x) / full, 1)
    hsv = (np.stack([hue, saturation, np.ones_like(hue)], axis=-1) * 255).astype(np.uint8)
    flat = Image.fromarray(hsv.reshape(-1, hsv.shape[-2], 3), mode="HSV").convert("RGB")
    return np.asarray(flat).reshape(hsv.shape)


def panels(triplets: np.ndarray, seen: dict[str, Any]) -> dict[str, np.ndarray]:
    """Label to uint8 [B, H, W, 3] of everything worth seeing about some triplets.

    Args:
      triplets: uint8 [B, 3, H, W, 3].
      seen: of `train.step.eval_step`.
    """
    prediction = seen["prediction"]
    shown = {
        "first": triplets[:, 0],
        "last": triplets[:, 2],
        "truth": triplets[:, 1],
        "prediction": prediction,
    }
    shown[f"error x{ERROR_GAIN}"] = error_picture(prediction, triplets[:, 1])
    shown |= {f"mask {name}": grey(mask) for name, mask in seen["masks"].items()}  # CDFI has one called blend
    if seen["displacements"]:
        lengths = np.hypot(*np.moveaxis(np.stack(seen["displacements"]), 2, 0))
        full = max(1.0, float(np.percentile(lengths, 99)))
        for name, field in zip(("first", "last"), seen["displacements"], strict=True):
            shown[f"offsets {name} ({full:.1f} px)"] = flow_colours(field, full)
    return shown


def clip_panels(clips: np.ndarray, seen: dict[str, Any]) -> dict[str, np.ndarray]:
    """The same for space-time super-resolution: the middle frame, which no input shows, and the one before.

    Args:
      clips: uint8 [B, N, H, W, 3].
      seen: of `train.step.eval_step`.
    """
    between = clips.shape[1] // 2 // 2 * 2 + 1  # odd frames lie between inputs
    given, prediction = between - 1, seen["prediction"]
    small = np.stack([reduced(clip[::2]) for clip in clips])
    bicubic = np.stack([two_stage(create("blend", 0), "bicubic", clip) for clip in small])
    return {
        "input": enlarged(small[:, given // 2], clips.shape[3]),
        "bicubic": bicubic[:, given],
        "prediction": prediction[:, given],
        "truth": clips[:, given],
        "between: bicubic, blend": bicubic[:, between],
        "prediction, between": prediction[:, between],
        "truth, between": clips[:, between],
        f"error x{ERROR_GAIN}": error_picture(prediction[:, between], clips[:, between]),
    }


def enlarged(frames: np.ndarray, width: int) -> np.ndarray:
    """Frames [..., H, W, 3] with pixels repeated until they are so wide."""
    times = width // frames.shape[-2]
    return frames.repeat(times, axis=-3).repeat(times, axis=-2)


def batch_panels(batch: dict[str, Any]) -> dict[str, np.ndarray]:
    """Label to uint8 [B, H, W, 3] of every frame of a training batch; smaller ones are enlarged."""
    frames: dict[str, np.ndarray] = {}
    for role, array in batch.items():
        frames |= (
            {role: array}
            if array.ndim == 4
            else dict(zip(_numbered(role), np.moveaxis(array, 1, 0), strict=False))
        )
    width = max(array.shape[2] for array in frames.values())
    return {name: enlarged(np.asarray(array), width) for name, array in frames.items()}


def _numbered(role: str) -> Iterator[str]:
    return (f"{role} {number}" for number in count(1))


def batch_sheet(shown: dict[str, np.ndarray]) -> np.ndarray:
    """Panels [B, H, W, 3] side by side under their labels, one row per sequence: uint8 [H, W, 3]."""
    return sheet([list(zip(shown, row, strict=True)) for row in zip(*shown.values(), strict=True)])
