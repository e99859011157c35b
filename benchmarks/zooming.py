"""The row of Zooming Slow-Mo, forward, beside the same network in PyTorch."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks.deform import FORMS
from benchmarks.measure import Contestant, Plan, Row, check_same, compiled, measure
from benchmarks.models import smooth_frames
from benchmarks.peers import torch_peer
from vfijax.models import create
from vfijax.models.zooming import forward_clip
from vfijax.params import ModelParams

LABEL = "zooming_slowmo forward"
FRAMES, SIZE = 4, (64, 112)


def rows(plan: Plan) -> Iterator[Row]:
    yield network_row(moving(create("zooming_slowmo", 0)), plan, FRAMES, SIZE)


def moving(params: ModelParams, factor: float = 40) -> ModelParams:
    """Fresh parameters with larger offsets, which are otherwise a small part of a pixel."""

    def enlarge(path: Any, leaf: jax.Array) -> jax.Array:
        return factor * leaf if path[-2].key.startswith("fields") else leaf

    return replace(params, tree=jax.tree_util.tree_map_with_path(enlarge, params.tree))


def network_row(params: ModelParams, plan: Plan, count: int, size: tuple[int, int]) -> Row:
    """A row of one network with the weights given."""
    frames = jax.device_put(_clip(count, size))
    program, seconds = compiled(forward_clip, params, frames)

    def own() -> jax.Array:
        return program(params, frames)

    large = f"{2 * count - 1} of {size[0] * 4}x{size[1] * 4}"
    detail = f"{count} frames of {size[0]}x{size[1]} to {large}, random weights"
    return measure(LABEL, "models", detail, own, _peers(params, frames, own), plan, seconds)


def _clip(count: int, size: tuple[int, int]) -> np.ndarray:
    """[1, N, H, W, 3], float32 in [0, 1]."""
    pairs = [smooth_frames(size, seed) for seed in range(-(-count // 2))]
    return np.stack([frame for pair in pairs for frame in pair], axis=1)[:, :count]


def _peers(params: ModelParams, frames: jax.Array, own: Contestant) -> Mapping[str, Contestant | str]:
    torch = torch_peer()
    if isinstance(torch, str):
        return dict.fromkeys(FORMS, torch)
    from benchmarks.peer_zooming import Network

    clip = torch.planar(frames[0])[None]

    def peer(form: str) -> Contestant:
        network = Network(params, FORMS[form])
        result = torch.channels_last(network(clip)[0])
        check_same(f"{LABEL}, {form}", np.asarray(own())[0], result)
        return lambda: network(clip)

    return {form: peer(form) for form in FORMS}
