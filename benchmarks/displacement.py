"""Scores by the size of the motion, on drawn scenes whose truth is exact.

python -m benchmarks.displacement                                    flow and blend, 24 scenes each
python -m benchmarks.displacement --models flow runs/mine/model --pictures docs/pictures

The scenes (`datasets.scenes`) are of photographs that no training sees: a background and one to five shapes
and bars before it that move, turn and grow, sharp and without noise. The greatest displacement of anything
that is seen is exactly the number of pixels of a column. What remains of the error is at what appears and
disappears, and where motion was not found.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from datasets.scenes import SceneSource
from vfijax.command import given, run_main
from vfijax.environment import environment
from vfijax.files import write_json
from vfijax.levels import rounded, to_float
from vfijax.media import write_image
from vfijax.media.sheet import ERROR_GAIN, error_picture, sheet
from vfijax.metrics import psnr
from vfijax.params import ModelParams
from vfijax.scoring import predict
from vfijax.weights.resolve import resolve


@dataclass(frozen=True)
class Args:
    """Scores models by displacement."""

    models: tuple[str, ...] = ("flow", "flow_fine", "flow_medium", "blend")
    """what `--model` of vfijax takes"""
    displacements: tuple[int, ...] = (5, 10, 20, 40, 80)
    """pixels between the two given frames"""
    scenes: int = 24
    """of each displacement"""
    size: int = 320
    """side of the frames, pixels"""
    out: Path | None = None
    """file for the scores as JSON"""
    pictures: Path | None = None
    """folder for a picture per displacement: the scene in which the first model is worst"""


Triplet = tuple[np.ndarray, np.ndarray, np.ndarray]


def main(arguments: Sequence[str] | None = None) -> int:
    def body() -> None:
        return _run(tyro.cli(Args, prog="benchmarks.displacement", args=given(arguments)))

    return run_main("benchmarks.displacement", body, interrupted="nothing was written")


def _run(args: Args) -> None:
    models = {name: resolve(name) for name in args.models}
    scores = {d: measured(models, triplets(d, args.scenes, args.size)) for d in args.displacements}
    means = {name: {d: float(np.mean(scores[d][name])) for d in scores} for name in models}
    print(table(means))
    if args.out is not None:
        write_json(args.out, {"psnr": means, "scenes": args.scenes, "environment": environment()})
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
        for displacement, of_scenes in scores.items():
            worst = int(np.argmin(of_scenes[args.models[0]]))
            triplet = triplets(displacement, args.scenes, args.size)[worst]
            path = args.pictures / f"displacement_{displacement:02d}.webp"
            write_image(path, picture(models, triplet), lossless=False, quality=85)


def triplets(displacement: int, scenes: int, size: int) -> list[Triplet]:
    """First, middle and last frame of some scenes, uint8 [size, size, 3]."""
    source = SceneSource(size, 1, split="val", displacement=float(displacement))
    sharp = (replace(source[i], shutter=0.0, exposures=1, fading=0.0, noise=0.0) for i in range(scenes))
    return [(scene.draw(0.0), scene.draw(0.5), scene.draw(1.0)) for scene in sharp]


def measured(models: Mapping[str, ModelParams], frames: Sequence[Triplet]) -> dict[str, list[float]]:
    """The PSNR of every middle frame, rounded to 8 bits, in decibels."""
    return {
        name: [_psnr(rounded(predict(params, first, last)), middle) for first, middle, last in frames]
        for name, params in models.items()
    }


def _psnr(prediction: np.ndarray, truth: np.ndarray) -> float:
    return float(psnr(to_float(prediction), to_float(truth)))


def table(means: Mapping[str, Mapping[int, float]]) -> str:
    """PSNR by model and displacement, as Markdown."""
    columns = list(next(iter(means.values())))
    lines = [
        f"| PSNR dB | {' | '.join(f'{d} pixels' for d in columns)} |",
        f"| --- |{' --: |' * len(columns)}",
    ]
    return "\n".join(
        [*lines, *(f"| `{n}` | {' | '.join(f'{row[d]:.2f}' for d in columns)} |" for n, row in means.items())]
    )


def picture(models: Mapping[str, ModelParams], frames: Triplet) -> np.ndarray:
    """What is given and the truth, then what each model makes of it and its error."""
    first, middle, last = frames
    rows = [[("first", first), ("last", last), ("truth", middle)]]
    for name, params in models.items():
        made = rounded(predict(params, first, last))
        caption = f"{Path(name).name}, {_psnr(made, middle):.2f} dB"
        rows.append(
            [(caption, made), (f"its error x{ERROR_GAIN}", error_picture(made, middle)), ("truth", middle)]
        )
    return sheet(rows)


if __name__ == "__main__":
    sys.exit(main())
