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

import numpy as np
import tyro

from datasets.builders.base import listing
from datasets.builders.built import BUILDERS, open_built
from datasets.patches.cache import prepare_patches
from datasets.patches.motion import UNITS
from datasets.patches.selection import DEFAULT, PatchParameters
from datasets.patches.statistics import table
from datasets.sources import BadItem, ClipSource, Items, Source, TripletSource, files_of, find_items
from vfijax.command import progress as progress_bar
from vfijax.media import MediaError, Triplet

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


@dataclass(frozen=True)
class _First:
    """The first items of a source."""

    source: Source
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return self.source[index]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 for errors, 2 for wrong usage, 130 for Ctrl-C."""
    program = "python -m datasets.patches"
    args = tyro.cli(Args, prog=program, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        return _run(args)
    except (ValueError, OSError) as error:
        if os.environ.get("VFIJAX_DEBUG"):
            raise
        advice = " (--skip-bad leaves out what cannot be used)" if isinstance(error, BadItem) else ""
        print(f"datasets.patches: error: {error}{advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("datasets.patches: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _run(args: Args) -> int:
    for name, least in (("limit", 0), ("workers", 1)):
        if getattr(args, name) < least:
            raise MediaError(f"--{name} is {getattr(args, name)}; give {least} or more")
    motion = "dis" if args.motion == "auto" else args.motion
    source, name = _open(args)
    print(f"{len(source):,} items of {name}; motion is measured by {motion} ({UNITS[motion]})", flush=True)
    with progress_bar("patches") as show:
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
    return 0


def _open(args: Args) -> tuple[Source, str]:
    """The source, and what it is known by: data set and split, or directory and a hash of its files."""
    if args.source in BUILDERS:
        built = open_built(args.source, args.data_dir, args.split, CACHE_BYTES)
        return _limited(built, args.limit), f"{args.source} ({args.split})"
    files = find_items(args.source, args.split, args.skip_bad)
    files = files[: args.limit or None]
    return _source(files), f"{Path(args.source).resolve()} ({_fingerprint(files)})"


def _source(files: Items) -> Source:
    triplets = [file for file in files if isinstance(file, Triplet)]
    if triplets:
        return TripletSource(triplets, least=1)
    return ClipSource([file for file in files if isinstance(file, Path)], 1, CACHE_BYTES)


def _limited(source: Source, limit: int) -> Source:
    return _First(source, min(limit, len(source))) if limit else source


def _fingerprint(files: Items) -> str:
    """Changes when a file is added, removed, renamed or changes its size."""
    paths = [path for item in files for path in files_of(item)]
    text = "\n".join(f"{path} {path.stat().st_size}" for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


if __name__ == "__main__":
    sys.exit(main())
