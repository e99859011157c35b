"""The command line: `vfijax COMMAND ...`.

A command is a module of this package with a frozen dataclass `Args`, whose fields become the options
and whose docstring becomes the help text, and `run(args) -> int | None`, which calls one library
function and prints. What trains is handed over to programs of its own (`vfijax.cli.programs`).
"""

import importlib
import sys
from collections.abc import Mapping, Sequence

from vfijax.cli.programs import PROGRAMS, run_program
from vfijax.command import fail, given, nearest, quiet_compiler, run_main

quiet_compiler()  # before jax is imported

# name: what it does. The module vfijax.cli.NAME is imported when the command is used.
COMMANDS = {
    "interpolate": "put new frames between the frames of a video or a folder of images",
    "zoom": "make a video or a folder of images four times larger, with twice the frames",
    "evaluate": "score a model on triplets, clips, benchmark sets or a video",
    "models": "list the models, and where their weights are",
    "fetch": "download published weights, and turn them into a model",
    "convert": "turn published PyTorch weights into a vfijax model",
    "prune": "tell how dense a model is, and make a narrower one of it",
    "completion": "print a script that completes commands and options in a shell",
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
    for words in (1, 2):
        if (program := " ".join(arguments[:words])) in PROGRAMS:
            return run_program(program, arguments[words:], debug=debug)
    name, *rest = arguments
    if group := {full: what for full, (_, what) in PROGRAMS.items() if full.startswith(f"{name} ")}:
        if not rest or rest[0] in ("-h", "--help"):
            print(f"usage: vfijax {name} COMMAND [options]\n\ncommands:\n{_listed(group)}")
            return 0
        return _unknown(" ".join(arguments[:2]), list(group))
    if name not in COMMANDS:
        return _unknown(name, [*COMMANDS, *PROGRAMS])
    return run_main("vfijax", lambda: _run(name, given(rest)), debug=debug)


def _unknown(name: str, known: list[str]) -> int:
    return fail("vfijax", f"unknown command {name!r}{nearest(name, known)} (commands: {', '.join(known)})", 2)


def _run(name: str, arguments: list[str]) -> int:
    import tyro

    command = importlib.import_module(f"vfijax.cli.{name}")
    args = tyro.cli(command.Args, prog=f"vfijax {name}", args=arguments)
    compilation = importlib.import_module("vfijax.compilation")  # jax is needed from here on
    compilation.set_up()
    return command.run(args) or 0


def _usage() -> str:
    programs = {name: what for name, (_, what) in PROGRAMS.items()}
    return (
        "usage: vfijax COMMAND [options]\n\n"
        "Video frame interpolation in JAX.\n\n"
        f"commands:\n{_listed(COMMANDS)}\n\n"
        f"training and data, with the extra `train`:\n{_listed(programs)}\n\n"
        "options:\n"
        "  -h, --help  this text; `vfijax COMMAND --help` explains a command\n"
        "  --version   the version\n"
        "  --debug     show where an error came from (or set VFIJAX_DEBUG=1)"
    )


def _listed(commands: Mapping[str, str]) -> str:
    width = max(len(name) for name in [*COMMANDS, *PROGRAMS])
    return "\n".join(f"  {name:{width}}  {what}" for name, what in commands.items())
