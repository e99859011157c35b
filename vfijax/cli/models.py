"""`vfijax models`: which models there are, and where their weights are."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from vfijax import weights
from vfijax.models import DEFAULT, MODELS
from vfijax.weights.published import FETCHABLE, PUBLISHED, fetched, folder

_NOTE = """\
--model NAME and vfijax.load(NAME) take what is here: models without weights, those whose weights come with
vfijax, and fetched ones. Published weights are their authors'; the pages say more of the terms."""


@dataclass(frozen=True)
class Args:
    """Lists the models: those that come with vfijax, those fetched, those to be fetched, and others.

    A line for each, with the size of its weights, their licence, the paper, and where the official code is.
    """


def run(args: Args) -> None:
    free = [name for name, config in MODELS.items() if not config.learned]
    here = [name for name in PUBLISHED if fetched(name)]
    to_fetch = [name for name in FETCHABLE if name not in here]
    by_hand = [name for name in PUBLISHED if name not in FETCHABLE]
    known = {*free, *weights.SHIPPED, *PUBLISHED}
    groups = {
        f"without weights ({DEFAULT} is taken where no model is named)": [[name] for name in free],
        "with weights that come with vfijax": [
            [name, _size(weights.HERE / f"{name}.npz"), "Apache-2.0"] for name in weights.SHIPPED
        ],
        f"fetched, in {folder()}": [_row(name) for name in here],
        "to be fetched by `vfijax fetch NAME`": [_row(name) for name in to_fetch],
        "on a drive that their page links, for `vfijax convert`": [_row(name) for name in by_hand],
        "without published weights, to be trained": [[name] for name in MODELS if name not in known],
    }
    columns = zip_longest(*(row for rows in groups.values() for row in rows), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    for title, rows in groups.items():
        print(f"{title}:" if rows else "", end="\n" if rows else "")
        for row in rows:
            print(f"  {'  '.join(map(str.ljust, row, widths))}".rstrip())
    print(_NOTE)


def _row(name: str) -> list[str]:
    published, place = PUBLISHED[name], fetched(name)
    size = _size(place) if place else f"{published.megabytes:.0f} MB"
    authors = published.authors
    return [name, size, f"licence: {authors.licence}", published.note, authors.paper, authors.page]


def _size(place: Path) -> str:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.0f} MB"
