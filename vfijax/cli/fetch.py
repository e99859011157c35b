"""`vfijax fetch`: published weights, downloaded and converted."""

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from vfijax.checkpoint import load_config
from vfijax.command import explain, fail, progress
from vfijax.models import MODELS
from vfijax.weights import SHIPPED
from vfijax.weights.fetching import fetch, known
from vfijax.weights.published import FETCHABLE, PUBLISHED
from vfijax.weights.resolve import try_it


@dataclass(frozen=True)
class Args:
    """Downloads published weights from their authors' addresses, checks and converts them, once.

    From then on `--model NAME` and `vfijax.load("NAME")` find them. `vfijax models` lists the names, with the
    licences of their authors. A download that was cut off goes on where it ended. Files are read with
    weights-only loading, which needs PyTorch; no code in them is run. All is kept in the folder VFIJAX_CACHE,
    else in the platform's for caches (Linux: ~/.cache/vfijax). VFIJAX_MIRROR=https://HOST asks that server
    instead, for the same paths.
    """

    names: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAME [...]")] = ()
    """Which weights, such as cdfi or zooming_slowmo."""

    all: bool = False
    """All that can be fetched, 610 MB."""

    overwrite: bool = False
    """Download again what is already there."""


def run(args: Args) -> int:
    """Goes on with the next name where one cannot be fetched."""
    if bool(args.names) == args.all:
        raise ValueError(
            f"fetch: give the names of weights ({', '.join(FETCHABLE)}), or --all; `vfijax models` says more"
        )
    names = [name if _ours(name) else known(name) for name in args.names or FETCHABLE]
    failed = False
    for name in dict.fromkeys(names):
        try:
            _fetch(name, args.overwrite)
        except (ValueError, OSError) as error:
            failed = True
            fail("vfijax", explain(error) or "")
    return int(failed)


def _ours(name: str) -> bool:
    return name in SHIPPED or (name in MODELS and not MODELS[name].learned)


def _fetch(name: str, overwrite: bool) -> None:
    if _ours(name):
        print(f"{name} comes with vfijax: nothing to fetch")
        return
    with progress(f"{name}, MB") as show:
        place = fetch(name, overwrite=overwrite, progress=show, tell=_tell)
    authors = PUBLISHED[name].authors
    print(f"{name} is in {place}; its licence: {authors.licence}, see {authors.page}; try it with")
    print(try_it(load_config(place), name))


def _tell(line: str) -> None:
    print(f"vfijax: note: {line}", file=sys.stderr)
