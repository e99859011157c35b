"""`vfijax`: what it prints, and its exit status."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import vfijax
from vfijax import pairs
from vfijax.checkpoint import save
from vfijax.cli import COMMANDS, completion, main
from vfijax.models import MODELS
from vfijax.weights.resolve import try_it


@pytest.fixture
def command(capsys):
    """Runs the command line in this process: (status, standard output, standard error)."""

    def command(*arguments):
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def refused(command):
    """The one line that a mistake of the user gives."""

    def refused(*arguments, status=1):
        found, _, errors = command(*arguments)
        assert found == status
        assert errors.startswith("vfijax: error: ")
        assert errors.count("\n") == 1
        return errors

    return refused


def test_help_lists_the_commands_without_loading_jax():
    code = "import sys; from vfijax.cli import main; main(['--help']); sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_the_version_is_printed(command):
    assert command("--version")[:2] == (0, f"vfijax {vfijax.__version__}\n")


def test_a_video_is_interpolated_and_summed_up(make_clip, tmp_path, command, probe):
    status, out, _ = command(
        "interpolate", make_clip(), tmp_path / "out.mp4", "--model", "blend", "--factor", 4
    )
    assert status == 0
    assert "out.mp4: 21 frames from 6, 100 frames/s" in out
    assert len(probe(tmp_path / "out.mp4").images) == 21


def test_a_checkpoint_is_a_model(make_clip, tmp_path, command):
    save(tmp_path / "model", vfijax.create("blend", 0))
    assert command("interpolate", make_clip(), tmp_path / "out.mp4", "--model", tmp_path / "model")[0] == 0


def test_slow_motion_says_what_became_of_the_audio(make_clip, tmp_path, command):
    source = make_clip(audio="aac")
    _, out, _ = command("interpolate", source, tmp_path / "out.mp4", "--model", "blend", "--slowmo")
    assert "audio (aac) left out: it does not fit slow motion" in out


@pytest.mark.parametrize("model", [[], ["--model", "flow_medium"]])
def test_without_a_file_of_weights_a_video_is_interpolated_by_flow(
    make_clip, tmp_path, command, probe, model
):
    source = make_clip(frames=3)
    assert command("interpolate", source, tmp_path / "out.mp4", *model)[0] == 0
    params = vfijax.create(model[1], 0) if model else vfijax.load()
    images, made = probe(source).images, probe(tmp_path / "out.mp4").images
    assert len(made) == 5
    for n in (0, 1):
        expected = np.asarray(vfijax.interpolate(params, images[n], images[n + 1]), int)
        assert np.abs(made[2 * n + 1] - expected).mean() < 3  # the encoder's loss


@pytest.mark.parametrize("name", ["bland", "no/such/checkpoint"])
def test_an_unknown_model_lists_the_names_and_the_ways(make_clip, tmp_path, refused, name):
    line = refused("interpolate", make_clip(), tmp_path / "out.mp4", "--model", name)
    for part in (name, "blend", "vfijax convert", "python -m train.main"):
        assert part in line


def test_an_unknown_command_names_the_nearest(refused):
    assert "did you mean 'interpolate'?" in refused("interpolte", status=2)


@pytest.mark.parametrize("factor", [0, 1])
def test_a_bad_factor_is_one_line(make_clip, tmp_path, refused, factor):
    line = refused("interpolate", make_clip(), tmp_path / "o.mp4", "--model", "blend", "--factor", factor)
    assert f"factor is {factor}" in line


def test_a_bad_rate_is_one_line(tmp_path, refused):
    assert "--fps abc" in refused(
        "interpolate", tmp_path, tmp_path / "o.mp4", "--model", "blend", "--fps", "abc"
    )


def test_debug_shows_where_an_error_came_from(tmp_path, command):
    arguments = ("interpolate", tmp_path / "none.mp4", tmp_path / "o.mp4", "--model", "blend")
    assert "Traceback" not in command(*arguments)[2]
    assert "Traceback" in command(*arguments, "--debug")[2]


@pytest.mark.parametrize("name", ["interpolate", "zoom"])
def test_a_video_that_is_there_is_replaced_only_where_that_is_asked_for(
    make_clip, tmp_path, command, refused, name
):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"older")
    arguments = [name, make_clip(frames=2), target, "--model", "blend"]
    assert "out.mp4 exists; give another name, or --overwrite to replace it" in refused(*arguments)
    assert target.read_bytes() == b"older"
    if name == "interpolate":
        assert command(*arguments, "--overwrite")[0] == 0
        assert target.read_bytes() != b"older"


def test_a_folder_with_something_in_it_is_never_replaced(make_clip, tmp_path, refused, command):
    (tmp_path / "frames").mkdir()
    arguments = ["interpolate", make_clip(frames=2), tmp_path / "frames", "--model", "blend"]
    assert command(*arguments)[0] == 0  # which was empty
    for more in ([], ["--overwrite"]):
        assert "exists and is no empty folder" in refused(*arguments, *more)
    assert len(os.listdir(tmp_path / "frames")) == 3


def test_a_converted_checkpoint_replaces_none_unless_asked_to(tmp_path, refused):
    save(tmp_path / "model", vfijax.create("blend", 0))
    arguments = ["convert", "sepconv", tmp_path / "none.pth", tmp_path / "model"]
    assert "model exists; give another name, or --overwrite" in refused(*arguments)
    assert "none.pth" in refused(*arguments, "--overwrite")


@pytest.mark.parametrize(
    ("factor", "cost"),
    [
        (3, "2 new frames take 7 passes of the network, and their times are off by up to 0.021 of"),
        (5, "4 new frames take 13 passes"),
        (4, ""),
    ],
)
def test_what_times_that_a_network_does_not_know_cost_is_said_before_the_work(
    make_clip, tmp_path, command, factor, cost
):
    arguments = [make_clip(frames=2), tmp_path / "out.mp4", "--model", "blend", "--factor", factor]
    status, _, said = command("interpolate", *arguments)
    assert status == 0 and cost in said
    assert said.startswith("vfijax: note: factor ") if cost else said == ""
    video = ["--video", make_clip(frames=6), "--model", "blend", "--factor", factor]
    _, _, said = command("evaluate", *video)
    assert ("vfijax: note: factor" in said) == bool(cost)


def test_the_cost_is_that_of_the_passes_that_are_made(monkeypatch):
    passes = []
    one = pairs._frame
    monkeypatch.setattr(pairs, "_frame", lambda *given, **more: passes.append(0) or one(*given, **more))
    frame = np.zeros((8, 8, 3), np.uint8)
    params = vfijax.create("blend", 0)
    for factor in (2, 3, 4, 7, 11):
        passes.clear()
        assert len(list(vfijax.interpolate_n(params, frame, frame, factor - 1))) == factor - 1
        assert len(passes) == pairs.dyadic_passes(pairs.dyadic_times(factor - 1))


def test_a_shell_completes_commands_options_models_and_files(monkeypatch, tmp_path):
    monkeypatch.setattr(completion, "options", lambda name: ["--out", f"--{name.replace(' ', '-')}"])
    words = {
        "inter": "interpolate",
        "data ": "build patches",
        "data build --d": "--data-build",
        "interpolate in.mp4 --": "--out --interpolate",
        "interpolate --model gui": "guided",
        "interpolate in": "",
    }
    tried = ['COMP_WORDS=(vfijax "${@:2}"); COMP_CWORD=$1; _vfijax; echo "${COMPREPLY[*]}"']
    script = f"{completion.script()}\ntried() {{ {tried[0]}; }}\n"
    for line in words:
        given = line.split(" ")
        script += f"tried {len(given)} {' '.join(repr(word) for word in given)}\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(words.values())


def test_options_are_those_that_help_names():
    found = completion.options("interpolate")
    assert {"--model", "--factor", "--overwrite", "--no-audio", "--help"} <= set(found)
    assert completion.options("data build") and "--manual-dir" in completion.options("data build")


STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(params=STATUS, ids=lambda number: number.name)
def number(request, signals):
    usual = signal.getsignal(request.param)
    yield request.param
    assert signal.getsignal(request.param) == usual


@pytest.mark.parametrize("name", ["out.mp4", "frames"])
def test_an_interruption_gives_its_status_and_leaves_nothing(
    make_clip, tmp_path, refused, monkeypatch, number, name
):
    def interrupt(*_):
        os.kill(os.getpid(), number)
        time.sleep(0.3)  # until the main thread has seen it

    for writer in ("VideoWriter", "ImageFolderWriter"):
        monkeypatch.setattr(f"vfijax.media.{writer}.write", interrupt)
    arguments = ["interpolate", make_clip(), tmp_path / name, "--model", "blend"]
    assert "interrupted; nothing was left under the final name" in refused(*arguments, status=STATUS[number])
    assert os.listdir(tmp_path) == ["clip.mp4"]


ENDED = """
import os, signal, sys
from vfijax.cli import main
from vfijax.media import ImageFolderWriter as Writer

def write(self, frame, usual=Writer.write):
    usual(self, frame)
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])

Writer.write = write
signal.signal(signal.Signals[sys.argv[1]], signal.SIG_DFL)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_process_that_is_asked_to_end_does_and_leaves_nothing(make_clip, tmp_path, name, status):
    arguments = ["interpolate", make_clip(), tmp_path / "frames", "--model", "blend"]
    done = subprocess.run([sys.executable, "-c", ENDED, name, *arguments], capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr == "vfijax: error: interrupted; nothing was left under the final name\n"
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("name", ["a" * 246 + ".mp4", "é" * 125 + "x.mkv", "b" * 250, "漢" * 85])
def test_results_may_have_the_longest_names(make_clip, tmp_path, command, name):
    source = make_clip(name="s" * 246 + ".mp4", frames=2)
    status, out, _ = command("interpolate", source, tmp_path / name, "--model", "blend")
    assert status == 0 and f"{name}: 3 frames from 2" in out
    assert sorted(os.listdir(tmp_path)) == sorted([source.name, name])


def test_a_name_that_no_file_may_have_is_one_line(make_clip, tmp_path, refused):
    line = refused("interpolate", make_clip(), tmp_path / ("a" * 252 + ".mp4"), "--model", "blend")
    assert "File name too long" in line
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize(("name", "word"), [("cdfi", "interpolate"), ("zooming_slowmo", "zoom")])
def test_a_new_checkpoint_comes_with_the_command_that_takes_it(tmp_path, name, word):
    line = try_it(MODELS[name], tmp_path / "w")
    assert line.split() == ["vfijax", word, "IN.mp4", "OUT.mp4", "--model", str(tmp_path / "w")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "frames"])
def test_a_full_disk_is_one_line_and_leaves_nothing(make_clip, tmp_path, name):
    source = make_clip(frames=12, width=160, height=120)
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"  # stands in for a disk that is full
        "from vfijax.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["interpolate", str(source), str(tmp_path / name), "--model", "blend", "--crf", "1"]
    done = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("vfijax: error: ")
    assert "File too large" in done.stderr and name in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["clip.mp4"]
