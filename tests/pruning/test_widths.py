"""From densities to widths: the rules on the published report, joins, rounding, budgets, tables."""

import csv
import json
import math
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from vfijax.channels import ChannelGraph, Edge
from vfijax.convert.names import adacof_family
from vfijax.models import MODELS, create, narrow, shapes
from vfijax.models.adacof import COMPRESSED
from vfijax.prune import density, prune, shrink, widths
from vfijax.prune.flops import model_multiply_adds
from vfijax.prune.shrink import shrunk_shapes

REPORT = Path(__file__).parents[1] / "golden" / "adacof_density_report.csv"
GRAPH = MODELS["adacof"].graph()


def published():
    """Layer to density in the published report of the pruned AdaCoF.

    The report rounds to three digits; where that changes its own whole number int(sqrt(d) in), the
    density is the largest one that does not.
    """
    rows = {row["name"]: row for row in csv.DictReader(REPORT.read_text().splitlines())}
    densities = {}
    for edge in GRAPH.edges:
        row = rows.pop(adacof_family((*edge.path, "kernel")))
        most = ((int(row["in_sqrt"]) + 1) / int(row["in"])) ** 2 * (1 - 1e-6)
        densities[edge.name] = min(float(row["density"]), most)
        assert math.isclose(densities[edge.name], float(row["density"]), abs_tol=5e-4)
    assert not rows
    return densities


def parameters(name, table):
    """How many the model has with another table."""
    config = MODELS[name]
    return sum(leaf.size for leaf in jax.tree.leaves(shrunk_shapes(shapes(config), config.graph(), table)))


# -------------------------------------------------------------------------- the published report


@pytest.mark.parametrize(
    ("rule", "options", "adacof", "adacof_plus"),
    [
        ("paper", {}, 2_482_671, 2_592_975),
        ("paper", {"rounding": "nearest"}, 2_457_042, 2_563_026),
        ("paper", {"rounding": "floor"}, 2_419_457, 2_524_577),
        ("paper", {"policy": "min"}, 2_106_649, None),
        ("paper", {"policy": "min", "rounding": "nearest"}, 2_078_244, None),
        ("paper", {"policy": "min", "rounding": "floor"}, 2_047_845, None),
        ("sqrt", {"policy": "min"}, 4_601_545, 4_712_713),
        ("sqrt", {"policy": "max"}, 6_793_867, 6_908_491),
    ],
)
def test_the_published_densities_give_the_known_numbers_of_parameters(rule, options, adacof, adacof_plus):
    table = widths(published(), rule, graph=GRAPH, **options)
    assert parameters("adacof", table) == adacof
    if adacof_plus is not None:
        assert parameters("adacof_plus", table) == adacof_plus


def test_the_published_widths_are_a_table_of_the_user():
    table = widths(published(), COMPRESSED, graph=GRAPH)
    assert table == MODELS["compressed_adacof"].widths
    assert parameters("adacof", table) == 2_452_094
    assert parameters("adacof_plus", table) == 2_557_214


def test_the_published_widths_are_near_the_rule_of_the_paper():
    ours, theirs = widths(published(), "paper", graph=GRAPH), MODELS["compressed_adacof"].widths
    assert max(abs(ours[space] - theirs[space]) for space in theirs) <= 3
    assert (ours["level5"], ours["deconv5_2"]) == (120, 36)


# ------------------------------------------------------------------------------- a network by hand

HAND = ChannelGraph(
    {"x": 3, "a": 10, "b": 20, "y": 2},
    (
        Edge(("one",), ("x",), "a"),
        Edge(("two",), ("a",), "b"),
        Edge(("side",), ("a", "b", "a"), "b"),
        Edge(("end",), ("b",), "y"),
    ),
    fixed=frozenset("xy"),
)
SPARSE = {"one": 0.9, "two": 0.36, "side": 0.25, "end": 0.49}


@pytest.mark.parametrize(
    ("rule", "options", "a", "b"),
    [
        ("paper", {}, 4, 10),  # 3.6 and 2.5 for a; 5 and 9.8 for b
        ("paper", {"policy": "min"}, 3, 5),
        ("paper", {"rounding": "floor"}, 3, 9),
        ("paper", {"multiple": 8}, 8, 16),
        ("paper", {"multiple": 16}, 10, 16),  # never above the present width
        ("paper", {"least": 7}, 7, 10),
        ("sqrt", {}, 9, 14),  # 9.49, 6, 5 for a; 12, 10, 14 for b
        ("sqrt", {"policy": "min"}, 5, 10),
        ("sqrt", {"rounding": "ceil"}, 10, 14),
        ("uniform", {"ratio": 0.25}, 3, 5),
        ("uniform", {"ratio": 0.25, "rounding": "floor"}, 2, 5),
        ({"b": 4}, {}, 10, 4),
    ],
)
def test_rules_policies_and_roundings_on_a_network_by_hand(rule, options, a, b):
    assert dict(widths(SPARSE, rule, graph=HAND, **options)) == {"a": a, "b": b}


def test_a_density_that_is_a_round_number_of_channels_is_not_rounded_up():
    edges = (Edge(("in",), ("x",), "a"), Edge(("out",), ("a",), "y"))
    graph = ChannelGraph({"x": 1, "a": 100, "y": 1}, edges, frozenset("xy"))
    for count in range(1, 101):
        assert widths({"in": 1.0, "out": count / 100}, graph=graph)["a"] == count
        assert widths({"in": 1.0, "out": count / 100}, graph=graph, rounding="floor")["a"] == count


def test_a_layer_of_zeros_leaves_one_channel():
    assert dict(widths(dict.fromkeys(SPARSE, 0.0), graph=HAND)) == {"a": 1, "b": 1}


def test_widths_are_multiples_of_the_groups():
    edges = (*HAND.edges[:1], Edge(("two",), ("a",), "b", groups=5), *HAND.edges[2:])
    graph = ChannelGraph(HAND.widths, edges, HAND.fixed, blocks={"b": 4})
    assert dict(widths(SPARSE, graph=graph)) == {"a": 5, "b": 20}
    assert dict(widths(SPARSE | {"end": 0.1, "side": 0.1}, graph=graph, multiple=2)) == {"a": 10, "b": 20}


# ------------------------------------------------------------------------------ from the network


def sparse(name="adacof", width=8, seed=0):
    """A narrow network in which most numbers are zero, at random."""
    params = create(narrow(name, width, taps=3), seed)
    rng = np.random.default_rng(seed)

    def thin(leaf):
        return jnp.where(rng.uniform(size=leaf.shape) < rng.uniform(0.1, 0.9), leaf, 0)

    return vfijax.ModelParams(jax.tree.map(thin, params.tree), params.config)


SPARSE_MODEL = sparse()


@pytest.mark.parametrize("rule", ["paper", "sqrt"])
def test_the_network_its_report_and_its_csv_give_the_same_widths(rule, tmp_path):
    report, graph = density(SPARSE_MODEL, 32, 32), SPARSE_MODEL.config.graph()
    report.write_csv(tmp_path / "report.csv")
    expected = widths(SPARSE_MODEL, rule)
    assert widths(report, rule) == expected
    assert widths(density(SPARSE_MODEL.tree), rule, graph=graph) == expected
    assert widths(vfijax.prune.read_csv(tmp_path / "report.csv"), rule, graph=graph) == expected
    for options in ({"rule": "exact"}, {"rule": rule, "parameters": SPARSE_MODEL.size // 3}):
        assert widths(report, **options) == widths(SPARSE_MODEL, **options)
    assert set(expected) == set(SPARSE_MODEL.config.widths) and expected != SPARSE_MODEL.config.widths


def test_prune_is_widths_and_shrink():
    pruned = prune(SPARSE_MODEL, "paper", policy="min", multiple=2)
    expected = shrink(SPARSE_MODEL, widths(SPARSE_MODEL, "paper", policy="min", multiple=2))
    assert pruned.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, pruned.tree, expected.tree)


def test_fixed_spaces_stay():
    before, after = SPARSE_MODEL.config.graph(), prune(SPARSE_MODEL).config.graph()
    assert before.fixed == {"pair", "taps", "mask"}
    assert all(after.widths[space] == before.widths[space] for space in before.fixed)


# ---------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize("rule", ["paper", "sqrt", "uniform"])
@pytest.mark.parametrize("part", [0.1, 0.35, 0.8])
def test_a_budget_of_parameters_is_met_and_used(rule, part):
    model = vfijax.ModelParams(shapes(MODELS["adacof"]), MODELS["adacof"])
    budget = int(part * model.size)
    options = {"ratio": 0.5} if rule == "uniform" else {}
    found = widths_of_shapes(model, rule, parameters=budget, **options)
    assert 0.97 * budget < parameters("adacof", found) <= budget


def widths_of_shapes(model, rule, **options):
    """Widths of a full network without its numbers: kernels are drawn from published densities."""
    densities = published()
    tree = jax.tree.map(lambda leaf: np.zeros(leaf.shape, bool), model.tree)
    for edge in GRAPH.edges:
        kernel = edge.layer(tree)["kernel"].reshape(-1)
        kernel[: round(densities[edge.name] * kernel.size)] = True
    return widths(vfijax.ModelParams(tree, model.config), rule, **options)


def test_a_budget_grows_with_what_is_allowed_and_ends_at_the_full_network():
    budgets = np.linspace(0.2, 1.1, 7) * SPARSE_MODEL.size
    tables = [widths(SPARSE_MODEL, parameters=int(budget)) for budget in budgets]
    for narrower, wider in pairwise(tables):
        assert all(narrower[space] <= wider[space] for space in wider)
    assert tables[-1] == SPARSE_MODEL.config.widths


@pytest.mark.slow
def test_a_budget_of_multiply_adds_is_met_and_used():
    full = model_multiply_adds(SPARSE_MODEL, 32, 32)
    table = widths(SPARSE_MODEL, multiply_adds=full // 2, size=(32, 32), least=2)
    small = shrink(SPARSE_MODEL, table)
    assert 0.4 * full < model_multiply_adds(small, 32, 32) <= full // 2
    assert min(table.values()) >= 2


@pytest.mark.parametrize("options", [{}, {"least": 3}, {"multiple": 4}])
def test_a_budget_that_cannot_be_met_names_the_smallest_that_can(options):
    with pytest.raises(
        ValueError, match=r"a budget of 10 parameters cannot be met.* has ([\d,]+)$"
    ) as caught:
        widths(SPARSE_MODEL, parameters=10, **options)
    smallest = int(str(caught.value).split()[-1].replace(",", ""))
    assert prune(SPARSE_MODEL, parameters=smallest, **options).size == smallest


# --------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "papr"}, "rule is 'papr'; it is one of paper, sqrt, exact, uniform"),
        ({"policy": "mean"}, "policy is 'mean'; it is one of max, min"),
        ({"rounding": "up"}, "rounding is 'up'; it is one of ceil, nearest, floor"),
        ({"rule": "uniform"}, "ratio is None; uniform takes a number in"),
        ({"rule": "uniform", "ratio": 1.5}, "ratio is 1.5; uniform takes a number in"),
        ({"ratio": 0.5}, "ratio is 0.5; .* other rules take none"),
        ({"multiple": 0}, "multiple is 0; it is 1 or more"),
        ({"least": 0}, "least is 0; it is 1 or more"),
        ({"rule": "exact", "parameters": 1000}, "exact .* cannot meet a budget; leave parameters out"),
        ({"rule": "exact", "multiply_adds": 1000}, "exact .* cannot meet a budget; leave multiply-adds out"),
        (
            {"parameters": 1000, "multiply_adds": 1000},
            "parameters and multiply-adds are both given; give one budget",
        ),
        ({"rule": {"nothing": 2}}, "no channel space nothing; there are conv1_0"),
        ({"rule": {"level5": 9}}, "level5 is 9; give a whole number from 1 to 8"),
    ],
)
def test_mistakes_in_the_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        widths(SPARSE_MODEL, **options)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (SPARSE, {}, r"give graph=config.graph\(\)"),
        (SPARSE, {"graph": HAND, "rule": "exact"}, "exact looks at single channels; give the network"),
        (SPARSE, {"graph": HAND, "parameters": 9}, "a budget needs the network as source"),
        ({"one": 1.0}, {"graph": HAND}, "the densities lack two, side, end; they are of another network"),
    ],
)
def test_densities_alone_do_not_do_for_everything(source, options, message):
    with pytest.raises(ValueError, match=message):
        widths(source, **options)


def test_a_table_comes_from_a_json_file(tmp_path):
    file = tmp_path / "table.json"
    file.write_text(json.dumps({"level5": 3, "conv1_0": 2}))
    expected = SPARSE_MODEL.config.widths.replace({"level5": 3, "conv1_0": 2})
    assert widths(SPARSE_MODEL, file) == widths(SPARSE_MODEL, str(file)) == expected


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON file"), ("[1]", "give one object")])
def test_a_damaged_table_is_refused(tmp_path, text, message):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        widths(SPARSE_MODEL, tmp_path / "table.json")
