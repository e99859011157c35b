"""`vfijax.command` and `vfijax.files`: how commands end, what signals do, and files that are complete."""

import errno
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.table import Table

from vfijax.command import (
    Stopped,
    ended_by_signals,
    explain,
    fail,
    given,
    nearest,
    print_table,
    progress,
    run_main,
    stop_requests,
    unused,
)
from vfijax.files import complete, natural_key, partial_name, write_arrays, write_json, write_text

ENDING = [signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def ended(capsys):
    """Runs a command that raises an error: (status, standard error)."""

    def ended(error, **options):
        def body():
            raise error

        return run_main("program", body, **options), capsys.readouterr().err

    return ended


@pytest.fixture(params=ENDING, ids=lambda number: number.name)
def number(request, signals):
    """A signal that ends a process."""
    return request.param


def wrapped(outer, *inner):
    """An error with others as its causes, one in the other."""
    link = outer
    for cause in inner:
        link.__cause__ = cause
        link = cause
    return outer


# What a command prints


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("variables", [{}, {"COLUMNS": "40"}, {"COLUMNS": "40", "FORCE_COLOR": "1"}])
def test_a_table_is_folded_for_a_terminal_and_whole_for_a_program(monkeypatch, terminal, variables):
    class Output(io.StringIO):
        def isatty(self):
            return terminal

    name, output = "a_long_name_of_a_network_of_some_run/" * 3, Output()
    monkeypatch.setattr(sys, "stdout", output)
    for variable, value in {"COLUMNS": "60", **variables}.items():
        monkeypatch.setenv(variable, value)
    table = Table(title="Scores of networks", title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("PSNR dB")
    table.add_row(name, "35.123")
    print_table(table)
    lines = output.getvalue().splitlines()
    assert any(name in line and "35.123" in line for line in lines) != terminal
    assert max(map(len, lines)) < len(name) + 100  # codes of colours among them


# How a command ends


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_what_a_command_returns_is_its_status(returned, status):
    assert run_main("program", lambda: returned) == status


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("factor is 1"), "factor is 1"),
        (ValueError("two\nlines"), "two lines"),
        (TypeError("frames is list"), "frames is list"),
        (OverflowError("Python int too large to convert to C long"), "Python int too large to convert"),
        (MemoryError(), "MemoryError"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.mp4"), "a.mp4: No such file"),
        (OSError(errno.EACCES, "cannot write b.mp4: Permission denied"), "cannot write b.mp4: Permission"),
        (OSError("of no number"), "of no number"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_expected_error_is_one_line_and_status_1(ended, error, line):
    status, errors = ended(error)
    assert status == 1
    assert errors.startswith(f"program: error: {line}") and errors.count("\n") == 1


FULL = OSError(errno.ENOSPC, "No space left on device", "/data/x")
PAGE = "RESOURCE_EXHAUSTED: write failed\n" + "#0 a frame of another language\n" * 40


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"{PAGE} [Errno 28] No space left on device"),
        wrapped(ValueError(PAGE), RuntimeError("many\nlines"), FULL),
        wrapped(KeyError("shard"), OSError(errno.EDQUOT, "Disk quota exceeded")),
    ],
    ids=["in its text", "at the end of a chain", "quota"],
)
def test_a_full_disk_is_found_behind_the_error_of_a_library(ended, error):
    line = "no space is left on the disk; what was complete before is still there"
    assert ended(error) == (1, f"program: error: {line}\n")


def test_a_full_disk_that_names_its_file_is_told_with_the_name(ended):
    assert ended(FULL) == (1, "program: error: /data/x: No space left on device\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes.\nBufferAssignment ...", "Out of memory al"),
        ("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
    ],
)
def test_a_full_device_is_one_line(ended, text, line):
    status, errors = ended(wrapped(ValueError("while tracing"), jax.errors.JaxRuntimeError(text)))
    assert status == 1
    assert errors.startswith(f"program: error: out of memory: {line}") and errors.count("\n") == 1


def test_a_full_device_that_comes_with_advice_keeps_it(ended):
    cause = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    assert "give smaller tiles" in ended(wrapped(MemoryError("no room; give smaller tiles"), cause))[1]


def test_what_an_error_replaced_does_not_count(ended):
    with pytest.raises(ValueError) as caught:
        try:
            raise FULL
        except OSError:
            raise ValueError("another matter") from None
    assert ended(caught.value)[1] == "program: error: another matter\n"


@pytest.mark.parametrize("error", [KeyError("name"), AssertionError("never"), RuntimeError("internal")])
def test_a_bug_shows_itself(ended, error):
    assert explain(error) is None
    with pytest.raises(type(error)):
        ended(error)


def test_colours_of_a_library_are_left_out(ended):
    assert ended(ValueError("\x1b[1mINTERNAL\x1b[0m: no\nsuch \x1b[31;1mthing")) == (
        1,
        "program: error: INTERNAL: no such thing\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", ""], "argument 2 is an empty string; give a value, such as the path of a file or folder"),
        (["--out", "", "a"], "--out is an empty string; give a value, such as"),
        (["a", "--out="], "--out is an empty string; give a value after the =, or leave it out"),
    ],
)
def test_an_empty_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        given(arguments)
    assert given(["a", "--b=c", "d=", " "]) == ["a", "--b=c", "d=", " "]


@pytest.mark.parametrize(
    ("value", "debug", "shown"),
    [(None, False, False), ("", False, False), ("0", False, False), ("1", False, True), (None, True, True)],
)
def test_the_traceback_is_shown_when_asked_for(ended, monkeypatch, value, debug, shown):
    monkeypatch.delenv("VFIJAX_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("VFIJAX_DEBUG", value)
    _, errors = ended(ValueError("wrong"), debug=debug)
    assert ("Traceback" in errors) == shown
    assert errors.endswith("program: error: wrong\n")


def test_a_failure_has_the_status_that_is_asked_for(capsys):
    assert fail("program", "unknown command", 2) == 2
    assert capsys.readouterr().err == "program: error: unknown command\n"


def test_the_nearest_name_is_a_hint_and_a_far_one_none():
    assert nearest("interpolte", ["zoom", "interpolate"]) == "; did you mean 'interpolate'?"
    assert nearest("xyz", ["zoom", "interpolate"]) == ""


def test_progress_of_short_work_shows_nothing_where_there_is_no_terminal(capsys):
    with progress("work") as show:
        show(1, 2)
        show(2, None)
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr("vfijax.command.PATIENCE", 0.1)
    before = threading.active_count()
    with progress("out.mp4") as show:
        time.sleep(0.15)  # nothing is done yet
        show(3, 12)
        time.sleep(0.1)
        show(4, None)
        time.sleep(0.1)
    assert threading.active_count() == before
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.splitlines() == [
        "out.mp4: 0 after 0 s",
        "out.mp4: 3 of 12 after 0 s, about 1 s left",
        "out.mp4: 4 after 0 s",
    ]


def test_what_is_there_is_replaced_only_where_that_is_asked_for(tmp_path):
    (tmp_path / "file").write_text("")
    unused(tmp_path / "none", overwrite=False)
    unused(tmp_path / "none", tmp_path / "file", overwrite=True)
    for path in (tmp_path / "file", tmp_path):
        with pytest.raises(ValueError, match="exists; give another name, or --overwrite to replace it"):
            unused(tmp_path / "none", path, overwrite=False)


# Signals


def test_ctrl_c_ends_with_130(ended):
    line = "program: error: interrupted; nothing was left under the final name\n"
    assert ended(KeyboardInterrupt()) == (130, line)


def test_a_signal_ends_a_command_with_its_status_and_the_handler_before_comes_back(number, capsys):
    cleaned = []

    def body():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            cleaned.append(number)

    assert run_main("program", body, interrupted="begin again") == 128 + number
    assert capsys.readouterr().err == "program: error: interrupted; begin again\n"
    assert cleaned == [number] and signal.getsignal(number) == signal.SIG_DFL


def test_a_hang_up_that_is_ignored_as_by_nohup_stays_ignored(signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for context in (ended_by_signals, stop_requests):
        with context() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop is None or stop.signal is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_ctrl_c_is_noted_also_where_the_shell_lets_its_jobs_ignore_it(signals):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


HUNG_UP = """
import fcntl, sys, termios, time
from pathlib import Path
from vfijax.command import run_main, stop_requests

def body():
    with stop_requests() as stop:
        print("begun", flush=True)
        while not stop.signal:
            time.sleep(0.01)
        print("one line more", flush=True)
        print("and one", file=sys.stderr, flush=True)
        Path(sys.argv[1]).write_text("kept")
    return 128 + stop.signal

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(run_main("program", body))
"""


def test_what_a_closed_terminal_ends_still_keeps_what_it_has(tmp_path, signals):
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", HUNG_UP, str(tmp_path / "kept")],
        cwd=Path(__file__).parents[1],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert b"begun" in os.read(ours, 100)
    os.close(ours)
    assert child.wait(60) == 128 + signal.SIGHUP
    assert (tmp_path / "kept").read_text() == "kept"


def test_of_two_requests_to_stop_the_first_is_noted_and_the_second_goes_to_who_was_there_before(number):
    with ended_by_signals(), pytest.raises(Stopped) as caught, stop_requests() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        os.kill(os.getpid(), number)
    assert caught.value.number == number
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_thread_that_is_not_the_main_one_leaves_signals_alone(number):
    found = []

    def work():
        with ended_by_signals(), stop_requests():
            found.append(signal.getsignal(number))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


# Files

LONGEST = ["a" * 251 + ".mp4", "é" * 125 + "x.mkv", "b" * 255, "漢" * 85, "." + "c" * 254, "d." + "e" * 253]


@pytest.mark.parametrize("name", ["out.mp4", *LONGEST], ids=lambda name: f"{name[:2]}{name[-4:]}")
def test_a_partial_name_is_hidden_unused_and_legal_wherever_the_name_is(tmp_path, name):
    path = tmp_path / name
    path.touch()
    partial = partial_name(path)
    partial.touch(exist_ok=False)
    assert partial.parent == tmp_path and partial.name.startswith(".") and ".partial" in partial.name
    assert partial.name.endswith(path.suffix) or len(path.suffix) > 200
    assert partial_name(path) != partial


@pytest.mark.parametrize("name", LONGEST, ids=lambda name: f"{name[:2]}{name[-4:]}")
def test_files_of_the_longest_names_are_written(tmp_path, name):
    write_json(tmp_path / name, {"a": [1, float("inf")], "b": 0.5})
    assert os.listdir(tmp_path) == [name]
    assert json.loads((tmp_path / name).read_text()) == {"a": [1, "inf"], "b": 0.5}


def test_a_file_gets_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("older")
    with complete(path) as partial:
        partial.write_text("newer")
        assert path.read_text() == "older"
    assert path.read_text() == "newer" and os.listdir(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "out.txt"
    path.write_text("older")
    with pytest.raises(failure), complete(path) as partial:
        partial.write_text("half")
        raise failure
    assert path.read_text() == "older" and os.listdir(tmp_path) == ["out.txt"]


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write .*none/a\.txt: there is no folder"):
        write_text(tmp_path / "none" / "a.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*folder: Is a directory"):
        write_text(tmp_path / "folder", "")
    with pytest.raises(OSError, match=r"cannot write .*b\.npz: No space left"), complete(tmp_path / "b.npz"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == ["folder"]


def test_arrays_come_back(tmp_path):
    arrays = {"x": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "b"])}
    write_arrays(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz") as found:
        assert {name: found[name].tolist() for name in found} == {k: v.tolist() for k, v in arrays.items()}


def test_names_are_sorted_as_people_count(tmp_path):
    names = ["f1.png", "f2.png", "f10.png", "f10b.png", "g1/a.png", "g10/a.png"]
    assert sorted((tmp_path / n for n in reversed(names)), key=natural_key) == [tmp_path / n for n in names]
