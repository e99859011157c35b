"""Scores on a video: every second frame is dropped, predicted from its neighbours, and compared."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import numpy as np

from vfijax.media import (
    Frame,
    ImageFolderReader,
    MediaError,
    VideoInfo,
    VideoReader,
    VideoWriter,
    read_ahead,
    upright,
)
from vfijax.models import create
from vfijax.pairs import to_uint8
from vfijax.params import ModelParams
from vfijax.perceptual import Lpips
from vfijax.scoring.pictures import CAPTION_HEIGHT, ERROR_GAIN, error_picture, sheet
from vfijax.scoring.protocols import measure, predict, protocol_for
from vfijax.scoring.report import Report, Row
from vfijax.scoring.triplets import Progress

FOLDER_RATE = Fraction(24)  # frames per second of a folder of images, which cannot say it

Reader = VideoReader | ImageFolderReader


def score_video(
    params: ModelParams,
    path: str | os.PathLike[str],
    *,
    protocol: str = "published",
    lpips: Lpips | None = None,
    every: int = 2,
    compare: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Predicts frames of a video, as a rule 1, 3, 5, ..., from the frames beside them and scores them.

    The video is streamed: memory does not grow with its length. Frames count as equally spaced. Of
    an even number of frames the last one is not used, since nothing follows it.

    Args:
      params: the model.
      path: a video, or a folder of images in natural order.
      protocol: an entry of `PROTOCOLS`, such as "published".
      lpips: from `vfijax.perceptual.load_lpips`; its score is added as `lpips`.
      every: distance of the frames after which one is predicted; 2 takes every second frame, 30 the
        triplets 0 1 2, 30 31 32, ... that reports score long videos on.
      compare: a video to write (with every=2), at the rate of the source, with four panels: the input before,
        held; the truth; the interpolated video, in which every second frame is predicted; and the
        error of the predicted frames, held.
      progress: called with the number of frames scored and the number expected, or None.

    Returns:
      A report with one row per predicted frame: its scores and, as `blend_psnr` and so on, those of
      the average of its neighbours.

    Raises:
      MediaError: the video cannot be read, has fewer than three frames or frames that are too
        small, or `compare` cannot be written.
      ValueError: an unknown protocol, `every` below 2 or not 2 with `compare`, or predictions that
        are not finite.
    """
    if every < 2 or (every > 2 and compare is not None):
        raise ValueError(
            f"every is {every}; give 2 or more, and 2 for a comparison video, which shows all frames"
        )
    chosen, path, blend = protocol_for(protocol, lpips), Path(path), create("blend", 0)
    rows: list[Row] = []
    with _open(path) as reader:
        chosen.check_size(path, reader.info.height, reader.info.width)
        expected = None if reader.info.frames is None else (reader.info.frames + every - 3) // every
        with closing(_decoded(reader)) as frames, _film(compare, path, reader.info) as film:
            for left, middle, right in _triplets(frames, every):
                number = every * len(rows) + 1
                prediction = predict(params, left.image, right.image)
                average = predict(blend, left.image, right.image)
                scores, baseline = (
                    measure(frame, middle.image, chosen, f"{path}, frame {number}", lpips)
                    for frame in (prediction, average)
                )
                scores |= {f"blend_{name}": score for name, score in baseline.items()}
                rows.append(Row(f"frame {number}", scores, {"frame": number, "time": float(middle.time)}))
                if film:
                    film.show(left, middle, np.asarray(to_uint8(prediction)))
                if progress:
                    progress(len(rows), expected)
            if not rows:
                raise MediaError(f"{path}: has fewer than three frames; scoring needs one between two others")
            if film:
                film.finish(right)
    return Report(params.config, chosen, tuple(rows))


def _open(path: Path) -> Reader:
    return ImageFolderReader(path, FOLDER_RATE) if path.is_dir() else VideoReader(path)


def _decoded(reader: Reader) -> Generator[Frame, None, None]:
    """The frames as they are displayed, decoded in a thread a few frames ahead."""
    source = iter(reader)
    with closing(read_ahead(lambda _: next(source, None), repeat(None), threads=1)) as ahead:
        for frame in ahead:
            if frame is None:
                return
            yield frame._replace(image=upright(frame.image, reader.info.display_matrix))


def _triplets(frames: Iterable[Frame], every: int) -> Iterator[tuple[Frame, Frame, Frame]]:
    """Frames 0 1 2, then `every`, `every` + 1, `every` + 2, and so on."""
    recent: deque[Frame] = deque(maxlen=3)
    for number, frame in enumerate(frames):
        recent.append(frame)
        if number >= 2 and (number - 2) % every == 0:
            yield recent[0], recent[1], recent[2]


def _film(
    target: str | os.PathLike[str] | None, source: Path, info: VideoInfo
) -> "AbstractContextManager[_Film | None]":
    return nullcontext() if target is None else _open_film(Path(target), source, info)


@contextmanager
def _open_film(target: Path, source: Path, info: VideoInfo) -> Iterator["_Film"]:
    if target.exists() and target.samefile(source):
        raise MediaError(f"{target}: is the video to be scored; give another name for the comparison")
    turned = upright(np.broadcast_to(np.arange(2), (1, 2)), info.display_matrix).shape == (2, 1)
    height, width = (info.width, info.height) if turned else (info.height, info.width)
    described = replace(
        info,
        width=2 * width,
        height=2 * (height + CAPTION_HEIGHT),
        pixel_aspect=1 / info.pixel_aspect if turned else info.pixel_aspect,
        display_matrix=None,
    )
    with VideoWriter(target, described) as writer:
        yield _Film(writer)


class _Film:
    """The comparison video: input held, truth, interpolated, error; two by two."""

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer
        self._error: np.ndarray | None = None

    def show(self, left: Frame, middle: Frame, prediction: np.ndarray) -> None:
        """Two frames of the film: an input, and the frame predicted after it."""
        self._write(left, left.image, left.image)
        self._error = error_picture(prediction, middle.image)
        self._write(middle, left.image, prediction)

    def finish(self, last: Frame) -> None:
        self._write(last, last.image, last.image)

    def _write(self, frame: Frame, held: np.ndarray, interpolated: np.ndarray) -> None:
        error = np.zeros_like(held) if self._error is None else self._error
        upper = [("input, every second frame held", held), ("truth", frame.image)]
        lower = [("interpolated", interpolated), (f"error of the predicted frames x{ERROR_GAIN}", error)]
        self._writer.write(frame._replace(image=sheet([upper, lower])))
