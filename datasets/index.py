"""What the index.csv of a directory says of its files."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from datasets.sources import Items, files_of
from vfijax.media import MediaError

INDEX, FILE, LICENCE = "index.csv", "file", "repository_licence"


def read_index(index: Path, column: str) -> dict[str, str]:
    """File, as named below the directory -> what a column says of it; MediaError where there is no column."""
    with index.open(newline="") as file:
        reader = csv.DictReader(file)
        lacking = {FILE, column} - set(reader.fieldnames or ())
        if lacking:
            raise MediaError(f"{index}: has no column {' and '.join(sorted(lacking))}")
        return {row[FILE]: row[column] for row in reader}


def licensed(items: Items, root: str | Path, licences: Sequence[str]) -> Items:
    """The items whose files the index of a directory lists with one of some licences.

    Args:
      items: found below the directory, see `find_items`.
      root: the directory; its index.csv has the columns file, below the directory, and repository_licence.
      licences: as they stand in the index.

    Raises:
      MediaError: no such index or column, or no item with such a licence; says which there are.
    """
    index = Path(root) / INDEX
    if not index.is_file():
        raise MediaError(f"{root}: has no {INDEX}, which a choice by licence needs")
    of_file = read_index(index, LICENCE)
    found = [{of_file.get(file.relative_to(root).as_posix(), "") for file in files_of(i)} for i in items]
    kept = [item for item, names in zip(items, found, strict=True) if names <= set(licences)]
    if not kept:
        counts = Counter(name or "not listed" for names in found for name in names)
        there = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        raise MediaError(f"{root}: nothing has the licence {' or '.join(licences)}; there are {there}")
    return cast(Items, kept)
