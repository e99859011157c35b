"""From densities to a table of widths: named rules, joins, rounding and budgets (docs/pruning.md)."""

import functools
import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from vfijax.channels import ChannelGraph, Edge, Widths
from vfijax.files import given_path
from vfijax.models.base import graph_of
from vfijax.params import ModelParams
from vfijax.prune.density import DensityReport, density
from vfijax.prune.flops import model_multiply_adds
from vfijax.prune.shrink import check_widths, shrunk_shapes
from vfijax.prune.strength import alive

Rule = Literal["paper", "sqrt", "exact", "uniform"]
Policy = Literal["max", "min"]
Rounding = Literal["ceil", "nearest", "floor"]
Source = ModelParams | DensityReport | Mapping[str, float]
Fractions = dict[str, float]  # space: the part of its channels to keep

# name: rounding, unless the user names one. The rules themselves are in `_fractions`.
RULES: dict[str, Rounding] = {"paper": "ceil", "sqrt": "floor", "exact": "ceil", "uniform": "ceil"}

# A density such as 0.07 times 100 channels is 7 and not a rounding error more.
_ROUND: dict[str, Callable[[float], int]] = {
    "ceil": lambda x: math.ceil(x - 1e-9),
    "nearest": lambda x: math.floor(x + 0.5),
    "floor": lambda x: math.floor(x + 1e-9),
}


def widths(
    source: Source,
    rule: Rule | Mapping[str, int] | str | os.PathLike[str] = "paper",
    *,
    graph: ChannelGraph | None = None,
    policy: Policy = "max",
    rounding: Rounding | None = None,
    ratio: float | None = None,
    multiple: int = 1,
    least: int = 1,
    parameters: int | None = None,
    multiply_adds: int | None = None,
    size: tuple[int, int] = (720, 1280),
) -> Widths:
    """A width for every channel space of a network that may change.

    With d the density of a layer's kernel and C the channels of a space, the rules keep

      "paper": d C for the layer that reads the space (CDFI, section 3.1);
      "sqrt": sqrt(d) C for every layer that reads or writes it (the report of CDFI's released code);
      "exact": the channels that are not dead (`vfijax.prune.strength.alive`); the output stays the same;
      "uniform": `ratio` C.

    Args:
      source: a network or its report, or the densities of one: layer name to density as `read_csv` makes
        them. Densities alone need `graph`, and allow neither "exact" nor a budget.
      rule: a name from `RULES`; or a user's table from space to width, as a mapping or a JSON file, which
        is taken as it is (spaces left out keep their width, and no other option applies).
      graph: the channel graph, where `source` is not the network, or another is meant.
      policy: at a space that several layers read (or write), take the largest or the smallest proposal.
      rounding: "ceil", "nearest" or "floor"; floor for "sqrt" and ceil for the others if not given.
      ratio: in (0, 1], for "uniform".
      multiple: round widths up to a multiple of this number (8 or 16 suit GPUs), at most to the present
        width.
      least: no space gets narrower than this.
      parameters: a budget. All parts that the rule keeps are multiplied by one number, the largest for
        which the network has at most so many parameters; a part is at most 1. Widths never fall as that
        number grows, and the number is found by bisection.
      multiply_adds: the same, for the multiply-adds of a pair of frames of `size`.
      size: height and width of the frames for `multiply_adds`.

    Returns:
      The table, without fixed spaces; `vfijax.prune.shrink` takes it.

    Raises:
      ValueError: options that are unknown or do not go together, a table that does not fit, or a budget
        that even the narrowest network exceeds (the message says by how much).
    """
    params = _network(source)
    if graph is None:
        if params is None:
            raise ValueError("widths: densities do not tell the channel graph; give graph=config.graph()")
        graph = graph_of(params.config)
    if not isinstance(rule, str) or rule.endswith(".json"):
        table = rule if isinstance(rule, Mapping) else read_table(rule)
        return Widths.of({**_present(graph), **check_widths(graph, table)})
    budgets = {"parameters": parameters, "multiply_adds": multiply_adds}
    given = {name: budget for name, budget in budgets.items() if budget is not None}
    _check_options(rule, policy, rounding, ratio, multiple, least)
    _check_budgets(rule, [name.replace("_", "-") for name in given])
    fractions = _fractions(source, graph, rule, policy, ratio)
    in_steps = _ROUND[rounding or RULES[rule]]

    def scaled(factor: float) -> Widths:
        return Widths.of(
            {
                space: _width(in_steps(min(1.0, factor * part) * full), full, least, step)
                for space, part in fractions.items()
                for full, step in [(graph.widths[space], math.lcm(multiple, graph.block_count(space)))]
            }
        )

    if not given:
        return scaled(1.0)
    if params is None:
        raise ValueError("widths: a budget needs the network as source; its densities do not tell its size")
    [(name, budget)] = given.items()
    top = 1 / min((part for part in fractions.values() if part > 0), default=1.0)
    return _within(budget, name.replace("_", "-"), _cost(params, graph, name, size), scaled, top)


def read_table(path: str | os.PathLike[str]) -> dict[str, int]:
    """A user's table from a JSON file: one object from channel space to width."""
    file = given_path(path, "widths")
    try:
        table = json.loads(file.read_text())
    except ValueError:
        raise ValueError(f"{os.fspath(path)} is no JSON file") from None
    if not isinstance(table, dict):
        raise ValueError(f"{os.fspath(path)}: give one object from channel space to width, {{...}}")
    return table


def _network(source: Source) -> ModelParams | None:
    known = source.params if isinstance(source, DensityReport) else source
    return known if isinstance(known, ModelParams) else None


def _present(graph: ChannelGraph) -> dict[str, int]:
    return {space: graph.widths[space] for space in graph.free}


def _width(wanted: int, full: int, least: int, step: int) -> int:
    return min(full, math.ceil(max(wanted, least, 1) / step) * step)


def _check_options(
    rule: str, policy: str, rounding: str | None, ratio: float | None, multiple: int, least: int
) -> None:
    choices = {"rule": (rule, RULES), "policy": (policy, ("max", "min"))}
    choices["rounding"] = (rounding or RULES.get(rule, "ceil"), tuple(_ROUND))
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"widths: {name} is {value!r}; it is one of {', '.join(known)}")
    if (rule == "uniform") != (ratio is not None) or (ratio is not None and not 0 < ratio <= 1):
        raise ValueError(f"widths: ratio is {ratio}; uniform takes a number in (0, 1], other rules take none")
    for name, number in (("multiple", multiple), ("least", least)):
        if number < 1:
            raise ValueError(f"widths: {name} is {number}; it is 1 or more")


def _check_budgets(rule: str, given: list[str]) -> None:
    if len(given) > 1:
        raise ValueError(f"widths: {' and '.join(given)} are both given; give one budget")
    if given and rule == "exact":
        raise ValueError(
            f"widths: the rule exact removes what the output does not need and nothing else, so that it "
            f"cannot meet a budget; leave {given[0]} out, or take another rule"
        )


def _fractions(
    source: Source, graph: ChannelGraph, rule: str, policy: Policy, ratio: float | None
) -> Fractions:
    """The part of every free space that a rule keeps, before rounding."""
    if rule == "uniform":
        assert ratio is not None
        return dict.fromkeys(graph.free, ratio)
    if rule == "exact":
        params = _network(source)
        if params is None:
            raise ValueError("widths: exact looks at single channels; give the network, not its densities")
        living = alive(params.tree, graph)
        return {space: _fullest(living[space], graph.block_count(space)) for space in graph.free}
    proposals: dict[str, list[float]] = {space: [] for space in graph.free}
    for edge, part in _densities(source, graph).items():
        joined = {*edge.inputs} if rule == "paper" else {*edge.inputs, edge.output}
        for space in joined & proposals.keys():
            proposals[space].append(part if rule == "paper" else math.sqrt(part))
    choose = max if policy == "max" else min
    return {space: choose(parts, default=1.0) for space, parts in proposals.items()}


def _fullest(living: np.ndarray, blocks: int) -> float:
    """The part of its channels that the fullest block needs; all blocks of a space keep as many."""
    return float(living.reshape(blocks, -1).mean(axis=1).max())


def _densities(source: Source, graph: ChannelGraph) -> dict[Edge, float]:
    """The part of every kernel that is not zero."""
    mixing = [edge for edge in graph.edges if edge.inputs]
    if isinstance(source, ModelParams):
        source = density(source.tree)
    densities = source.densities if isinstance(source, DensityReport) else source
    missing = [edge.name for edge in mixing if edge.name not in densities]
    if missing:
        raise ValueError(f"widths: the densities lack {', '.join(missing)}; they are of another network")
    return {edge: densities[edge.name] for edge in mixing}


def _cost(
    params: ModelParams, graph: ChannelGraph, what: str, size: tuple[int, int]
) -> Callable[[Widths], int]:
    """The parameters or multiply-adds of the network as a function of its table; nothing is computed."""

    @functools.cache
    def cost(table: Widths) -> int:
        config = params.config.replace(widths=params.config.widths.replace(table))
        narrower = ModelParams(shrunk_shapes(params.tree, graph, table), config)
        return narrower.size if what == "parameters" else model_multiply_adds(narrower, *size)

    return cost


def _within(
    budget: int, name: str, cost: Callable[[Widths], int], scaled: Callable[[float], Widths], top: float
) -> Widths:
    """The widest table of the family `scaled` that costs at most `budget`."""
    if cost(scaled(top)) <= budget:
        return scaled(top)
    smallest = cost(scaled(0.0))
    if smallest > budget:
        raise ValueError(
            f"widths: a budget of {budget:,} {name} cannot be met; the narrowest network that the other "
            f"options allow has {smallest:,}"
        )
    low, high = 0.0, top
    while high - low > 1e-6 * top and scaled(low) != scaled(high):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(scaled(middle)) <= budget else (low, middle)
    return scaled(low)
