"""`vfijax interpolate`: a video or a folder of images with more frames."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import tyro

from vfijax.command import progress
from vfijax.models import DEFAULT
from vfijax.video import Summary, interpolate_video
from vfijax.weights.resolve import resolve


@dataclass(frozen=True)
class Args:
    """Puts new frames between the frames of a video or of a folder of images.

    The source's frames are kept with their exact times, audio is copied, and colour tags, pixel
    aspect and rotation are carried over. The result appears under its name when it is complete.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """A video, or a folder of images in natural order."""

    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TARGET")]
    """A video (.mp4, .m4v, .mov, .mkv, .webm), or a name without suffix for a folder of PNG images."""

    model: Annotated[str, tyro.conf.arg(metavar="MODEL|CHECKPOINT")] = DEFAULT
    """`flow`, the faster `flow_fine` and `flow_medium`, `guided`, which is slower and better where motion is
    large, or `blend`; or a checkpoint from `vfijax convert` or `python -m train.main`."""

    factor: int = 2
    """How many times as many frames. Networks that know the middle only, which are most, are exact for 2, 4
    and 8 and reach others approximately."""

    slowmo: bool = False
    """Keep the frame rate and stretch time by the factor; leaves the audio out."""

    fps: Annotated[str | None, tyro.conf.arg(metavar="RATE")] = None
    """Frames per second of a folder of images before interpolation, as 25 or 30000/1001 (24 if not given)."""

    crf: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Quality of the encoder, 0 is best (H.264: 18, VP9: 24 if not given)."""

    audio: bool = True
    """Copy the audio."""


def run(args: Args) -> None:
    params = resolve(args.model)
    with progress(args.target.name) as show:
        summary = interpolate_video(
            args.source,
            args.target,
            params,
            factor=args.factor,
            slowmo=args.slowmo,
            fps=rate(args.fps),
            crf=args.crf,
            audio=args.audio,
            progress=show,
        )
    print(describe(summary))


def rate(text: str | None) -> Fraction | None:
    """What --fps means."""
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--fps {text}: give a number such as 25, 23.976 or 24000/1001") from None


def describe(summary: Summary) -> str:
    """The one line that a command on a video ends with."""
    notes = [summary.audio]
    if summary.cuts:
        notes.append(f"scene cuts at source frames {', '.join(map(str, summary.cuts))}")
    if summary.dropped:
        notes.append(f"the last {summary.dropped} source frames dropped, as published windows do")
    return (
        f"{summary.target}: {summary.frames} frames from {summary.source_frames}, "
        f"{float(summary.rate):.6g} frames/s, {float(summary.duration):.2f} s; {'; '.join(notes)}; "
        f"took {summary.elapsed:.1f} s"
    )
