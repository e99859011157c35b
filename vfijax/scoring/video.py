"""Scores on a video: frames are dropped, predicted from those that are kept, and compared."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from vfijax.command import Progress
from vfijax.files import given_path
from vfijax.levels import to_uint8
from vfijax.media import Frame, MediaError, VideoInfo, VideoWriter, open_source, prefetch, upright
from vfijax.media.sheet import CAPTION_HEIGHT, ERROR_GAIN, error_picture, sheet
from vfijax.models import create
from vfijax.params import ModelParams
from vfijax.perceptual import Lpips
from vfijax.scoring.protocols import measure, predict_at, protocol_for
from vfijax.scoring.report import Report, Row


def score_video(
    params: ModelParams,
    path: str | os.PathLike[str],
    *,
    protocol: str = "published",
    lpips: Lpips | None = None,
    factor: int = 2,
    every: int | None = None,
    compare: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Keeps one frame of `factor`, predicts those between at their times, and scores them.

    The video is streamed: memory does not grow with its length. Frames count as equally spaced. Those at
    the end that no kept frame follows are not used.

    Args:
      params: the model. One that knows the middle only reaches other times as `vfijax.interpolate` does.
      path: a video, or a folder of images in natural order.
      protocol: an entry of `PROTOCOLS`, such as "published".
      lpips: from `vfijax.perceptual.load_lpips`; its score is added as `lpips`.
      factor: 2 predicts frames 1, 3, 5, ... at the middle of their neighbours; 4 predicts 1, 2, 3, 5, ... at
        1/4, 1/2 and 3/4 between frames 0, 4, 8, ...
      every: distance of the frames after which some are predicted, `factor` if None; 30 takes, with factor 2,
        the triplets 0 1 2, 30 31 32, ... that reports score long videos on.
      compare: a video to write (of all frames, without `every`), at the rate of the source, with four panels:
        the input before, held; the truth; the interpolated video, kept and predicted frames; and the error
        of the predicted frames, held.
      progress: called with the number of frames scored and the number expected, or None.

    Returns:
      A report with one row per predicted frame: its scores and, as `blend_psnr` and so on, those of
      the blend of the kept frames around it.

    Raises:
      MediaError: the video cannot be read, has too few frames or frames that are too small, or `compare`
        cannot be written.
      ValueError: an unknown protocol, `factor` or `every` below 2, `every` below or with `compare` other than
        `factor`, or predictions that are not finite.
    """
    every = _checked(factor, every, compare is not None)
    chosen, path, blend = (
        protocol_for(protocol, lpips),
        given_path(path, "score_video", MediaError),
        create("blend", 0),
    )
    times = [j / factor for j in range(1, factor)]
    rows: list[Row] = []
    with open_source(path) as reader:
        chosen.check_size(path, reader.info.height, reader.info.width)
        count = reader.info.frames
        expected = None if count is None else max(0, (count - factor - 1) // every + 1) * (factor - 1)
        decoded = (f._replace(image=upright(f.image, reader.info.display_matrix)) for f in reader)
        with closing(prefetch(decoded)) as frames, _film(compare, path, reader.info) as film:
            for start, (left, *between, right) in _groups(frames, factor + 1, every):
                predicted = (predict_at(model, left.image, right.image, times) for model in (params, blend))
                for number, truth, prediction, average in zip(
                    range(start + 1, start + factor), between, *predicted, strict=True
                ):
                    scores, baseline = (
                        measure(frame, truth.image, chosen, f"{path}, frame {number}", lpips)
                        for frame in (prediction, average)
                    )
                    scores |= {f"blend_{name}": score for name, score in baseline.items()}
                    about = {"frame": number, "time": float(truth.time)}
                    rows.append(Row(f"frame {number}", scores, about))
                    if film:
                        film.show(left, truth, np.asarray(to_uint8(prediction)))
                    if progress:
                        progress(len(rows), expected)
                if film:
                    film.keep(right)
            if not rows:
                few = "fewer than three frames" if factor == 2 else f"fewer than {factor + 1} frames"
                raise MediaError(f"{path}: has {few}; scoring needs {factor - 1} between two others")
    return Report(params.config, chosen, tuple(rows))


def _checked(factor: int, every: int | None, compare: bool) -> int:
    """The distance of the frames after which some are predicted."""
    if factor < 2:
        raise ValueError(f"factor is {factor}; give 2 or more")
    if every is None or every == factor:
        return factor
    if every < factor or compare:
        raise ValueError(
            f"every is {every}; give {factor} or more, and none for a comparison video: it shows all frames"
        )
    return every


def _groups(frames: Iterable[Frame], size: int, every: int) -> Iterator[tuple[int, tuple[Frame, ...]]]:
    """(0, frames 0, 1, ... size - 1), then those that begin at `every`, twice `every`, and so on."""
    recent: deque[Frame] = deque(maxlen=size)
    for start, frame in enumerate(frames, 1 - size):
        recent.append(frame)
        if start >= 0 and start % every == 0:
            yield start, tuple(recent)


def _film(
    target: str | os.PathLike[str] | None, source: Path, info: VideoInfo
) -> "AbstractContextManager[_Film | None]":
    return (
        nullcontext()
        if target is None
        else _open_film(given_path(target, "compare", MediaError), source, info)
    )


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
        self._begun = False

    def show(self, left: Frame, truth: Frame, prediction: np.ndarray) -> None:
        """A frame that was predicted between `left` and another."""
        if not self._begun:
            self.keep(left)
        self._error = error_picture(prediction, truth.image)
        self._write(truth, left.image, prediction)

    def keep(self, frame: Frame) -> None:
        """A frame that was given."""
        self._begun = True
        self._write(frame, frame.image, frame.image)

    def _write(self, frame: Frame, held: np.ndarray, interpolated: np.ndarray) -> None:
        error = np.zeros_like(held) if self._error is None else self._error
        upper = [("input, held", held), ("truth", frame.image)]
        lower = [("interpolated", interpolated), (f"error of the predicted frames x{ERROR_GAIN}", error)]
        self._writer.write(frame._replace(image=sheet([upper, lower])))
