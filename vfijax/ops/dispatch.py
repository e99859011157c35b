"""Which implementation of an op runs.

"auto" decides when a program is lowered for a device: the Pallas kernel on CUDA, plain XLA
elsewhere, so that one traced function is right on both. A named implementation is obeyed or fails:
"pallas" on a CPU raises, because only interpret mode could run there (see `pallas_kernels`).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from jax import lax

from vfijax.command import nearest

IMPLEMENTATIONS = ("auto", "reference", "xla", "pallas")


def check_implementation(implementation: str) -> None:
    """Raises ValueError, with the nearest name, unless it is one of `IMPLEMENTATIONS`."""
    if implementation not in IMPLEMENTATIONS:
        hint, known = nearest(str(implementation), IMPLEMENTATIONS), ", ".join(IMPLEMENTATIONS)
        raise ValueError(f"unknown implementation {implementation!r}{hint} (known: {known})")


def check_without_kernel(op: str, implementation: str) -> None:
    """The same for an op that has no Pallas kernel yet, which cannot obey "pallas"."""
    check_implementation(implementation)
    if implementation == "pallas":
        raise ValueError(f"{op} has no Pallas kernel yet; use implementation='auto' or 'xla'")


def run(table: Mapping[str, Callable[..., Any]], implementation: str, *arrays: Any, **static: Any) -> Any:
    """Calls the implementation from a table with the entries "xla" and "pallas"; traced once per shape."""
    return _run(tuple(table.items()), implementation, tuple(static.items()), *arrays)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _run(table: Any, implementation: str, static: Any, *arrays: Any) -> Any:
    functions = {name: partial(function, **dict(static)) for name, function in table}
    if implementation == "auto":
        return lax.platform_dependent(*arrays, cuda=functions["pallas"], default=functions["xla"])
    return functions[implementation](*arrays)
