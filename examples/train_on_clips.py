"""Trains a small network on a folder of clips, or on clips that are drawn where none is given.

python -m examples.train_on_clips --steps 200 --out runs/small
python -m examples.train_on_clips CLIPS --out runs/small
vfijax interpolate IN.mp4 OUT.mp4 --model runs/small/model

Everything else that can be said about a run is a field of `train.config.TrainConfig`, and a flag of
`python -m train.main`, which is the same program at full size.
"""

import argparse
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import vfijax
from datasets import SyntheticSource
from train.loop import run
from train.presets import PRESETS
from vfijax.media import Frame, VideoInfo, VideoWriter
from vfijax.models import narrow


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a small network on a folder of clips")
    parser.add_argument(
        "clips", nargs="?", type=Path, help="folder of videos, or of folders of three pictures"
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--width", type=int, default=24, help="channels of every layer")
    parser.add_argument("--out", type=Path, default=Path("runs/small"), help="directory of the run")
    options = parser.parse_args(args)

    clips = options.clips or drawn_clips(options.out.with_name(f"{options.out.name}_clips"))
    recipe = PRESETS["demo"]
    config = replace(
        recipe,
        net=narrow("compressed_adacof", options.width),
        steps=options.steps,
        data=replace(recipe.data, source=str(clips)),
    )
    run(config, options.out)
    params = vfijax.load(options.out / "model")  # the network with the best score
    print(f"{params.config.name}, trained on {clips}, is in {options.out}/model")


def drawn_clips(folder: Path, count: int = 24) -> Path:
    """A folder of short videos of shapes that move before one another, cut from photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = SyntheticSource(size=160, motion=40.0, frames=9)
    info = VideoInfo(width=160, height=160, rate=Fraction(8))
    for number in range(count):
        with VideoWriter(folder / f"{number:02d}.mp4", info, crf=8) as video:
            for i, image in enumerate(clips[number]):
                video.write(Frame(image, i / info.rate))
    return folder


if __name__ == "__main__":
    main()
