"""The command that builds data sets from what was downloaded and extracted by hand.

python -m datasets.build --list
python -m datasets.build vimeo90k_triplet --manual-dir DOWNLOADS --data-dir DATA
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tensorflow_datasets as tfds
import tyro

from datasets.builders.base import Counts, FrameBuilder, errors_only, listing
from datasets.builders.built import BUILDERS, DataDir, open_builder
from vfijax.command import Progress, given, progress, run_main
from vfijax.media import MediaError


@dataclass(frozen=True)
class Built:
    """A data set that has been built.

    Attributes:
      name: of the data set.
      directory: where its files are.
      counts: what each split holds.
      published: what each split of the complete data holds, as far as that is published.
      skipped: a message for each thing that was wrong with the items left out.
      was_there: it had been built before.
    """

    name: str
    directory: Path
    counts: dict[str, Counts]
    published: dict[str, Counts]
    skipped: list[str]
    was_there: bool

    def differences(self) -> list[str]:
        """A line for each published count that is not met."""
        return [
            f"{split} has {self.counts[split].get(unit, 0):,} {unit}, published are {count:,}: scores are "
            "not comparable with published ones"
            for split, counts in self.published.items()
            for unit, count in counts.items()
            if split in self.counts and self.counts[split].get(unit) != count
        ]


def build(
    name: str,
    manual_dir: str | os.PathLike[str],
    data_dir: DataDir = None,
    *,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Built:
    """Builds a data set, unless it is there already.

    It appears under its name when it is complete, and only then; what an earlier attempt left behind
    is removed.

    Args:
      name: one of `BUILDERS`.
      manual_dir: where the downloaded files were extracted to.
      data_dir: where to build it; None for TFDS's own place, ~/tensorflow_datasets.
      skip_bad: leave out items with missing or bad files instead of raising, and count them.
      overwrite: build it again if it is there. The old one is removed when the new one is complete.
      progress: called with the number of items read and of all items.

    Raises:
      MediaError: unknown name, a wrong layout, or files that are missing, corrupt or of a wrong size;
        the first twenty are named.
    """
    builder = open_builder(name, data_dir)
    if builder.is_prepared() and not overwrite:
        return _described(builder, was_there=True)
    if not Path(manual_dir).is_dir() or not any(Path(manual_dir).iterdir()):
        kind = "is empty" if Path(manual_dir).is_dir() else "no such directory"
        raise MediaError(f"{manual_dir}: {kind}; it must hold the extracted files of {name}")
    target, root = Path(builder.data_path), Path(builder.data_dir_root)
    work = root / f".{name}.partial"
    shutil.rmtree(work, ignore_errors=True)  # of a build that was killed
    try:
        _generate(name, work, manual_dir, skip_bad, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        (work / name / target.name).rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _described(open_builder(name, data_dir), was_there=False)


def _generate(
    name: str,
    work: Path,
    manual_dir: str | os.PathLike[str],
    skip_bad: bool,
    progress: Progress | None,
) -> None:
    """Builds into a directory of its own, since TFDS removes an old one before the new one is there."""
    builder = open_builder(name, work)
    builder.skip_bad = skip_bad
    if progress:
        builder.progress = progress
    tfds.disable_progress_bar()
    # TFDS wants a place for downloads, though there are none, and prints what is said here better.
    quiet = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as downloads, quiet, errors_only():
        config = tfds.download.DownloadConfig(manual_dir=os.path.abspath(manual_dir))
        builder.download_and_prepare(download_dir=downloads, download_config=config)


def _described(builder: FrameBuilder, was_there: bool) -> Built:
    metadata = builder.info.metadata
    return Built(
        name=builder.name,
        directory=Path(builder.data_dir),
        counts=dict(metadata["counts"]),
        published=dict(builder.PUBLISHED),
        skipped=list(metadata["skipped"]),
        was_there=was_there,
    )


@dataclass(frozen=True)
class Args:
    """Builds a data set from files that were downloaded and extracted by hand."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ""
    """The data set; --list shows them."""

    manual_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the downloaded files were extracted to."""

    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where to build it; ~/tensorflow_datasets if not given."""

    skip_bad: bool = False
    """Leave out items with missing, corrupt or wrongly sized files, and count them."""

    overwrite: bool = False
    """Build it again if it is there."""

    list: bool = False
    """Show the data sets, where to get them and how they must lie."""


def main(arguments: Sequence[str] | None = None, program: str = "python -m datasets.build") -> int:
    """Runs the command, which help and messages call `program`; its exit status, see `run_main`."""
    options = (tyro.conf.FlagCreatePairsOff,)

    def body() -> None:
        _run(tyro.cli(Args, prog=program, args=given(arguments), config=options))

    return run_main(program, body, lines=True)


def _run(args: Args) -> None:
    if args.list:
        print("\n\n".join(_about(name) for name in BUILDERS))
        return
    if not args.name:
        raise MediaError(f"give the name of a data set, one of {', '.join(BUILDERS)}")
    if args.manual_dir is None:
        args = replace(args, manual_dir=_needless(args))
    assert args.manual_dir is not None
    with progress(args.name) as show:
        built = build(
            args.name,
            args.manual_dir,
            args.data_dir,
            skip_bad=args.skip_bad,
            overwrite=args.overwrite,
            progress=show,
        )
    print(_report(built))


def _needless(args: Args) -> Path:
    """No manual directory is needed for what is there already; else it is said what it must hold."""
    builder = open_builder(args.name, args.data_dir)
    if builder.is_prepared() and not args.overwrite:
        return Path()
    raise MediaError(f"give --manual-dir DIR.\n{_about(args.name)}")


def _about(name: str) -> str:
    builder = BUILDERS[name]
    instructions = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
    published = "; ".join(f"{split} {_counts(counts)}" for split, counts in builder.PUBLISHED.items())
    lines = [builder.ABOUT, instructions, f"Complete: {published}." if published else ""]
    return "\n".join([name, *(f"  {line}" for line in [*lines, f"Licence: {builder.LICENSE}"] if line)])


def _report(built: Built) -> str:
    state = "is built already; --overwrite builds it again" if built.was_there else "built"
    lines = [f"{built.name} {state}: {built.directory}"]
    lines += [f"  {split}: {_counts(counts)}" for split, counts in built.counts.items()]
    lines += [f"note: {line}" for line in built.differences()]
    if built.skipped:
        lines += [f"note: left out because of {len(built.skipped)} problem(s)", listing(built.skipped)]
    return "\n".join(lines)


def _counts(counts: Counts) -> str:
    return ", ".join(f"{count:,} {unit}" for unit, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
