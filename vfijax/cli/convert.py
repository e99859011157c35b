"""`vfijax convert`: published PyTorch weights as a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vfijax.checkpoint import check_target, save
from vfijax.command import unused
from vfijax.convert import from_torch
from vfijax.weights.resolve import try_it


@dataclass(frozen=True)
class Args:
    """Turns the weights of a published network into a checkpoint for the other commands.

    The file is read with weights-only loading: no code in it is run.
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Which network the weights belong to, such as compressed_adacof or cdfi."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The published file, .pth, .safetensors or .npz; reading the first needs PyTorch, the second the package
    safetensors (`pip install -e '.[convert]'` in a checkout)."""

    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]
    """The directory to write."""

    entry: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Where in the file the weights are, such as params_ema, if several tables in it fit."""

    taps: int | None = None
    """Side of the tap grid, where the network exists with several (cdfi_fp1x1: 5, 11; dsepconv: 1, 3, 5)."""

    dilation: int | None = None
    """Distance of neighbouring taps in pixels, if not the model's own."""

    rounding: Literal["trunc", "floor"] | None = None
    """How AdaCoF and CDFI split offsets, if not by trunc, with which the published weights were trained."""

    masks: bool | None = None
    """Whether a dsepconv has masks, if not the model's own."""

    grid: Literal["reference", "centred"] | None = None
    """Where the taps of dsepconv and edsc stand, if not as in the published code."""

    padding: Literal["improved", "paper"] | None = None
    """How sepconv pads its frames, if not the model's own."""

    overwrite: bool = False
    """Replace CHECKPOINT if it is there."""


def run(args: Args) -> None:
    check_target(args.target)
    unused(args.target, overwrite=args.overwrite)
    names = ("taps", "dilation", "rounding", "masks", "grid", "padding")
    fields = {name: getattr(args, name) for name in names}
    changes: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
    params = from_torch(args.name, args.source, entry=args.entry, **changes)
    save(args.target, params, converted_from=args.source.name)
    print(f"{args.target}: {args.name}, {params.size:,} parameters; try it with")
    print(try_it(params.config, args.target))
