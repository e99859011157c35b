"""Scores of clips made four times larger with the frames between, as Zooming Slow-Mo is evaluated.

Every second frame of a full-size clip is reduced to a quarter by `reduce_bicubic`; a method makes the clip
from these, and every frame is compared with the true one. `two_stage` are the baselines.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from vfijax.command import Progress
from vfijax.files import given_path
from vfijax.levels import rounded, to_float
from vfijax.media import MediaError, find_sequences, read_ahead, read_image
from vfijax.media.bicubic import reduce_bicubic, resize_bicubic
from vfijax.metrics import GAUSSIAN_WINDOW, psnr, ssim_gaussian_map
from vfijax.params import ModelParams
from vfijax.scoring.protocols import predict
from vfijax.scoring.report import Row

SCALE = 4
LEAST = 3  # frames of a clip: two inputs and the one between
CLIP_MEASURES = ("psnr", "psnr_y", "ssim", "ssim_y")
# How many full-size frames the sets have; the last three are lists of Vimeo-90K septuplets.
CLIP_SET_FRAMES = {"vid4": 171, "fast": 7 * 1225, "medium": 7 * 4977, "slow": 7 * 1613}
CLIP_PROTOCOL = (
    "prediction rounded to 8 bits; PSNR with peak 255 and SSIM (Gaussian 11x11 window, sigma 1.5, inside the "
    "frame), over the three colour channels and on Y = (65.481 R + 128.553 G + 24.966 B) / 255 + 16, not "
    "rounded; no border is cut off; per frame, then the mean over the frames of a clip, then over clips "
    "(Zooming Slow-Mo, whose code has the PSNR)"
)
# Weights of R, G and B in [0, 255] for Y, and what is added.
LUMA, BLACK = np.array([65.481, 128.553, 24.966]) / 255, 16.0

Kind = Literal["all", "interpolated", "original"]
KINDS: tuple[Kind, ...] = ("all", "interpolated", "original")
# From [N, H, W, 3] uint8 to [2N-1, 4H, 4W, 3] uint8.
Method = Callable[[np.ndarray], np.ndarray | jax.Array]


# ---------------------------------------------------------------------------------------- methods


def two_stage(params: ModelParams, first: Literal["bicubic", "model"], frames: np.ndarray) -> np.ndarray:
    """Bicubic enlargement and a model for pairs of frames, one after the other.

    What the first stage gives is rounded to 8 bits, as files between two programs are.

    Args:
      params: a model that makes the frame between two, such as `blend`.
      first: which stage comes first.
      frames: uint8 [N, H, W, 3].

    Returns:
      uint8 [2N-1, 4H, 4W, 3].
    """
    if first == "bicubic":
        return _with_frames_between(params, enlarge(frames))
    return enlarge(_with_frames_between(params, frames))


def enlarge(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 [N, H, W, 3] by bicubic interpolation to [N, 4H, 4W, 3], rounded to 8 bits."""
    size = SCALE * frames.shape[1], SCALE * frames.shape[2]
    return np.stack([rounded(resize_bicubic(frame, size) / 255) for frame in frames])


def _with_frames_between(params: ModelParams, frames: np.ndarray) -> np.ndarray:
    woven = [frames[0]]
    for first, last in pairwise(frames):
        woven += [rounded(predict(params, first, last)), last]
    return np.stack(woven)


# ----------------------------------------------------------------------------------------- scores


def score_frame(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """`CLIP_MEASURES` of two frames, uint8 [H, W, 3], H and W at least 11: PSNR in dB, SSIM."""
    colours, grey = ([convert(frame) for frame in (prediction, truth)] for convert in (to_float, luma))
    found = jax.device_get((_psnr_and_ssim(*colours), _psnr_and_ssim(*grey)))
    return dict(zip(CLIP_MEASURES, (float(found[i][j]) for j in (0, 1) for i in (0, 1)), strict=True))


def luma(frame: np.ndarray) -> np.ndarray:
    """Y of a frame uint8 [H, W, 3], divided by 255: float32 [H, W, 1]."""
    return ((frame @ LUMA + BLACK) / 255).astype(np.float32)[..., None]


@jax.jit
def _psnr_and_ssim(prediction: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    inside = slice(GAUSSIAN_WINDOW // 2, -(GAUSSIAN_WINDOW // 2))  # where no window reaches over the border
    return psnr(prediction, truth), ssim_gaussian_map(prediction, truth)[inside, inside].mean()


@dataclass(frozen=True)
class ClipReport:
    """The scores of one method on a set of clips.

    Attributes:
      rows: one per frame, in the order of clips and of time; `about` holds `clip`, `frame` (its number)
        and `interpolated`.
      dropped: clip to the number of its frames that no score was taken of, if there are any.
    """

    rows: tuple[Row, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def clips(self) -> list[str]:
        return list(dict.fromkeys(row.about["clip"] for row in self.rows))

    def chosen(self, kind: Kind, clip: str | None = None) -> list[Row]:
        """The frames of a kind, of one clip or of all."""
        wanted = {"all": (True, False), "interpolated": (True,), "original": (False,)}[kind]
        rows = (row for row in self.rows if clip in (None, row.about["clip"]))
        return [row for row in rows if row.about["interpolated"] in wanted]

    def clip_means(self, kind: Kind, clip: str) -> dict[str, float]:
        rows = self.chosen(kind, clip)
        return {name: float(np.mean([row.scores[name] for row in rows])) for name in CLIP_MEASURES}

    def means(self, kind: Kind = "all") -> dict[str, float]:
        """Measure to its mean over the frames of a clip, then over clips."""
        by_clip = [self.clip_means(kind, clip) for clip in self.clips]
        return {name: float(np.mean([means[name] for means in by_clip])) for name in CLIP_MEASURES}

    def to_json(self) -> dict[str, Any]:
        """For `write_json`: protocol, means of every kind of frames, dropped frames, and rows."""
        return {
            "protocol": {"name": "space-time", "description": CLIP_PROTOCOL},
            "clips": len(self.clips),
            "frames": len(self.rows),
            "dropped": dict(self.dropped),
            "mean": {kind: self.means(kind) for kind in KINDS},
            "rows": [{"name": row.name, **row.about, **row.scores} for row in self.rows],
        }


def score_clips(
    method: Method,
    clips: Mapping[str, Sequence[Path]],
    *,
    window: int | None = None,
    progress: Progress | None = None,
) -> ClipReport:
    """Makes every clip from its reduced frames 0, 2, 4, ... and scores all of its frames.

    The last frame of a clip with an even number of frames has no input after it and is dropped. Sides are
    first cut to multiples of four, at the bottom and on the right.

    Args:
      method: what makes the clips.
      clips: name to the files of its full-size frames, from `find_clip_set`.
      window: of the published evaluation: inputs that do not fill a window of so many, each beginning with
        the last input of the one before, are dropped with their frames.
      progress: called with the number of clips scored and their total.

    Raises:
      MediaError: an image cannot be read, or the sizes in a clip disagree or are too small.
      ValueError: no clips, or one that is too short for a window.
    """
    if not clips:
        raise ValueError("score_clips: there are no clips to score")
    rows: list[Row] = []
    dropped = {}
    for done, (name, truth) in enumerate(zip(clips, read_ahead(_read, clips.values()), strict=True), 1):
        used = _inputs(name, len(truth), window)
        small = np.stack([reduce_bicubic(frame, SCALE) for frame in truth[: 2 * used : 2]])
        made = np.asarray(method(small))
        if len(made) < len(truth):
            dropped[name] = len(truth) - len(made)
        rows += [_row(name, number, frame, truth[number]) for number, frame in enumerate(made)]
        if progress:
            progress(done, len(clips))
    return ClipReport(tuple(rows), dropped)


def _inputs(name: str, frames: int, window: int | None) -> int:
    """How many of the reduced frames of a clip are used."""
    there = (frames + 1) // 2
    if window is None:
        return there
    if there < window:
        raise ValueError(
            f"{name}: has {frames} frames, a published window takes {2 * window - 1}; leave "
            "--published-windows away"
        )
    return there - (there - 1) % (window - 1)


def _row(clip: str, number: int, prediction: np.ndarray, truth: np.ndarray) -> Row:
    about = {"clip": clip, "frame": number, "interpolated": number % 2 == 1}
    return Row(f"{clip}, frame {number}", score_frame(prediction, truth), about)


def _read(files: Sequence[Path]) -> np.ndarray:
    """The frames of a clip, with sides that are multiples of four: uint8 [N, H, W, 3]."""
    frames = [read_image(file) for file in files]
    for file, frame in zip(files, frames, strict=True):
        if frame.shape != frames[0].shape:
            sizes = [f"{f.shape[1]}x{f.shape[0]}" for f in (frame, frames[0])]
            raise MediaError(f"{file}: is {sizes[0]} but {files[0].name} beside it is {sizes[1]}")
    height, width = (side - side % SCALE for side in frames[0].shape[:2])
    if min(height, width) < GAUSSIAN_WINDOW:
        raise MediaError(f"{files[0]}: is too small to score; give {3 * SCALE}x{3 * SCALE} or more")
    return np.stack([frame[:height, :width] for frame in frames])


def find_clip_set(directory: str | os.PathLike[str], name: str) -> dict[str, list[Path]]:
    """The clips of a set: folders of full-size frames below a directory.

    For `fast`, `medium` and `slow` these are the septuplets of Vimeo-90K that `fast_testset.txt` and so on
    list, where the directory has such a file.

    Raises:
      MediaError: no such directory, or no folder with three images.
    """
    directory, listed = given_path(directory, "find_clip_set", MediaError), f"{name}_testset.txt"
    return find_sequences(directory, least=LEAST, listed=listed if (directory / listed).is_file() else None)
