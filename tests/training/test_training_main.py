import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tests.data.dummy import moving_frames, write_frames
from tests.training.tiny import CONFIG
from train import ablation, compress, loop
from train import main as command
from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig, TrainConfig, TrainError, check
from train.flags import choose
from train.main import main, parse
from train.presets import NO_NET, PRESETS
from train.state import initial_params
from vfijax.channels import Widths
from vfijax.checkpoint import load, save
from vfijax.losses import LossWeights
from vfijax.models import MODELS, create, narrow

NARROW = MODELS["adacof"].replace(widths=Widths.of(dict.fromkeys(MODELS["adacof"].widths, 8)))
TINY = TrainConfig(
    net=CONFIG.net,
    steps=2,
    losses=LossWeights(smoothness=0.01),
    data=DataConfig(crop=32, batch=4),
    optim=OptimConfig(lr=5e-3),
    eval=EvalConfig(limit=2, crop=32),
    log=LogConfig(pictures=1),
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, a preset `tiny`, and a terminal too wide to break messages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("VFIJAX_DEBUG", raising=False)
    return tmp_path


def test_every_trainable_model_has_a_valid_preset_of_its_own():
    assert MODELS.keys() - PRESETS.keys() == {name for name in MODELS if not MODELS[name].learned}
    for name, config in PRESETS.items():
        check(config if config.net != NO_NET else replace(config, net=NARROW))
        assert name not in MODELS or config.net.name == name == choose(name, None).net.name
        assert config.net == NO_NET or config.net.graph() == MODELS[config.net.name].graph()


def test_a_recipe_without_a_network_wants_one_named(monkeypatch):
    monkeypatch.setitem(PRESETS, "recipe", replace(PRESETS["sepconv_l1"], net=NO_NET))
    with pytest.raises(TrainError, match="'recipe' is the recipe of a network that is not here"):
        choose(None, "recipe")
    assert choose("cdfi", "recipe") == replace(PRESETS["sepconv_l1"], net=MODELS["cdfi"])


def test_a_preset_keeps_what_it_says_of_its_own_network():
    assert MODELS["sepconv_kth"].padding == "paper"
    for chosen in (choose("sepconv_kth", None), choose("sepconv_kth", "sepconv_replication")):
        assert chosen.net == MODELS["sepconv_kth"].replace(padding="improved")


def test_kernels_can_start_orthogonal():
    net = narrow("sepconv_kth", 8)
    started = initial_params(replace(TINY, net=net, start="orthogonal"))[0]
    plain = initial_params(replace(TINY, net=net, start="published"))[0]
    again = initial_params(replace(TINY, net=net, start="orthogonal"))[0]
    kernels = dict(jax.tree_util.tree_leaves_with_path(started.tree))
    for path, leaf in jax.tree_util.tree_leaves_with_path(plain.tree):
        if path[-1].key == "bias":
            np.testing.assert_array_equal(kernels[path], leaf)
            continue
        matrix = np.asarray(kernels[path]).reshape(-1, leaf.shape[-1])
        matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        np.testing.assert_allclose(matrix.T @ matrix, 2 * np.eye(matrix.shape[1]), atol=1e-5)
    assert len({np.asarray(kernels[p]).tobytes() for p in kernels if p[-1].key == "kernel"}) > 20
    assert all(map(np.array_equal, *map(jax.tree.leaves, (started, again))))


def test_flags_change_the_preset_of_the_model(here):
    flags = "--net.taps 5 --net.dilation 1 --data clips --optim.lr 1e-4 --losses.smoothness 0 --steps 7"
    config, out, resume = parse(["--model", "cdfi", *flags.split()])
    assert config.net == MODELS["cdfi"].replace(taps=5, dilation=1)
    assert (config.data.source, config.optim.lr, config.losses.smoothness, config.steps) == (
        "clips",
        1e-4,
        0,
        7,
    )
    assert config.optim.halve_every == PRESETS["cdfi"].optim.halve_every
    assert (str(out), resume) == ("runs/cdfi-1", False)


def test_a_preset_can_train_another_model():
    assert choose("cdfi", "demo") == replace(PRESETS["demo"], net=MODELS["cdfi"])


@pytest.fixture
def small(here):
    """A checkpoint of adacof with widths of its own."""
    save("small", create(NARROW.replace(widths=NARROW.widths.replace({"level5": 5})), 3))
    return load("small")


def test_the_network_of_a_checkpoint_is_trained_from_fresh_parameters(small):
    config, out, _ = parse(["--net-from", "small", "--steps", "9"])
    assert config == replace(PRESETS["adacof"], net=small.config, net_from="small", steps=9)
    assert str(out) == "runs/adacof-1"
    params, note = initial_params(replace(config, start="published"))
    fresh = create(small.config, 0)
    assert params.config == small.config and note == ""
    assert all(map(np.array_equal, *map(jax.tree.leaves, (params.tree, fresh.tree))))


def test_the_network_of_a_checkpoint_takes_a_recipe_flags_and_parameters(small):
    arguments = ["--net-from=small", "--preset", "sepconv_l1", "--init-from", "small", "--net.dilation", "2"]
    config, _, _ = parse(arguments)
    assert config.losses == PRESETS["sepconv_l1"].losses
    assert config.net == small.config.replace(dilation=2)
    params, note = initial_params(config)
    count = len(jax.tree.leaves(small))
    assert f"{count} of {count} arrays agree" in note
    assert all(map(np.array_equal, *map(jax.tree.leaves, (params.tree, small.tree))))


def test_parameters_of_other_widths_name_the_way_to_their_network(small):
    _, note = initial_params(replace(TINY, net=NARROW, init_from="small"))
    assert "arrays agree; fresh: " in note
    assert note.endswith("it holds adacof of other widths or settings, --net-from small trains that")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--net-from small --model cdfi", "--net-from small holds adacof, not cdfi; leave --model away"),
        ("--net-from nowhere", "nowhere (no config.json)"),
        ("--net-from blend", "no preset for model 'blend'"),
    ],
)
def test_a_checkpoint_whose_network_cannot_be_trained_is_one_line(small, here, capsys, flags, message):
    save("blend", create("blend", 0))
    assert main(flags.split()) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_pictures_that_cannot_be_read_end_with_the_way_to_leave_them_out(here, capsys):
    for scene in range(3):
        write_frames(
            moving_frames(3, 48, 64, scene), here / "data" / f"s{scene}", ["a.png", "b.png", "c.png"]
        )
    (here / "data" / "s2" / "b.png").write_bytes(b"no picture")
    assert main(["--preset", "tiny", "--data", "data"]) == 1
    said = capsys.readouterr().err
    assert "s2/b.png: cannot be read" in said and "--data.skip-bad" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model cdfl", "unknown model 'cdfl'; did you mean 'cdfi'?"),
        ("--model blend", "no preset for model 'blend'"),
        ("--preset demmo", "no preset 'demmo'; did you mean 'demo'?"),
        ("", "give --model, one of"),
        ("--resume", "no run runs/*-N to resume; name its directory with --out"),
        ("--model cdfi --resume", "no run runs/cdfi-N to resume"),
        ("--resume --out nowhere", "nowhere holds no run to resume"),
        ("--preset tiny --data nowhere", "nowhere: no such directory"),
        ("--preset tiny --steps 0", "--steps is 0; give more than 0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(here, capsys, flags, message):
    assert main(flags.split()) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [("--optim.lrr 1", "--optim.lr"), ("--steps many", "many"), ("--losses.l3 1", "--losses.l1")],
)
def test_a_flag_that_does_not_exist_is_exit_code_2_with_the_nearest_one(here, capsys, flags, message):
    with pytest.raises(SystemExit) as exit_:
        main(["--model", "cdfi", *flags.split()])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("debug", ["1", "0"])
def test_the_traceback_can_be_asked_for(here, monkeypatch, capsys, debug):
    monkeypatch.setenv("VFIJAX_DEBUG", debug)
    assert main(["--model", "cdfl"]) == 1
    said = capsys.readouterr().err
    assert ("Traceback" in said) == (debug == "1")
    assert said.splitlines()[-1].startswith("train.main: error: unknown model")


def test_help_names_models_presets_and_flags(here, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--model", "cdfi", "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    for word in (
        "--model",
        "--preset",
        "--resume",
        "compressed_adacof",
        "demo",
        "--net.taps",
        "--losses.smoothness",
    ):
        assert word in shown


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        (
            main,
            ["--help"],
            ["usage: python -m train.main ", "The defaults below are those of cdfi", "--steps"],
        ),
        (main, ["--preset", "tiny", "-h"], ["The defaults below are those of tiny"]),
        (main, ["--resume", "--help"], ["--resume: go on"]),
        (compress.main, ["--help"], ["usage: python -m train.compress ", "--shrink.rule", "table.md"]),
        (compress.main, ["--model", "adacof", "--help"], ["--retrain-steps"]),
        (compress.main, ["--resume", "--out", "none", "-h"], ["--sparse.l1"]),
        (ablation.main, ["--help"], ["python -m train.ablation dsepconv"]),
    ],
)
def test_help_needs_no_model_and_no_run(here, capsys, program, arguments, words):
    try:
        assert program(arguments) == 0
    except SystemExit as end:
        assert end.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in words)
    assert not list(here.iterdir())


def test_examples_in_the_help_of_a_compression_stay_on_lines_of_their_own(here, capsys):
    with pytest.raises(SystemExit):
        compress.main(["--help"], program="vfijax compress")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "vfijax compress --out runs/small --resume" in lines


@pytest.mark.parametrize(("main", "name"), [(main, "vfijax train"), (compress.main, "vfijax compress")])
def test_a_program_calls_itself_as_it_was_called(here, capsys, main, name):
    assert main(["--model", "cdfy"], program=name) == 1
    assert capsys.readouterr().err.startswith(f"{name}: error: unknown model 'cdfy'")


@pytest.mark.slow
def test_a_run_is_made_resumed_and_numbered(here, capsys):
    assert main(["--preset", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "step 2/2" in shown and "vfijax interpolate" in shown and "runs/tiny-1/model" in shown
    assert main(["--out", "runs/tiny-1", "--resume", "--steps", "3"]) == 0
    assert "goes on after step 2" in capsys.readouterr().out
    assert str(parse(["--preset", "tiny"])[1]) == "runs/tiny-2"
    assert str(parse(["--resume"])[1]) == "runs/tiny-1"


@pytest.mark.parametrize(
    ("program", "part", "flags"),
    [
        (command, "run", "--preset tiny"),
        (compress, "compress", "--model adacof"),
        (ablation, "carry_out", "dsepconv"),
    ],
)
def test_a_signal_reaches_what_is_under_way_and_is_told_by_the_exit_code(
    here, signals, monkeypatch, program, part, flags
):
    before = signal.getsignal(signal.SIGTERM)

    def killed(*arguments, **options):
        with (options["stopping"] if options else arguments[-1])() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        number = stop.signal
        return SimpleNamespace(state=SimpleNamespace(step=1), stopped_by=number) if part == "run" else number

    monkeypatch.setattr(program, part, killed)
    assert program.main(flags.split()) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("program", "part", "flags"),
    [
        (loop, "load_networks", "--preset tiny"),  # before the steps
        (compress, "draw_sparsity", "--model adacof"),  # between two trainings
        (ablation, "scores", "dsepconv"),
    ],
)
def test_a_signal_where_nothing_is_trained_ends_a_program_at_once(
    here, signals, monkeypatch, capsys, program, part, flags
):
    def killed(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    monkeypatch.setattr(program, part, killed)
    monkeypatch.setattr(compress, "_train", lambda *arguments: None)
    main = command.main if program is loop else program.main
    assert main(flags.split()) == 128 + signal.SIGTERM
    assert "error: interrupted; " in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on(here, capsys, monkeypatch):
    real = command.run

    def stopped(*arguments, **options):
        return replace(real(*arguments, **options), stopped_by=2)

    monkeypatch.setattr(command, "run", stopped)
    assert main(["--preset", "tiny", "--out", "mine"]) == 130
    assert "python -m train.main --out mine --resume" in capsys.readouterr().out
