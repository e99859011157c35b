"""Compares two files of results, ratio by ratio, and fails where the newer one is slower.

python -m benchmarks.compare benchmarks/baseline.json benchmarks/results/NEW.json --factor 1.2

Only ratios are compared: absolute times depend on the machine and on its load. Every ratio that the
old file has in a group which the new run measured must be in the new file.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.results import Results, load
from vfijax.command import given, run_main


@dataclass(frozen=True)
class Args:
    """Fails where a ratio grew by more than a factor."""

    old: tyro.conf.Positional[Path]
    """results to compare with, such as benchmarks/baseline.json"""
    new: tyro.conf.Positional[Path]
    """results to judge"""
    factor: float = 1.2
    """how much a ratio may grow"""


@dataclass(frozen=True)
class Change:
    """One ratio in both files; `new` is None where it was not measured again."""

    row: str
    against: str
    old: float
    new: float | None

    def slower(self, factor: float) -> bool:
        return self.new is None or self.new > factor * self.old


def changes(old: Results, new: Results) -> list[Change]:
    """Every ratio of the old results that the new ones should have.

    Raises:
      ValueError: nothing can be compared: other kinds of device, or no group in common.
    """
    kinds = [results.environment["device"].split(":")[0] for results in (old, new)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"results of a {kinds[0]} and of a {kinds[1]} cannot be compared")
    measured = {(row.name, peer): r.value for row in new.rows for peer, r in row.ratios.items()}
    found = [
        Change(row.name, peer, r.value, measured.get((row.name, peer)))
        for row in old.rows
        if row.group in new.groups
        for peer, r in row.ratios.items()
    ]
    if not found:
        raise ValueError(
            f"nothing to compare: one file has {', '.join(old.groups)}, the other {', '.join(new.groups)}"
        )
    return found


def describe(change: Change, factor: float) -> str:
    what = f"{change.row} / {change.against}: {change.old:.2f}"
    if change.new is None:
        return f"GONE    {what}, not measured in the new results"
    verdict = "SLOWER" if change.slower(factor) else "ok"
    return f"{verdict:7} {what} -> {change.new:.2f} ({change.new / change.old:.2f}x)"


def main(arguments: Sequence[str] | None = None) -> int:
    """0: no ratio grew by more than the factor. 1: some did, or are gone, or cannot be compared."""
    return run_main(
        "benchmarks", lambda: _run(tyro.cli(Args, prog="benchmarks.compare", args=given(arguments)))
    )


def _run(args: Args) -> int:
    if not args.factor > 0:
        raise ValueError(f"--factor is {args.factor}; give a positive number")
    found = changes(load(args.old), load(args.new))
    for change in found:
        print(describe(change, args.factor))
    worse = [change for change in found if change.slower(args.factor)]
    if worse:
        print(f"{len(worse)} of {len(found)} ratios grew by more than {args.factor:g}x or are gone")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
