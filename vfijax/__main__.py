"""`python -m vfijax` is the command `vfijax`."""

import sys

from vfijax.cli import main

if __name__ == "__main__":
    sys.exit(main())
