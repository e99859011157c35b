"""`vfijax completion`: what a shell needs to complete commands, options and names of models."""

import io
import re
import shlex
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass

from vfijax.cli import COMMANDS, main
from vfijax.cli.programs import PROGRAMS
from vfijax.models import MODELS

_OPTION = re.compile(r"(?<![\w.`-])--[a-z][\w.-]*\w")
_GENERAL = ("--help", "--version", "--debug")
# Where nothing is known, `-o default` completes names of files. A command may be two words, as `data build`.
_SCRIPT = """\
# Completion of vfijax for bash, and for zsh by its bashcompinit:  source <(vfijax completion)
if [ -n "${{ZSH_VERSION-}}" ]; then
  autoload -U +X compinit && compinit
  autoload -U +X bashcompinit && bashcompinit
fi
_vfijax() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" known=""
  local command="${{COMP_WORDS[1]}}"
  case "$COMP_CWORD $command" in
    "1 "*) known={commands} ;;
{groups}
    *)
      if [ "$before" = --model ]; then
        known={models}
      elif [ "${{word:0:1}}" = - ]; then
        case "$command ${{COMP_WORDS[2]}} " in
{options}
        esac
      fi ;;
  esac
  COMPREPLY=($(compgen -W "$known" -- "$word"))
}}
complete -o default -F _vfijax vfijax
"""


@dataclass(frozen=True)
class Args:
    """Prints a script for bash and zsh; put `source <(vfijax completion)` into ~/.bashrc or ~/.zshrc.

    It takes some seconds to make and is quicker read from a file: `vfijax completion > FILE`.
    """


def run(args: Args) -> None:
    print(script(), end="")


def script() -> str:
    """The completion script for all commands of this installation."""
    names = [*COMMANDS, *PROGRAMS]
    groups: dict[str, list[str]] = {}
    for group, _, member in (name.partition(" ") for name in PROGRAMS):
        if member:
            groups.setdefault(group, []).append(member)
    return _SCRIPT.format(
        commands=_words([*dict.fromkeys(name.partition(" ")[0] for name in names), *_GENERAL]),
        models=_words(MODELS),
        groups="\n".join(f'    "2 {group}") known={_words(members)} ;;' for group, members in groups.items()),
        options="\n".join(f'          "{name} "*) known={_words(options(name))} ;;' for name in names),
    )


def options(command: str) -> list[str]:
    """Those that the help of a command names; none where it has no help, as without the extra `train`."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(io.StringIO()), suppress(SystemExit):  # so parsers end help
        main([*command.split(), "--help"])
    return sorted(set(_OPTION.findall(said.getvalue())))


def _words(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))
