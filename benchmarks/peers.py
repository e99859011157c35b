"""Whether the PyTorch peer can be measured here."""

import functools
import os
from types import ModuleType

import jax


def cores() -> int:
    """Processor cores that this process may use; `taskset` limits them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def torch_peer() -> ModuleType | str:
    """`benchmarks.peer_torch`, on as many threads as JAX has; or the reason why it is left out."""
    if jax.default_backend() != "cpu":
        return f"the peer runs on the CPU, vfijax on the {jax.default_backend().upper()}"
    try:
        from benchmarks import peer_torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return "PyTorch is not installed (the extra `convert` brings it)"
    peer_torch.set_threads(cores())
    return peer_torch
