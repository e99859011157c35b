"""The command line: `vfijax COMMAND ...`.

A command is a module of this package with a frozen dataclass `Args`, whose fields become the options
and whose docstring becomes the help text, and `run(args) -> int | None`, which calls one library
function and prints.
"""

import importlib
import sys
from collections.abc import Sequence

from vfijax.command import fail, given, nearest, run_main

# name: what it does. The module vfijax.cli.NAME is imported when the command is used.
COMMANDS = {
    "interpolate": "put new frames between the frames of a video or a folder of images",
    "zoom": "make a video or a folder of images four times larger, with twice the frames",
    "evaluate": "score a model on triplets, clips, benchmark sets or a video",
    "models": "list the models, and where their weights are",
    "fetch": "download published weights, and turn them into a model",
    "convert": "turn published PyTorch weights into a vfijax model",
    "prune": "tell how dense a model is, and make a narrower one of it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status.

    0, 1 for errors, 2 for wrong usage, 128 + n for a signal (see `vfijax.command`).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
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
        known = ", ".join(COMMANDS)
        return fail("vfijax", f"unknown command {name!r}{nearest(name, COMMANDS)} (commands: {known})", 2)
    return run_main("vfijax", lambda: _run(name, given(rest)), debug=debug)


def _run(name: str, arguments: list[str]) -> int:
    import tyro

    command = importlib.import_module(f"vfijax.cli.{name}")
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
