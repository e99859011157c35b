"""`python -m train.ship RUN/last guided [--coarse RUN/model]`: makes a trained model one that comes with the
package. `--coarse` gives a network whose motion was not trained with it that of a run of `coarse_motion`."""

import argparse
import json
import sys
from pathlib import Path

from vfijax import weights
from vfijax.checkpoint import CheckpointError, load
from vfijax.params import ModelParams


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.ship", description=__doc__)
    parser.add_argument("model", type=Path, help="a checkpoint, such as RUN/model or RUN/last")
    parser.add_argument("name", choices=weights.SHIPPED, help="what it is to be called")
    parser.add_argument("--coarse", type=Path, help="a checkpoint of coarse_motion")
    args = parser.parse_args()
    try:
        params, notes = load(args.model), {"step": _step(args.model)}
        if args.coarse:
            tree = {**params.tree, "coarse": load(args.coarse).tree["coarse"]}
            params = ModelParams(tree, params.config.replace(coarse=True))
            notes["coarse_step"] = _step(args.coarse)
    except CheckpointError as error:
        print(f"train.ship: error: {error}", file=sys.stderr)
        return 1
    print(f"hash for vfijax.weights.SHIPPED: {weights.write(args.name, params, **notes)}")
    return 0


def _step(model: Path) -> int | None:
    return json.loads((model / "config.json").read_text())["notes"].get("step")


if __name__ == "__main__":
    sys.exit(main())
