"""What the commands that make a video have in common: their options, and what they do around the work."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import tyro

from vfijax.command import progress, unused
from vfijax.models import ModelConfig
from vfijax.params import ModelParams
from vfijax.video import Summary


@dataclass(frozen=True)
class MakingArgs:
    """From what a video is made, what it is written to, and how."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """A video, or a folder of images in natural order."""

    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TARGET")]
    """A video (.mp4, .m4v, .mov, .mkv, .webm), or a name without suffix for a folder of PNG images."""

    slowmo: bool = False
    """Keep the frame rate and stretch time, so that more frames make a slower video; leaves the audio out."""

    fps: Annotated[str | None, tyro.conf.arg(metavar="RATE")] = None
    """Frames per second of a folder of images as they are, as 25 or 30000/1001 (24 if not given)."""

    crf: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Quality of the encoder, 0 is best (H.264: 18, VP9: 24 if not given)."""

    audio: bool = True
    """Copy the audio."""

    overwrite: bool = False
    """Replace TARGET if it is a file that is there; a folder with something in it is never replaced."""

    def write(
        self, make: Callable[..., Summary], params: ModelParams, *, note: str = "", **options: Any
    ) -> None:
        """Calls `interpolate_video` or `zoom_video` with these options, shows how far it is, and sums up.
        What is to be known before the work is the `note`."""
        if not self.target.is_dir():
            unused(self.target, overwrite=self.overwrite)
        written = {"slowmo": self.slowmo, "fps": _rate(self.fps), "crf": self.crf, "audio": self.audio}
        if note:
            print(f"vfijax: note: {note}", file=sys.stderr)
        with progress(self.target.name) as show:
            summary = make(self.source, self.target, params, progress=show, **written, **options)
        print(summary)


def approximation(config: ModelConfig, factor: int, times: Sequence[Fraction], passes: int) -> str:
    """What frames cost with a network that knows the middle only, and how far they are from their times.

    Nothing where they are exact.

    Args:
      config: the network.
      factor: 3 for frames at 1/3 and 2/3, and so on.
      times: those at which they are made.
      passes: of the network, for all of them.
    """
    error = max((abs(time - Fraction(i, factor)) for i, time in enumerate(times, 1)), default=Fraction(0))
    if config.any_time or config.kind != "pair" or not error:
        return ""
    return (
        f"factor {factor}: {config.name} knows the middle of two frames only; {factor - 1} new frames take "
        f"{passes} passes of the network, and their times are off by up to {float(error):.2g} of the time "
        "between two source frames (factors 2, 4, 8, ... are exact)"
    )


def _rate(text: str | None) -> Fraction | None:
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--fps {text}: give a number such as 25, 23.976 or 24000/1001") from None
