"""`python -m train.ship RUN/last guided`: makes a trained model one that comes with the package."""

import argparse
import json
import sys
from pathlib import Path

from vfijax import weights
from vfijax.checkpoint import load


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.ship", description=__doc__)
    parser.add_argument("model", type=Path, help="a checkpoint, such as RUN/model or RUN/last")
    parser.add_argument("name", choices=weights.SHIPPED, help="what it is to be called")
    args = parser.parse_args()
    notes = json.loads((args.model / "config.json").read_text())["notes"]
    print(f"hash for vfijax.weights.SHIPPED: {weights.write(args.name, load(args.model), **notes)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
