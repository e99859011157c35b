"""The command line: `vfijax COMMAND ...`.

A command is a module of this package with a frozen dataclass `Args`, whose fields become the options
and whose docstring becomes the help text, and `run(args) -> int | None`, which calls one library
function and prints.
"""

import difflib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

# name: what it does. The module vfijax.cli.NAME is imported when the command is used.
COMMANDS = {
    "interpolate": "put new frames between the frames of a video or a folder of images",
    "zoom": "make a video or a folder of images four times larger, with twice the frames",
    "evaluate": "score a model on triplets, clips, benchmark sets or a video",
    "convert": "turn published PyTorch weights into a vfijax model",
    "prune": "tell how dense a model is, and make a narrower one of it",
}

# Mistakes in what the user gave, and limits of the machine; anything else is a bug and shows itself.
_EXPECTED = (ValueError, TypeError, OSError, MemoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status.

    0, 1 for errors, 2 for wrong usage, 130 for Ctrl-C and 143 for SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("VFIJAX_DEBUG") == "1"
    arguments = [a for a in arguments if a != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        from vfijax import __version__

        print(f"vfijax {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return _fail(f"unknown command {name!r}{hint} (commands: {', '.join(COMMANDS)})", status=2)
    try:
        with _stopped_as_interrupted():
            return _run(importlib.import_module(f"vfijax.cli.{name}"), name, rest)
    except KeyboardInterrupt as stop:
        number = signal.SIGTERM if isinstance(stop, _Stopped) else signal.SIGINT
        return _fail("interrupted; nothing was left under the final name", status=128 + number)
    except _EXPECTED as error:
        if debug:
            traceback.print_exc()
        return _fail(_text(error))


class _Stopped(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what was begun is removed."""


@contextmanager
def _stopped_as_interrupted() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Stopped

    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(command: ModuleType, name: str, arguments: list[str]) -> int:
    import tyro

    args = tyro.cli(command.Args, prog=f"vfijax {name}", args=arguments)
    return command.run(args) or 0


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    return (
        "usage: vfijax COMMAND [options]\n\n"
        "Video frame interpolation in JAX.\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n"
        "  -h, --help  this text; `vfijax COMMAND --help` explains a command\n"
        "  --version   the version\n"
        "  --debug     show where an error came from (or set VFIJAX_DEBUG=1)"
    )


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _fail(message: str, status: int = 1) -> int:
    print(f"vfijax: error: {message}", file=sys.stderr)
    return status
