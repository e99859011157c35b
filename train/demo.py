"""`python -m train.demo`: a few minutes from nothing to an interpolated video.

Draws a clip of moving photographs, keeps every second frame of it as a video, trains a small network
on other photographs, puts frames between those of the video, and compares them with the frames that
were left out. Everything it makes stays in one directory.
"""

import argparse
import dataclasses
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from datasets.synthetic import draw, scene
from train.loop import run
from train.presets import PRESETS
from vfijax.checkpoint import load
from vfijax.media import Frame, VideoInfo, VideoReader, VideoWriter, write_image
from vfijax.metrics import psnr
from vfijax.models import create
from vfijax.scoring.pictures import average, error_picture, sheet
from vfijax.video import interpolate_video

FRAMES = 17  # drawn; every second one is left out of the video
SIZE = 256  # pixels
TRAVEL = 48.0  # greatest path of the background over the whole clip, pixels
RATE = Fraction(12)  # of the video before interpolation
CRF = 8  # nearly lossless, so that the scores are those of the frames and not of the codec
SHOWN = (1, 7, 13)  # frames on the contact sheet


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="directory for everything made")
    parser.add_argument("--steps", type=int, help="training steps, if not those of the preset")
    args = parser.parse_args()
    demo(args.out, args.steps)
    return 0


def demo(out: Path, steps: int | None = None) -> dict[str, float]:
    """Runs the demonstration in the directory `out`; returns the PSNR of network and blend in dB."""
    out.mkdir(parents=True, exist_ok=True)
    truth = drawn_clip(seed=6)
    source = out / "input.mp4"
    write_clip(source, truth[::2])

    config = PRESETS["demo"]
    config = dataclasses.replace(config, steps=steps or config.steps)
    shutil.rmtree(out / "run", ignore_errors=True)
    run(config, out / "run")

    models = {"network": load(out / "run" / "model"), "blend": create("blend", 0)}
    made = {}
    for name, params in models.items():
        target = out / ("interpolated.mp4" if name == "network" else "blend.mp4")
        interpolate_video(source, target, params, crf=CRF)
        made[name] = [frame.image for frame in VideoReader(target)]
    scores = {name: float(np.mean(_psnr(frames, truth))) for name, frames in made.items()}

    rows = [_panels(truth, made["network"], made["blend"], i) for i in SHOWN]
    write_image(out / "contact_sheet.png", sheet(rows))
    print(f"PSNR of the {FRAMES // 2} new frames against the frames that were left out:")
    print(f"  network {scores['network']:.2f} dB, blend {scores['blend']:.2f} dB")
    print(f"video: {out / 'interpolated.mp4'}; pictures: {out / 'contact_sheet.png'}")
    return scores


def drawn_clip(seed: int) -> list[np.ndarray]:
    """`FRAMES` frames of one scene, uint8 [SIZE, SIZE, 3], from photographs that training does not see."""
    layers = scene("val", SIZE, TRAVEL, np.random.default_rng(seed))
    return [draw(layers, SIZE, time) for time in np.linspace(-0.5, 0.5, FRAMES)]


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    info = VideoInfo(width=SIZE, height=SIZE, rate=RATE, time_base=1 / RATE)
    with VideoWriter(path, info, crf=CRF) as writer:
        for i, image in enumerate(frames):
            writer.write(Frame(image, i / RATE))


def _psnr(frames: list[np.ndarray], truth: list[np.ndarray]) -> list[float]:
    pairs = list(zip(frames, truth, strict=True))[1::2]
    return [float(psnr(a.astype(np.float32) / 255, b.astype(np.float32) / 255)) for a, b in pairs]


def _panels(
    truth: list[np.ndarray], network: list[np.ndarray], blend: list[np.ndarray], i: int
) -> list[tuple[str, np.ndarray]]:
    return [
        ("inputs, overlaid", average(truth[i - 1], truth[i + 1])),
        ("truth", truth[i]),
        ("interpolated", network[i]),
        ("its error x4", error_picture(network[i], truth[i])),
        ("error of the blend x4", error_picture(blend[i], truth[i])),
    ]


if __name__ == "__main__":
    sys.exit(main())
