"""`vfijax prune`: a narrower network from the densities of a sparse one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table

from vfijax.channels import ChannelGraph, Widths
from vfijax.checkpoint import check_target, load, save
from vfijax.command import print_table, unused
from vfijax.files import IMAGE_SUFFIXES
from vfijax.media import write_image
from vfijax.models.base import graph_of
from vfijax.prune import DensityReport, density, shrink, summary, widths
from vfijax.weights.resolve import try_it


@dataclass(frozen=True)
class Args:
    """Removes channels from a network: density of every layer, widths by a rule, the narrower network.

    The rules, the budget and the choice of channels are explained in docs/pruning.md. What comes out must be
    trained again, unless the rule was exact; `python -m train.compress` does all of it.
    """

    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]
    """The network, best after training with an l1 penalty: a checkpoint, or a name such as `adacof_sparse`
    under which `vfijax fetch` got it."""

    out: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="OUT")] = None
    """The directory to write; not needed with --report-only."""

    rule: Literal["paper", "sqrt", "exact", "uniform"] = "paper"
    """How many channels stay: density times channels (paper, CDFI); its square root at both ends (sqrt,
    CDFI's released report); all that the output depends on (exact); the same part everywhere (uniform)."""

    widths: Annotated[Path | None, tyro.conf.arg(metavar="FILE.json")] = None
    """Your own table instead of a rule: {"space": width, ...}; spaces left out keep their width."""

    ratio: Annotated[float | None, tyro.conf.arg(metavar="R")] = None
    """With --rule uniform: the part of the channels that stays, in (0, 1]."""

    policy: Literal["max", "min"] = "max"
    """Where layers that share channels disagree: the most or the fewest."""

    rounding: Literal["ceil", "nearest", "floor"] | None = None
    """To whole channels; the rule's own (floor for sqrt, else ceil) if not given."""

    multiple: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Round widths up to a multiple of N, never above the present width; 8 or 16 suit GPUs."""

    least: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Keep at least N channels everywhere."""

    parameters: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """A budget: scale what the rule keeps to at most N parameters."""

    multiply_adds: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """A budget: scale what the rule keeps to at most N multiply-adds for a frame of --size, such as 50e9."""

    init: Literal["slice", "fresh"] = "slice"
    """Keep the weights of the strongest channels, or draw new ones."""

    seed: int = 0
    """Of --init fresh."""

    size: Annotated[str, tyro.conf.arg(metavar="HxW")] = "720x1280"
    """Height and width of the frames for which multiply-adds, time and memory are told."""

    measure: bool = False
    """Run both networks at --size, for time and memory."""

    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv")] = None
    """Write the densities as a table for programs."""

    picture: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None
    """Draw the densities, a bar for every layer."""

    report_only: bool = False
    """Tell the densities and the widths of the rule, and write no network."""

    overwrite: bool = False
    """Replace what is there of OUT and of the files of --csv and --picture."""


def run(args: Args) -> None:
    size = _check(args)
    params = load(args.checkpoint)
    report = density(params, *size)
    if args.out is not None:
        table = _table(args, report, size)  # what cannot be done is said before all else
        _tell_densities(args, report)
    else:
        _tell_densities(args, report)
        try:
            graph_of(params.config)
        except ValueError as error:  # densities need no graph
            print(f"no widths: {error}")
            return
        table = _table(args, report, size)
    print_table(_widths_table(graph_of(params.config), table))
    small = shrink(params, table, args.init, args.seed)
    print_table(summary(params, small, *size, measure=args.measure).table())
    if args.out is None:
        return
    save(args.out, small, **_notes(args))
    print(f"written to {args.out}; try it with")
    print(try_it(small.config, args.out))


def _tell_densities(args: Args, report: DensityReport) -> None:
    print_table(report.table())
    if args.csv is not None:
        report.write_csv(args.csv)
        print(f"densities in {args.csv}")
    if args.picture is not None:
        write_image(args.picture, report.picture())
        print(f"picture in {args.picture}")


def _table(args: Args, report: DensityReport, size: tuple[int, int]) -> Widths:
    options = _rule_options(args)
    if args.multiply_adds is not None:
        options["multiply_adds"] = int(args.multiply_adds)
    return widths(report, args.widths or args.rule, size=size, **options)


def _check(args: Args) -> tuple[int, int]:
    """Everything that can be wrong with the options alone, before any work; height and width."""
    if args.out is None and not args.report_only:
        raise ValueError("OUT is missing: name the directory to write, or give --report-only")
    if args.out is not None and args.report_only:
        raise ValueError("--report-only writes no network; leave OUT away")
    if args.out is not None:
        check_target(args.out)
    unused(*filter(None, (args.out, args.csv, args.picture)), overwrite=args.overwrite)
    if args.picture is not None and args.picture.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"--picture {args.picture}: give a name that ends in {', '.join(IMAGE_SUFFIXES)}")
    for option, path in (("csv", args.csv), ("picture", args.picture)):
        if path is not None and not path.absolute().parent.is_dir():
            raise ValueError(f"--{option} {path}: there is no folder {path.parent}")
    ruled = [f"--{name.replace('_', '-')}" for name in _rule_options(args)]
    if args.widths is not None and ruled:
        raise ValueError(f"--widths is the whole table; leave out {', '.join(ruled)}")
    found = re.fullmatch(r"(\d+)x(\d+)", args.size)
    if found is None or min(int(side) for side in found.groups()) < 2:
        raise ValueError(f"--size is {args.size}; give height and width in pixels, such as 720x1280")
    return int(found[1]), int(found[2])


def _rule_options(args: Args) -> dict[str, Any]:
    """The options given that only a rule can follow."""
    names = ("ratio", "policy", "rounding", "multiple", "least", "parameters", "multiply_adds")
    given = {field.name: getattr(args, field.name) for field in fields(Args) if field.name in names}
    # the defaults of Args are those of `widths`
    return {name: value for name, value in given.items() if value != getattr(Args, name)}


def _widths_table(graph: ChannelGraph, table: Mapping[str, int]) -> Table:
    shown = Table(title="Channels", title_justify="left")
    shown.add_column("space")
    for column in ("before", "after", "kept"):
        shown.add_column(column, justify="right")
    for space, after in table.items():
        before = graph.widths[space]
        shown.add_row(space, str(before), str(after), f"{after / before:.0%}")
    return shown


def _notes(args: Args) -> dict[str, Any]:
    """Where the network comes from, for its config.json."""
    rule = {"widths": args.widths.name} if args.widths is not None else {"rule": args.rule}
    return {"pruned_from": args.checkpoint.name, **rule, **_rule_options(args), "init": args.init}
