"""Frames between two photographs, and a film of them.

python -m examples.interpolate_photographs                    # two views of a photograph of scikit-image
python -m examples.interpolate_photographs FIRST LAST --frames 15 --model guided --out between
"""

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
import skimage.data

import vfijax
from vfijax.media import Frame, VideoInfo, VideoWriter, read_image, write_image


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Frames between two photographs")
    parser.add_argument("photographs", nargs="*", type=Path, help="the first and the last, of one size")
    parser.add_argument("--frames", type=int, default=7, help="how many to put between them")
    parser.add_argument("--model", help="guided, or a checkpoint; flow if nothing is given")
    parser.add_argument("--out", type=Path, default=Path("between"), help="folder for the frames")
    options = parser.parse_args(args)
    if len(options.photographs) not in (0, 2):
        parser.error("give two photographs, or none for those of scikit-image")

    first, last = map(read_image, options.photographs) if options.photographs else two_views()
    params = vfijax.load(options.model)
    between = vfijax.interpolate_n(params, first, last, options.frames)
    frames = [first, *map(np.asarray, between), last]

    options.out.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        write_image(options.out / f"{i:03d}.png", frame)
    height, width = first.shape[:2]
    rate = Fraction(len(frames), 2)  # it lasts two seconds
    with VideoWriter(options.out / "film.mp4", VideoInfo(width=width, height=height, rate=rate)) as film:
        for i, frame in enumerate(frames):
            film.write(Frame(frame, i / rate))
    print(
        f"{options.frames} frames between two: {options.out}/000.png to {i:03d}.png, {options.out}/film.mp4"
    )


def two_views() -> tuple[np.ndarray, np.ndarray]:
    """A photograph as a camera sees it that moves on by 24 pixels and down by 12; uint8 [320, 480, 3]."""
    photograph = skimage.data.coffee()
    return photograph[30:350, 40:520], photograph[42:362, 64:544]


if __name__ == "__main__":
    main()
