"""Rows of the deformable convolution: forward beside PyTorch, backward beside the forward."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.measure import Contestant, Plan, Row, check_same, compiled, measure
from benchmarks.ops import FORWARD
from benchmarks.peers import torch_peer
from vfijax.ops import deform_conv

GATHERS = "PyTorch, four gathers and one matrix product"
GRID_SAMPLE = "PyTorch, one grid_sample and one matrix product"
FORMS = {GATHERS: "gathers", GRID_SAMPLE: "grid_sample"}  # of `peer_torch.DEFORMS`


@dataclass(frozen=True)
class Workload:
    """One call with 3x3 taps at stride 1; `reach` is the deviation of the offsets in pixels."""

    height: int
    width: int
    channels: int = 64
    groups: int = 8
    reach: float = 2.0

    def inputs(self) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(0)
        field = (1, self.groups * 9, self.height, self.width)
        image = rng.normal(size=(1, self.height, self.width, self.channels))
        offset_y, offset_x = (rng.normal(0, self.reach, field) for _ in range(2))
        kernel = rng.normal(size=(3, 3, self.channels, self.channels)) / (3 * self.channels**0.5)
        arrays = (image, offset_y, offset_x, rng.uniform(size=field), kernel)
        return tuple(array.astype(np.float32) for array in arrays)

    def cotangent(self) -> np.ndarray:
        shape = (1, self.height, self.width, self.channels)
        return np.random.default_rng(1).normal(size=shape).astype(np.float32)


# The finest level of an alignment block of Zooming Slow-Mo, whose low-resolution frames are this large.
WORKLOADS = (Workload(64, 112),)


def label(direction: str, workload: Workload) -> str:
    size = f"{workload.height}x{workload.width}"
    return f"deform_conv {direction}, {size}, C={workload.channels}, G={workload.groups}"


def rows(plan: Plan, workloads: tuple[Workload, ...] = WORKLOADS) -> Iterator[Row]:
    for workload in workloads:
        detail = f"3x3 taps, offsets about {workload.reach:g} pixels"
        arrays, cotangent = jax.device_put((workload.inputs(), workload.cotangent()))
        program, compile_s = compiled(deform_conv, *arrays)

        def forward(program: Any = program, arrays: Any = arrays) -> Any:
            return program(*arrays)

        peers = {form: _peer(workload, form, forward) for form in FORMS}
        yield measure(label("forward", workload), "ops", detail, forward, peers, plan, compile_s)
        program, compile_s = compiled(_gradients, cotangent, *arrays)

        def backward(program: Any = program, arguments: Any = (cotangent, *arrays)) -> Any:
            return program(*arguments)

        detail = f"{detail}, all five gradients"
        yield measure(
            label("backward", workload), "ops", detail, backward, {FORWARD: forward}, plan, compile_s
        )


def _gradients(cotangent: jax.Array, *arrays: jax.Array) -> Any:
    """The backward pass alone: it reads nothing that the forward pass computes."""
    return jax.vjp(deform_conv, *arrays)[1](cotangent)


def _peer(workload: Workload, form: str, own: Contestant) -> Contestant | str:
    torch = torch_peer()
    if isinstance(torch, str):
        return torch
    *arrays, kernel = workload.inputs()
    call: Contestant = torch.deform_conv(FORMS[form], *arrays, kernel=kernel)
    check_same(f"{label('forward', workload)}, {form}", np.asarray(own()), torch.channels_last(call()))
    return call
