"""Measures speed and memory.

python -m benchmarks.run                                        everything, into benchmarks/results/
python -m benchmarks.run models --quick                         a few rounds of one group
python -m benchmarks.run all --out benchmarks/baseline.json     what later runs are compared with
python -m benchmarks.run --markdown benchmarks/baseline.json    the tables of a stored run
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks import data, deform, dsepconv, models, ops, sepconv, training, video, zooming
from benchmarks.measure import FULL, QUICK, Plan, Row
from benchmarks.results import (
    ROOT,
    Results,
    busy,
    environment,
    load,
    markdown,
    row_lines,
    save,
    targets_table,
)
from vfijax.command import given, run_main

GROUPS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "ops": lambda plan: chain(*(part.rows(plan) for part in (ops, sepconv, dsepconv, deform))),
    "models": lambda plan: chain(models.rows(plan), zooming.rows(plan)),
    "train": training.rows,
    "data": data.rows,
    "video": video.rows,
}


@dataclass(frozen=True)
class Args:
    """Measures speed and memory; see docs/performance.md."""

    group: tyro.conf.Positional[Literal["ops", "models", "train", "data", "video", "all"]] = "all"
    """what to measure"""
    out: Path | None = None
    """file of the results; by default a new one in benchmarks/results"""
    quick: bool = False
    """a few rounds: shows that everything runs, measures little"""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """print the tables of stored results and measure nothing"""


def main(arguments: Sequence[str] | None = None) -> int:
    def body() -> None:
        return _run(tyro.cli(Args, prog="benchmarks.run", args=given(arguments)))

    return run_main("benchmarks", body, interrupted="nothing was written")


def _run(args: Args) -> None:
    if args.markdown:
        print(markdown(load(args.markdown)))
    else:
        measure(args)


def measure(args: Args) -> None:
    """Runs groups of rows, prints each row as it comes, and writes the results."""
    groups = list(GROUPS) if args.group == "all" else [args.group]
    out = args.out or _default_out(args)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}")
    plan, rows, surroundings = QUICK if args.quick else FULL, [], environment()
    if warning := busy(surroundings):
        print(f"benchmarks: {warning}", file=sys.stderr)
    for group in groups:
        for row in GROUPS[group](plan):
            rows.append(row)
            print("\n".join(row_lines(row)), flush=True)
            for peer, reason in row.left_out.items():
                print(f"  {peer}: left out, {reason}", flush=True)
    results = Results(surroundings, groups, rows)
    save(out, results)
    print(f"\n{targets_table(results)}\n\nwritten to {out}")


def _default_out(args: Args) -> Path:
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    quick = "-quick" if args.quick else ""
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{args.group}{quick}.json"


if __name__ == "__main__":
    sys.exit(main())
