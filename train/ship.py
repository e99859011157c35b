"""`python -m train.ship RUN/last guided [--coarse RUN/model]`: makes a trained model one that comes with the
package. `--coarse` gives a network whose motion was not trained with it that of a run of `coarse_motion`."""

import argparse
import sys
from pathlib import Path

from vfijax import weights
from vfijax.checkpoint import load, load_notes
from vfijax.command import given, run_main
from vfijax.params import ModelParams


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.ship", description=__doc__)
    parser.add_argument("model", type=Path, help="a checkpoint, such as RUN/model or RUN/last")
    parser.add_argument("name", choices=weights.SHIPPED, help="what it is to be called")
    parser.add_argument("--coarse", type=Path, help="a checkpoint of coarse_motion")
    return run_main("train.ship", lambda: _ship(parser.parse_args(given(None))))


def _ship(args: argparse.Namespace) -> None:
    params, notes = load(args.model), {"step": load_notes(args.model).get("step")}
    if args.coarse:
        tree = {**params.tree, "coarse": load(args.coarse).tree["coarse"]}
        params = ModelParams(tree, params.config.replace(coarse=True))
        notes["coarse_step"] = load_notes(args.coarse).get("step")
    print(f"hash for vfijax.weights.SHIPPED: {weights.write(args.name, params, **notes)}")


if __name__ == "__main__":
    sys.exit(main())
