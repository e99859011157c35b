"""Rows of whole networks, forward, beside the same networks in PyTorch."""

from collections.abc import Iterator, Mapping

import jax
import numpy as np

from benchmarks.measure import Contestant, Plan, Row, check_same, compiled, measure
from benchmarks.ops import FORMS
from benchmarks.peers import torch_peer
from vfijax.models import create, forward
from vfijax.params import ModelParams

NAMES = ("compressed_adacof", "cdfi")
SIZE = (256, 448)


def label(name: str) -> str:
    return f"{name} forward"


def rows(plan: Plan, names: tuple[str, ...] = NAMES, size: tuple[int, int] = SIZE) -> Iterator[Row]:
    for name in names:
        yield network_row(create(name, 0), plan, size)


def network_row(params: ModelParams, plan: Plan, size: tuple[int, int]) -> Row:
    """A row of one network with the weights given."""
    frames = jax.device_put(smooth_frames(size))
    program, seconds = compiled(lambda p, f0, f1: forward(p, f0, f1)[0], params, *frames)

    def own() -> jax.Array:
        return program(params, *frames)

    name = params.config.name
    detail = f"one pair of {size[0]}x{size[1]}, random weights"
    return measure(label(name), "models", detail, own, _peers(params, frames, own), plan, seconds)


def smooth_frames(size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two different frames [1, H, W, 3] of waves and some noise, float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1], :1][:2] / 20
    waves = [np.sin(x + phase + np.arange(3)) * np.cos(y - phase) for phase in (0.0, 0.2)]
    noise = rng.uniform(-0.1, 0.1, (2, *size, 3))
    first, second = ((0.5 + 0.4 * w + n)[None].astype(np.float32) for w, n in zip(waves, noise, strict=True))
    return first, second


def _peers(params: ModelParams, frames: object, own: Contestant) -> Mapping[str, Contestant | str]:
    torch = torch_peer()
    if isinstance(torch, str):
        return dict.fromkeys(FORMS, torch)
    tensors = [torch.planar(frame) for frame in jax.tree.leaves(frames)]

    def peer(form: str) -> Contestant:
        network = torch.Network(params, FORMS[form])
        result = torch.channels_last(network(*tensors))
        check_same(f"{label(params.config.name)}, {form}", np.asarray(own()), result)
        return lambda: network(*tensors)

    return {form: peer(form) for form in FORMS}
