"""What every command line of the project shares: how it ends, what a signal does, how far it has got."""

import difflib
import os
import re
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

PATIENCE = 30.0  # seconds without a sign of life where output goes to a file
Progress = Callable[[int, int | None], None]
"""Told how many are done, and of how many, where that is known."""

# Mistakes in what the user gave, and limits of the machine; anything else is a bug and shows itself.
_EXPECTED = (ValueError, TypeError, OSError, MemoryError, OverflowError)
_WIDE = 100_000  # columns, which no table needs
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours, which libraries put into errors
_HANGUP = getattr(signal, "SIGHUP", 0)  # which not every system has
_ENDING = [signal.SIGTERM, *([_HANGUP] if _HANGUP else [])]  # what asks a process to end


class Stopped(KeyboardInterrupt):
    """A signal that ends a command as Ctrl-C does: what was begun is removed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_main(
    program: str,
    body: Callable[[], int | None],
    *,
    interrupted: str = "nothing was left under the final name",
    debug: bool = False,
    lines: bool = False,
) -> int:
    """Runs a command and returns its exit status.

    0 or what `body` returns; 1 for a user's mistake or a limit of the machine, with one line on stderr;
    128 + n for signal n: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP. Wrong usage ends with 2, by the
    parser. An error that is a bug is raised.

    Args:
      program: how the command is called; messages begin with it, without `python -m`.
      body: does the work.
      interrupted: what a signal leaves behind, for the message.
      debug: show where an error came from, as VFIJAX_DEBUG=1 does.
      lines: messages keep their lines: the command lists files.
    """
    try:
        with ended_by_signals():
            return body() or 0
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        return fail(program, f"interrupted; {interrupted}", status=128 + number)
    except Exception as error:
        text = explain(error, lines)
        if text is None:
            raise
        if isinstance(error, TypeError):  # which is as often a bug
            text += " (VFIJAX_DEBUG=1 shows where)"
        if debug or os.environ.get("VFIJAX_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        return fail(program, text)


def fail(program: str, message: str, status: int = 1) -> int:
    """A message on stderr; returns the status to exit with."""
    print(f"{program.removeprefix('python -m ')}: error: {message}", file=sys.stderr)
    return status


def explain(error: BaseException, lines: bool = False) -> str | None:
    """An error in one line for the user, or in its own `lines`; None where it is a bug of ours.

    Libraries wrap what the system told them: a full disk may come as a ValueError of a page, and memory that
    a device does not have as a RuntimeError. Both are looked for in the whole chain.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    link: BaseException | None = None if isinstance(error, MemoryError) else error  # which tells a way out
    while link is not None:
        text = str(link)
        if "No space left on device" in text or "Disk quota exceeded" in text:
            return "no space is left on the disk; what was complete before is still there"
        if isinstance(link, RuntimeError) and text.startswith("RESOURCE_EXHAUSTED"):
            return f"out of memory: {text.splitlines()[0].removeprefix('RESOURCE_EXHAUSTED: ')}"
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    if not isinstance(error, _EXPECTED):
        return None
    text = _ANSI.sub("", str(error))
    return (text if lines else " ".join(text.splitlines())) or type(error).__name__


def quiet_compiler() -> None:
    """Keeps XLA's remarks about slow compilation out of a command's output; call it before jax is imported.

    They are logged as errors, pages at a time, and tell developers of the compiler what to report; what goes
    wrong raises. TF_CPP_MIN_LOG_LEVEL in the environment decides otherwise, as does VFIJAX_DEBUG=1.
    """
    if os.environ.get("VFIJAX_DEBUG", "0") in ("", "0"):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped` in the block. A SIGHUP that is ignored, as by nohup, stays so."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handling(stop, _ENDING):
        yield


@dataclass
class Stop:
    """Whether a process was asked to end.

    Attributes:
      signal: number of the signal that asked; None as long as none did.
    """

    signal: int | None = None


Stopping = Callable[[], AbstractContextManager[Stop]]
"""`stop_requests`, or what stands for it."""


def never() -> AbstractContextManager[Stop]:
    """Takes no signals; for long work whose caller has not asked for it."""
    return nullcontext(Stop())


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Notes the first SIGINT, SIGTERM or SIGHUP instead of ending the process; a second one ends it."""
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        back()

    with _handling(note, [signal.SIGINT, *_ENDING]) as back:
        yield stop


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None], numbers: Iterable[int]
) -> Iterator[Callable[[], None]]:
    """Handles signals in the block, and yields what gives them back to who had them before."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        before = {number: signal.getsignal(number) for number in numbers}
    if before.get(_HANGUP) is signal.SIG_IGN:  # by nohup
        del before[_HANGUP]

    def handle(number: int, frame: FrameType | None) -> None:
        if number == _HANGUP:
            _leave_terminal()
        handler(number, frame)

    def back() -> None:
        for number, previous in before.items():
            signal.signal(number, previous)

    for number in before:
        signal.signal(number, handle)
    try:
        yield back
    finally:
        back()


def _leave_terminal() -> None:
    """Output goes nowhere from here on: writing to a terminal that is gone is an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def print_table(table: "Table") -> None:
    """Prints a table: folded to the width of a terminal, and as wide as it is into a file or a pipe, so that
    programs find names and numbers whole."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def given(arguments: Sequence[str] | None) -> list[str]:
    """The arguments of a program, those of the process for None.

    Raises:
      ValueError: one is an empty string, as a shell gives for a variable that is not set. No option takes
        one, and as a path it would be the present folder.
    """
    listed = list(sys.argv[1:] if arguments is None else arguments)
    for number, argument in enumerate(listed):
        option, equals, value = argument.partition("=")
        if not argument:
            before = listed[number - 1] if number else ""
            name = before if before.startswith("--") else f"argument {number + 1}"
            raise ValueError(f"{name} is an empty string; give a value, such as the path of a file or folder")
        if option.startswith("--") and equals and not value:
            raise ValueError(f"{option} is an empty string; give a value after the =, or leave it out")
    return listed


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint that ends a message about a name that is not known; empty where none is near."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unused(*paths: Path, overwrite: bool) -> None:
    """Raises ValueError where what a command will write is there already, unless that may be replaced."""
    for path in paths:
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists; give another name, or --overwrite to replace it")


@contextmanager
def progress(task: str) -> Iterator[Progress]:
    """Yields what shows how far a task has got, on stderr: a bar with the time left, or where stderr is no
    terminal a line every `PATIENCE` seconds."""
    if not sys.stderr.isatty():
        with _progress_lines(task) as show:
            yield show
        return
    # rich takes time to import, and who only asks for the nearest name needs none of it
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        number = bar.add_task(task, total=None)
        yield lambda done, total: bar.update(number, completed=done, total=total)


@contextmanager
def _progress_lines(task: str) -> Iterator[Progress]:
    """Lines such as `out.mp4: 120 of 960 after 90 s, about 10 min left`, also while nothing gets done."""
    began, ended = time.monotonic(), threading.Event()
    reached: tuple[int, int | None] = 0, None

    def note(done: int, of: int | None) -> None:
        nonlocal reached
        reached = done, of

    def tell() -> None:
        while not ended.wait(PATIENCE):
            done, of = reached
            spent = time.monotonic() - began
            left = f", about {duration(spent * (of - done) / done)} left" if of and done else ""
            total = f" of {of}" if of else ""
            with suppress(OSError):  # who listened may be gone, and the work goes on
                print(f"{task}: {done}{total} after {duration(spent)}{left}", file=sys.stderr, flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield note
    finally:
        ended.set()
        teller.join()


def duration(seconds: float) -> str:
    """Such as `45 s`, `12 min`, `3.4 h`, `2.1 days`."""
    for unit, size, form in (("days", 86400, ".1f"), ("h", 3600, ".1f"), ("min", 60, ".0f")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:{form}} {unit}"
    return f"{seconds:.0f} s"
