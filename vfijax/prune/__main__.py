"""`python -m vfijax.prune CHECKPOINT OUT` is the command `vfijax prune`."""

import sys

from vfijax.cli import main

if __name__ == "__main__":
    sys.exit(main(["prune", *sys.argv[1:]]))
