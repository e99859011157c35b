"""Rows of the deformable separable convolution, forward and with gradients, beside PyTorch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.measure import Contestant, Plan, Row, check_same, compiled, measure
from benchmarks.peers import torch_peer
from vfijax.ops import dsepconv

PEER = "PyTorch, grid_sample per tap"
# Among the results, the gradients of the offsets. They jump at integers, to either side of which the
# normalised coordinates of `grid_sample` round; the other results are continuous, and compared.
OFFSETS = (4, 5)


@dataclass(frozen=True)
class Workload:
    """One call of the op: the size of the output, n taps a side, and how far offsets reach (pixels)."""

    height: int = 256
    width: int = 448
    channels: int = 3
    taps: int = 5
    reach: float = 2.0

    @property
    def label(self) -> str:
        return f"n={self.taps}, C={self.channels}"

    @property
    def detail(self) -> str:
        return f"batch 1 of {self.height}x{self.width}, offsets about {self.reach:g} pixels"

    def inputs(self) -> tuple[np.ndarray, ...]:
        """Image and mask in [0, 1], kernels that sum to 1, offsets; float32."""
        rng = np.random.default_rng(0)
        size = (self.height, self.width)
        image = rng.uniform(size=(1, *size, self.channels))
        kernels = [kernel / kernel.sum(1) for kernel in rng.uniform(0.1, 1, (2, 1, self.taps, *size))]
        offsets = rng.normal(0, self.reach, (2, 1, self.taps**2, *size))
        mask = rng.uniform(size=(1, self.taps**2, *size))
        return tuple(array.astype(np.float32) for array in (image, *kernels, *offsets, mask))

    def cotangent(self) -> np.ndarray:
        shape = (1, self.height, self.width, self.channels)
        return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def rows(plan: Plan, workload: Workload = Workload()) -> Iterator[Row]:
    arrays, cotangent = workload.inputs(), workload.cotangent()
    forward, forward_compile = _own(dsepconv, *arrays)
    name = f"dsepconv forward, {workload.label}"
    peers = {PEER: _peer(name, forward, *arrays)}
    yield measure(name, "ops", workload.detail, forward, peers, plan, forward_compile)

    def gradients(cotangent: jax.Array, *arrays: jax.Array) -> Any:
        out, vjp = jax.vjp(dsepconv, *arrays)
        return out, *vjp(cotangent)

    both, both_compile = _own(gradients, cotangent, *arrays)
    name = f"dsepconv forward and backward, {workload.label}"
    peers = {PEER: _peer(name, both, *arrays, cotangent=cotangent)}
    yield measure(name, "ops", f"{workload.detail}, all six gradients", both, peers, plan, both_compile)


def _own(function: Any, *arrays: np.ndarray) -> tuple[Contestant, float]:
    on_device = jax.device_put(arrays)
    program, seconds = compiled(function, *on_device)
    return lambda: program(*on_device), seconds


def _peer(
    name: str, own: Contestant, *arrays: np.ndarray, cotangent: np.ndarray | None = None
) -> Contestant | str:
    torch = torch_peer()
    if isinstance(torch, str):
        return torch
    call: Contestant = torch.dsepconv_op(*arrays, cotangent=cotangent)
    for i, (mine, theirs) in enumerate(zip(jax.tree.leaves(own()), call(), strict=True)):
        if i not in OFFSETS:
            check_same(name, np.asarray(mine), theirs.numpy())
    return call
