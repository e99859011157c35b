"""Rows of the sampling op: forward beside two PyTorch forms, backward beside the forward."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.measure import Contestant, Plan, Row, check_same, compiled, measure
from benchmarks.peers import torch_peer
from pallas_kernels.shapes import SHAPES, Workload
from vfijax.ops import adacof

GATHERS = "PyTorch, four gathers per tap (published form)"
GRID_SAMPLES = "PyTorch, grid_sample per tap"
FORMS = {GATHERS: "gathers", GRID_SAMPLES: "grid_samples"}
FORWARD = "its forward"

NAMES = ("adacof_vimeo", "cdfi_vimeo", "cdfi_pyramid_vimeo")
# grid_sample cannot truncate offsets; flooring instead costs the same.
WORKLOADS = tuple(replace(w, rounding="floor") for w in SHAPES["adacof"] if w.name in NAMES)


def label(direction: str, workload: Workload) -> str:
    return f"op {direction}, F={workload.taps}, C={workload.channels}"


def rows(plan: Plan, workloads: Sequence[Workload] = WORKLOADS) -> Iterator[Row]:
    for workload in workloads:
        forward, forward_compile = _forward(workload)
        yield measure(
            label("forward", workload),
            "ops",
            _detail(workload),
            forward,
            {form: _peer(workload, form, forward) for form in FORMS},
            plan,
            forward_compile,
        )
        backward, backward_compile = _backward(workload)
        yield measure(
            label("backward", workload),
            "ops",
            f"{_detail(workload)}, all four gradients",
            backward,
            {FORWARD: forward},
            plan,
            backward_compile,
        )


def _detail(workload: Workload) -> str:
    size = f"batch {workload.batch} of {workload.height}x{workload.width}"
    return f"{size}, dilation {workload.dilation}, offsets about {workload.reach:g} pixels"


def _op(workload: Workload) -> Callable[..., jax.Array]:
    return partial(adacof, dilation=workload.dilation, rounding=workload.rounding)


def _forward(workload: Workload) -> tuple[Contestant, float]:
    arrays = jax.device_put(workload.inputs())
    program, seconds = compiled(_op(workload), *arrays)
    return lambda: program(*arrays), seconds


def _backward(workload: Workload) -> tuple[Contestant, float]:
    """The backward pass alone: it reads nothing that the forward pass computes."""
    arrays, cotangent = jax.device_put((workload.inputs(), workload.cotangent()))

    def gradients(cotangent: jax.Array, *arrays: jax.Array) -> Any:
        return jax.vjp(_op(workload), *arrays)[1](cotangent)

    program, seconds = compiled(gradients, cotangent, *arrays)
    return lambda: program(cotangent, *arrays), seconds


def _peer(workload: Workload, form: str, own: Contestant) -> Contestant | str:
    torch = torch_peer()
    if isinstance(torch, str):
        return torch
    rule = {"dilation": workload.dilation, "rounding": workload.rounding}
    call: Contestant = torch.op(FORMS[form], *workload.inputs(), **rule)
    check_same(f"{label('forward', workload)}, {form}", np.asarray(own()), torch.channels_last(call()))
    return call
