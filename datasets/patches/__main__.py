"""The command that cuts patches worth training on from triplets and keeps them on disk.

python -m datasets.patches davis2017 --data-dir DATA --out PATCHES
python -m datasets.patches CLIPS --out PATCHES --motion difference --most 5
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from datasets.builders.base import listing
from datasets.builders.built import BUILDERS, open_built
from datasets.patches.cache import prepare_patches
from datasets.patches.motion import UNITS
from datasets.patches.selection import DEFAULT, PatchParameters
from datasets.patches.statistics import table
from datasets.sources import BadItem, Items, Part, Source, files_of, find_items, source_of
from vfijax.command import given, progress, run_main
from vfijax.media import MediaError

CACHE_BYTES = 2**30  # of decoded clips; each is needed once, and few of them again for the contact sheet


@dataclass(frozen=True)
class Args:
    """Cuts random patches from triplets, without jump cuts and preferring motion, and stores them."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR|NAME")]
    """A directory with triplets or video clips, or a data set built by python -m datasets.build."""

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The directory to make."""

    patch: Annotated[PatchParameters, tyro.conf.arg(name="")] = DEFAULT

    motion: Literal["auto", "dis", "difference"] = "auto"
    """dis: length of the mean optical flow in pixels. difference: mean absolute difference of the outer
    frames in levels of 255. auto: dis."""

    split: str = "train"
    """Split of a built data set, or train or test of Vimeo-90K's lists."""

    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the data set was built; ~/tensorflow_datasets if not given."""

    limit: int = 0
    """Take the first items only; 0 takes all."""

    workers: int = os.cpu_count() or 1
    """Threads; they do not change the patches."""

    skip_bad: bool = False
    """Leave out items that cannot be read, and count them."""

    overwrite: bool = False
    """Replace what was made with other parameters."""


def main(arguments: Sequence[str] | None = None, program: str = "python -m datasets.patches") -> int:
    """Runs the command, which help and messages call `program`; its exit status, see `run_main`."""
    options = (tyro.conf.FlagCreatePairsOff,)

    def body() -> None:
        _advised(tyro.cli(Args, prog=program, args=given(arguments), config=options))

    return run_main(program, body, interrupted="the same command goes on from here")


def _advised(args: Args) -> None:
    try:
        _run(args)
    except BadItem as error:
        raise BadItem(f"{error} (--skip-bad leaves out what cannot be used)") from error


def _run(args: Args) -> None:
    for name, least in (("limit", 0), ("workers", 1)):
        if getattr(args, name) < least:
            raise MediaError(f"--{name} is {getattr(args, name)}; give {least} or more")
    motion = "dis" if args.motion == "auto" else args.motion
    source, name = _open(args)
    print(f"{len(source):,} items of {name}; motion is measured by {motion} ({UNITS[motion]})", flush=True)
    with progress("patches") as show:
        statistics = prepare_patches(
            source,
            name,
            args.out,
            args.patch,
            motion=motion,
            workers=args.workers,
            skip_bad=args.skip_bad,
            overwrite=args.overwrite,
            progress=show,
        )
    print(table(statistics, UNITS[motion], args.patch.full_motion))
    if statistics.skipped:
        print(f"note: {len(statistics.skipped)} items left out\n{listing(statistics.skipped)}")
    print(f"{statistics.kept:,} patches in {args.out}; contact_sheet.png there shows examples")


def _open(args: Args) -> tuple[Source, str]:
    """The source, and what it is known by: data set and split, or directory and a hash of its files."""
    if args.source in BUILDERS:
        built = open_built(args.source, args.data_dir, args.split, CACHE_BYTES)
        first = Part(built, range(len(built))[: args.limit or None])
        return first, f"{args.source} ({args.split})"
    files = find_items(args.source, args.split, args.skip_bad)
    files = files[: args.limit or None]
    return source_of(files, 1, CACHE_BYTES)[0], f"{Path(args.source).resolve()} ({_fingerprint(files)})"


def _fingerprint(files: Items) -> str:
    """Changes when a file is added, removed, renamed or changes its size."""
    paths = [path for item in files for path in files_of(item)]
    text = "\n".join(f"{path} {path.stat().st_size}" for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


if __name__ == "__main__":
    sys.exit(main())
