"""`vfijax train`, `compress` and `data`: programs of the packages `train` and `datasets`, handed over to.

They stand above this package (docs/design.md, part 2) and have command lines of their own. In a checkout they
are `train.main` and so on; a wheel, which must not take these names from others, has them as
`vfijax_train.main` (setup.py).
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from vfijax.command import run_main

# name: the module, and what it does.
PROGRAMS = {
    "train": ("train.main", "train a network"),
    "compress": ("train.compress", "compress a network: train it sparse, shrink it, train it again"),
    "data build": ("datasets.build", "build a data set from downloaded files"),
    "data patches": ("datasets.patches.__main__", "cut patches worth training on from triplets or clips"),
}
ROOT = Path(__file__).parents[2]


def run_program(name: str, arguments: Sequence[str], *, debug: bool = False) -> int:
    """Runs an entry of `PROGRAMS` with its own command line; its exit status."""
    module, program = PROGRAMS[name][0], f"vfijax {name}"
    if debug:
        os.environ["VFIJAX_DEBUG"] = "1"  # the program ends as all do, by itself
    return run_main(program, lambda: _load(module).main(arguments, program=program))


def _load(module: str) -> ModuleType:
    """Imports `train.main` from the checkout that this file is in, else what the wheel has it as.

    Raises:
      ValueError: a package of the extra `train` is missing, or another package has the name in a checkout.
    """
    package = module.partition(".")[0]
    checkout = (ROOT / "pyproject.toml").is_file() and (ROOT / package).is_dir()
    if checkout and str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        found = importlib.import_module(module if checkout else f"vfijax_{module}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in (package, "vfijax", f"vfijax_{package}"):
            raise
        where = "in the checkout: pip install -e '.[train]'" if checkout else "pip install 'vfijax[train]'"
        raise ValueError(
            f"{missing} is not installed; training and data need the extra `train` ({where})"
        ) from error
    return found
