"""`vfijax zoom`: a video or a folder of images of four times the size and twice the rate."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from vfijax.cli.making import MakingArgs
from vfijax.clip_windows import WINDOW
from vfijax.video import zoom_video
from vfijax.weights.resolve import resolve


@dataclass(frozen=True)
class Args(MakingArgs):
    """Makes a video or a folder of images four times larger, with a new frame between each two.

    Audio is copied, and colour tags, pixel aspect and rotation are carried over. Any length and size can
    be processed: the network sees overlapping windows in time and overlapping tiles. The result appears
    under its name when it is complete.
    """

    model: Annotated[str | None, tyro.conf.arg(metavar="CHECKPOINT")] = None
    """`zooming_slowmo`, once `vfijax fetch zooming_slowmo` has got its weights; or a checkpoint of it, from
    `vfijax convert` or `python -m train.main`."""

    window: Annotated[int, tyro.conf.arg(metavar="N")] = WINDOW
    """Frames that the network sees at once; the published one was trained on 4."""

    overlap: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Frames that consecutive windows share, from 2 (if not given) to one less than the window."""

    published_windows: bool = False
    """For comparing scores: the published rule, windows that share one frame, without a last one for what
    remains; up to window - 2 frames at the end are dropped, and scene cuts are not looked for."""

    cuts: bool = True
    """Look for scene cuts: no window reaches over one, and no new frame is made there (the frame before
    it is shown again)."""

    tile: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Side of the tiles, in pixels of the source, a multiple of 4 from 16 on; 0 for whole frames, whatever
    memory that takes. If not given, large frames are divided."""

    tile_overlap: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Pixels of the source that neighbouring tiles share, a multiple of 4; if not given 32, or half of a
    smaller tile."""


def run(args: Args) -> None:
    if args.model is None:
        raise ValueError(
            "--model is missing: get published weights with `vfijax fetch zooming_slowmo` and give "
            "--model zooming_slowmo, or give the path of a checkpoint from `python -m train.main`"
        )
    args.write(
        zoom_video,
        resolve(args.model),
        window=args.window,
        overlap=args.overlap,
        published=args.published_windows,
        cuts=args.cuts,
        tile=args.tile,
        tile_overlap=args.tile_overlap,
    )
