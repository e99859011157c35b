"""Scores on triplets of images: benchmark sets and folders."""

import os
import random
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vfijax.command import Progress
from vfijax.files import IMAGE_SUFFIXES, given_path, natural_key
from vfijax.levels import to_uint8
from vfijax.media import MediaError, Triplet, find_triplets, read_ahead, read_image, write_image
from vfijax.media.layouts import NoTriplets, find_images
from vfijax.media.sheet import ERROR_GAIN, average, error_picture, sheet
from vfijax.params import ModelParams
from vfijax.perceptual import Lpips
from vfijax.scoring.protocols import Protocol, measure, predict, protocol_for
from vfijax.scoring.report import Report, Row

# How many triplets the published means are over.
SET_SIZES = {"middlebury": 12, "ucf101": 379, "vimeo": 3782}

Frames = tuple[np.ndarray, np.ndarray, np.ndarray]  # first, middle, last; uint8 [H, W, 3]


def find_set(directory: str | os.PathLike[str]) -> list[Triplet]:
    """The triplets of a benchmark set or of any folder; of Vimeo-90K its test list.

    Raises:
      MediaError: no such folder, or no triplets in it.
    """
    return find_triplets(directory, split="test")


def find_groups(directory: str | os.PathLike[str]) -> list[Triplet]:
    """Frames 0 1 2, 3 4 5, ... of every folder of images below a directory, as DAVIS is scored on.

    Folders come in natural order; frames left over at the end of one are not used.

    Raises:
      NoTriplets: no folder with three images, or no such directory.
    """
    root, triplets = given_path(directory, "find_groups", MediaError), []
    images = (path for path in root.rglob("[!.]*") if path.suffix.lower() in IMAGE_SUFFIXES)
    for folder in sorted({path.parent for path in images}, key=natural_key):
        frames = find_images(folder)
        for first, middle, last in zip(frames[::3], frames[1::3], frames[2::3], strict=False):
            name = (folder.relative_to(root) / first.stem).as_posix()
            triplets.append(Triplet(name, first, middle, last))
    if not triplets:
        raise NoTriplets(f"{root}: no folder with three images or more")
    return triplets


def sample(triplets: Sequence[Triplet], count: int, seed: int) -> list[Triplet]:
    """Up to `count` of them, chosen and ordered by Python's `random.Random(seed).sample`."""
    return random.Random(seed).sample(list(triplets), min(count, len(triplets)))


def score_triplets(
    params: ModelParams,
    triplets: Sequence[Triplet],
    *,
    protocol: str = "published",
    lpips: Lpips | None = None,
    crop: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Predicts the middle frame of every triplet and scores it.

    Images are read ahead in threads; memory does not grow with their number. Sizes may differ
    between triplets, each size is compiled once.

    Args:
      params: the model.
      triplets: from `find_set` or `vfijax.media.find_triplets`.
      protocol: an entry of `PROTOCOLS`, such as "published".
      lpips: from `vfijax.perceptual.load_lpips`; its score is added as `lpips`.
      crop: side of the square that is cut from the middle of every frame before anything is done; 0
        takes whole frames.
      progress: called with the number of triplets scored and their total.

    Returns:
      A report with one row per triplet, in the given order.

    Raises:
      MediaError: an image cannot be read, is too small, or the sizes in a triplet disagree.
      ValueError: no triplets, an unknown protocol, or predictions that are not finite.
    """
    chosen = protocol_for(protocol, lpips)
    if not triplets:
        raise ValueError("score_triplets: there are no triplets to score")
    rows = []
    images = read_ahead(partial(_read, protocol=chosen, crop=crop), triplets)
    for triplet, (first, middle, last) in zip(triplets, images, strict=True):
        scores = measure(predict(params, first, last), middle, chosen, triplet.name, lpips)
        height, width = middle.shape[:2]
        rows.append(Row(triplet.name, scores, {"height": height, "width": width}))
        if progress:
            progress(len(rows), len(triplets))
    return Report(params.config, chosen, tuple(rows))


def write_worst(
    folder: str | os.PathLike[str],
    params: ModelParams,
    triplets: Iterable[Triplet],
    report: Report,
    count: int,
    *,
    crop: int = 0,
) -> list[Path]:
    """Writes the frames of lowest PSNR as pictures: inputs, truth, prediction and error.

    Args:
      folder: where to; it is made if need be.
      params, triplets: what `report` was made of.
      report: the scores, from `score_triplets`.
      count: how many pictures.
      crop: what `report` was made with.

    Returns:
      The files, the worst first; their names hold rank, triplet and PSNR.
    """
    folder = given_path(folder, "write_worst", MediaError)
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {triplet.name: triplet for triplet in triplets}
    files = []
    for rank, row in enumerate(report.worst(count), 1):
        name = row.name.replace("/", "_")
        path = folder / f"{rank:02d}_{name}_{row.scores['psnr']:.2f}dB.png"
        frames = _read(by_name[row.name], report.protocol, crop)
        write_image(path, _picture(params, frames, row))
        files.append(path)
    return files


def _picture(params: ModelParams, frames: Frames, row: Row) -> np.ndarray:
    first, middle, last = frames
    prediction = np.asarray(to_uint8(predict(params, first, last)))
    blend = average(first, last)
    upper = [("first input", first), ("truth", middle), ("last input", last)]
    lower = [
        ("average of the inputs", blend),
        (f"prediction, {row.scores['psnr']:.2f} dB", prediction),
        (f"error x{ERROR_GAIN}", error_picture(prediction, middle)),
    ]
    return sheet([upper, lower])


def _read(triplet: Triplet, protocol: Protocol, crop: int) -> Frames:
    """First, middle and last frame, which must agree in size, or squares of side `crop` of them."""
    paths = triplet.first, triplet.middle, triplet.last
    first, middle, last = (read_image(path) for path in paths)
    sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (first, middle, last)]
    if len(set(sizes)) > 1:
        found = ", ".join(f"{path.name} is {size}" for path, size in zip(paths, sizes, strict=True))
        raise MediaError(f"{triplet.first.parent}: the frames of a triplet must be of one size, but {found}")
    height, width = (crop, crop) if crop else middle.shape[:2]
    if min(middle.shape[:2]) < crop:
        raise MediaError(f"{triplet.middle}: of {sizes[1]} no square of side {crop} can be cut")
    protocol.check_size(triplet.first.parent, height, width)
    top, left = (middle.shape[0] - height) // 2, (middle.shape[1] - width) // 2
    first, middle, last = (image[top : top + height, left : left + width] for image in (first, middle, last))
    return first, middle, last
