"""`python -m train.demo`: from nothing to an interpolated video, with the truth beside it.

Draws a clip of photographs that move, turn and cover one another, keeps every second frame of it as a
video, puts frames between those, and compares them with the frames that were left out. With `--train` the
model is not the one that works out of the box but a small network, trained first, for a few minutes, on
other photographs. Everything it makes stays in one directory; `demo.webp`, an animation, is the picture in
the README.
"""

import argparse
import dataclasses
import math
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.synthetic import Layer, blob, cut, draw, photographs
from train.loop import run
from train.presets import PRESETS
from vfijax import compilation
from vfijax.checkpoint import load
from vfijax.command import Stopping, given, never, run_main, stop_requests
from vfijax.environment import environment
from vfijax.files import write_json
from vfijax.levels import to_float
from vfijax.media import Frame, VideoInfo, VideoReader, VideoWriter, write_image
from vfijax.media.sheet import ERROR_GAIN, error_picture, sheet
from vfijax.metrics import psnr
from vfijax.models import create
from vfijax.pairs import interpolate_n
from vfijax.params import ModelParams
from vfijax.video import interpolate_video

FRAMES = 77  # drawn, 3.2 seconds; every second one is left out of the video
SIZE = 288  # pixels
RATE = Fraction(12)  # of the video before interpolation
CRF = 8  # nearly lossless, so that the scores are those of the frames and not of the codec
SHOWN = (15, 37, 59)  # frames on the contact sheet
BETWEEN = 8  # drawn frames from one input of the animation to the next
INPUTS = range(24, 56, BETWEEN)  # each with the one after it
VIEW = (slice(70, 262), slice(40, 232))  # rows and columns of it that are shown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="directory for everything made")
    parser.add_argument("--train", action="store_true", help="train a small network and show that")
    parser.add_argument("--steps", type=int, help="training steps, if not those of the preset")
    interrupted = "what is complete is in the directory"
    return run_main("train.demo", lambda: _main(parser.parse_args(given(None))), interrupted=interrupted)


def _main(args: argparse.Namespace) -> None:
    compilation.set_up()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.train:
        demo(args.out, load())
        return
    demo(args.out, trained(args.out / "run", args.steps, stop_requests))


def trained(out: Path, steps: int | None = None, stopping: Stopping = never) -> ModelParams:
    """A small network, trained in the run directory `out` as far as it got, see `train.loop.run`."""
    config = PRESETS["demo"]
    config = dataclasses.replace(config, steps=steps or config.steps)
    shutil.rmtree(out, ignore_errors=True)
    run(config, out, stopping=stopping)
    return load(out / "model")


def demo(out: Path, params: ModelParams) -> dict[str, float]:
    """Shows a model beside the blend in the directory `out`; returns the PSNR of both in dB."""
    truth = drawn_clip()
    source = out / "input.mp4"
    write_clip(source, truth[::2], RATE)
    name = params.config.name
    made = {}
    for label, model in {name: params, "blend": create("blend", 0)}.items():
        target = out / ("blend.mp4" if label == "blend" else "interpolated.mp4")
        interpolate_video(source, target, model, crf=CRF)
        made[label] = [frame.image for frame in VideoReader(target)]
    scores = {label: float(np.mean(_psnr(frames, truth))) for label, frames in made.items()}

    panels = [_panels(truth, made, name, i) for i in range(FRAMES)]
    write_clip(out / "side_by_side.mp4", [sheet([row[:3]]) for row in panels], 2 * RATE)
    write_image(out / "contact_sheet.png", sheet([panels[i] for i in SHOWN]))
    write_animation(out / "demo.webp", animation(truth, params))
    write_json(out / "scores.json", {"psnr": scores, "frames": FRAMES // 2, "environment": environment()})
    print(f"PSNR of the {FRAMES // 2} new frames against the frames that were left out:")
    print("  " + ", ".join(f"{label} {score:.2f} dB" for label, score in scores.items()))
    print(f"videos: {out / 'interpolated.mp4'}, {out / 'side_by_side.mp4'}")
    print(f"pictures: {out / 'demo.webp'}, {out / 'contact_sheet.png'}")
    return scores


def drawn_clip() -> list[np.ndarray]:
    """`FRAMES` frames, uint8 [SIZE, SIZE, 3], of photographs that no training sees."""
    layers = _scene(np.random.default_rng(6))
    return [draw(layers, SIZE, time) for time in np.linspace(-0.5, 0.5, FRAMES)]


def _scene(rng: np.random.Generator) -> list[Layer]:
    """A background that pans and grows, a disc that turns before it, and a shape that passes both."""
    camera, _, coffee, _, rocket, _ = photographs("val")

    def layer(photograph: np.ndarray, side: int, *, front: bool = True, **motion: Any) -> Layer:
        still = {"centre": (SIZE / 2, SIZE / 2), "angle": 0.0, "spin": 0.0, "log_scale": 0.0, "growth": 0.0}
        return Layer(cut(photograph, side, rng), blob(rng) if front else None, **{**still, **motion})

    return [
        layer(coffee, 3 * SIZE, front=False, velocity=(40.0, 120.0), spin=0.15, growth=0.2),
        layer(camera, SIZE // 2, velocity=(-50.0, -60.0), spin=-0.8 * math.pi, centre=(120.0, 170.0)),
        layer(rocket, SIZE // 2, velocity=(30.0, 260.0), spin=0.6, growth=0.3, centre=(190.0, 130.0)),
    ]


def write_clip(path: Path, frames: list[np.ndarray], rate: Fraction) -> None:
    """Frames uint8 [H, W, 3] as a video of `rate` frames per second."""
    height, width = frames[0].shape[:2]
    with VideoWriter(
        path, VideoInfo(width=width, height=height, rate=rate, time_base=1 / rate), crf=CRF
    ) as writer:
        for i, image in enumerate(frames):
            writer.write(Frame(image, i / rate))


def animation(truth: list[np.ndarray], params: ModelParams) -> list[np.ndarray]:
    """A detail of few inputs, held, beside the frames that the blend and the model put between them."""
    models = {"blend": create("blend", 0), params.config.name: params}
    pictures = []
    for i in INPUTS:
        pair = truth[i], truth[i + BETWEEN]
        new = {name: [pair[0], *interpolate_n(model, *pair, BETWEEN - 1)] for name, model in models.items()}
        for j in range(BETWEEN):
            panels = [("input", pair[0]), *((name, np.asarray(frames[j])) for name, frames in new.items())]
            pictures.append(sheet([[(text, image[VIEW]) for text, image in panels]]))
    return pictures


def write_animation(path: Path, pictures: list[np.ndarray]) -> None:
    first, *others = (Image.fromarray(picture) for picture in pictures)
    first.save(path, save_all=True, append_images=others, duration=80, loop=0, quality=50, method=6)


def _psnr(frames: list[np.ndarray], truth: list[np.ndarray]) -> list[float]:
    pairs = list(zip(frames, truth, strict=True))[1::2]
    return [float(psnr(to_float(a), to_float(b))) for a, b in pairs]


def _panels(
    truth: list[np.ndarray], made: dict[str, list[np.ndarray]], name: str, i: int
) -> list[tuple[str, np.ndarray]]:
    """What there is of frame i."""
    return [
        ("input, held", truth[i - i % 2]),
        ("blend", made["blend"][i]),
        (name, made[name][i]),
        ("truth", truth[i]),
        (f"error of the blend x{ERROR_GAIN}", error_picture(made["blend"][i], truth[i])),
        (f"error of {name} x{ERROR_GAIN}", error_picture(made[name][i], truth[i])),
    ]


if __name__ == "__main__":
    sys.exit(main())
