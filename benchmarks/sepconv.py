"""Rows of the separable convolution: forward beside PyTorch, backward beside the forward."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.measure import Contestant, Plan, Row, check_same, compiled, measure
from benchmarks.peers import torch_peer
from vfijax.ops import sepconv

PEER = "PyTorch, a loop over the taps"
FORWARD = "its forward"
TAPS = 51  # as in SepConv


def label(direction: str, n: int = TAPS) -> str:
    return f"sepconv {direction}, n={n}, C=3"


def rows(plan: Plan, n: int = TAPS, size: tuple[int, int] = (256, 448)) -> Iterator[Row]:
    detail = f"batch 1 of {size[0]}x{size[1]}"
    *arrays, cotangent = jax.device_put(_inputs(n, *size))
    program, seconds = compiled(sepconv, *arrays)
    forward: Contestant = partial(program, *arrays)
    name = label("forward", n)
    yield measure(name, "ops", detail, forward, {PEER: _peer(name, forward, *arrays)}, plan, seconds)

    def gradients(cotangent: jax.Array, *arrays: jax.Array) -> Any:
        return jax.vjp(sepconv, *arrays)[1](cotangent)

    program, seconds = compiled(gradients, cotangent, *arrays)
    backward: Contestant = partial(program, cotangent, *arrays)
    detail = f"{detail}, all three gradients"
    yield measure(label("backward", n), "ops", detail, backward, {FORWARD: forward}, plan, seconds)


def _inputs(n: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    """A padded image in [0, 1], kernels of both signs that give results around 1, and a cotangent."""
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(1, height + n - 1, width + n - 1, 3))
    kernels = rng.normal(0, n**-0.5, (2, 1, n, height, width))
    cotangent = rng.normal(size=(1, height, width, 3))
    return tuple(array.astype(np.float32) for array in (image, *kernels, cotangent))


def _peer(name: str, own: Contestant, *arrays: Any) -> Contestant | str:
    torch = torch_peer()
    if isinstance(torch, str):
        return torch
    call: Contestant = torch.separable(*arrays)
    check_same(name, np.asarray(own()), torch.channels_last(call()))
    return call
