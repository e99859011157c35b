"""Makes a network smaller and compares both: size, multiply-adds, scores.

python -m examples.compress_and_compare                                # the model that comes with the package
python -m examples.compress_and_compare --model runs/first/model --ratio 0.5 --triplets middlebury

Channels are chosen by their strength and cut off; nothing is trained again here. `docs/pruning.md` has better
rules, and `python -m train.compress` trains before and after.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich

import vfijax
from datasets import SyntheticSource
from vfijax.media import find_triplets, read_image
from vfijax.metrics import psnr

Frames = tuple[np.ndarray, np.ndarray, np.ndarray]  # first, middle and last, uint8 [H, W, 3]


def main(args: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description="Make a network smaller and compare both")
    parser.add_argument("--model", default="guided", help="a checkpoint, or guided")
    parser.add_argument("--ratio", type=float, default=0.82, help="of the channels, how many stay")
    parser.add_argument("--triplets", type=Path, help="folder of triplets to score on; drawn ones without")
    parser.add_argument("--out", type=Path, default=Path("weights/small"), help="where the smaller one goes")
    options = parser.parse_args(args)

    before = vfijax.load(options.model)
    after = vfijax.prune.prune(before, "uniform", ratio=options.ratio)
    vfijax.save(options.out, after)
    rich.print(vfijax.prune.summary(before, after, 256, 448, measure=False).table())

    triplets = read(options.triplets) if options.triplets else drawn()
    networks = {"before": before, "after": after, "blend": vfijax.create("blend", 0)}
    scores = {name: mean_psnr(params, triplets) for name, params in networks.items()}
    print(f"PSNR over {len(triplets)} triplets: " + ", ".join(f"{k} {v:.2f} dB" for k, v in scores.items()))
    return scores


def read(folder: Path) -> list[Frames]:
    found = find_triplets(folder)
    return [(read_image(item.first), read_image(item.middle), read_image(item.last)) for item in found]


def drawn(count: int = 6) -> list[Frames]:
    """Shapes cut from photographs, whose middle frame is drawn and not made from the other two."""
    scenes = SyntheticSource(size=160, motion=16.0, split="val")
    return [tuple(scenes[i]) for i in range(count)]


def mean_psnr(params: vfijax.ModelParams, triplets: Sequence[Frames]) -> float:
    """Mean over images of the PSNR of the 8-bit middle frames, in dB."""
    scores = []
    for first, middle, last in triplets:
        made = np.asarray(vfijax.interpolate(params, first, last))
        scores.append(float(psnr(made.astype(np.float32) / 255, middle.astype(np.float32) / 255)))
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
