"""`vfijax interpolate`: a video or a folder of images with more frames."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from vfijax.cli.making import MakingArgs, approximation
from vfijax.models import DEFAULT
from vfijax.pairs import dyadic_passes, dyadic_times
from vfijax.video import interpolate_video
from vfijax.weights.resolve import resolve


@dataclass(frozen=True)
class Args(MakingArgs):
    """Puts new frames between the frames of a video or of a folder of images.

    The source's frames are kept with their exact times, audio is copied, and colour tags, pixel
    aspect and rotation are carried over. The result appears under its name when it is complete.
    """

    model: Annotated[str, tyro.conf.arg(metavar="MODEL|CHECKPOINT")] = DEFAULT
    """`flow`, the faster `flow_fine` and `flow_medium`, `guided`, which is slower and better where motion is
    large, or `blend`; published weights by the name under which `vfijax fetch` got them, such as `cdfi`; or a
    checkpoint from `vfijax convert` or `python -m train.main`."""

    factor: int = 2
    """How many times as many frames. Networks that know the middle only, which are most, are exact for 2, 4
    and 8 and reach others approximately."""


def run(args: Args) -> None:
    params = resolve(args.model)
    times = dyadic_times(args.factor - 1) if args.factor > 1 else []
    note = approximation(params.config, args.factor, times, dyadic_passes(times))
    args.write(interpolate_video, params, note=note, factor=args.factor)
