"""How many multiply-adds a function needs, counted from its jaxpr.

A multiply-add is one multiplication of floating-point numbers, with or without the addition that takes
its result:

    convolutions   outputs * kernel positions * input channels (of a group); padding counts like any input
    products       outputs * length of the contracted axes (matrix products, dense layers)
    elementwise    outputs of every multiplication of arrays: bilinear resizing, the sampling op, masks

Additions alone, divisions, exponentials and comparisons do not count. The sampling op of AdaCoF takes
8 + 4 C per tap and pixel of C channels: four shares, four weighted shares, four corners.

Loops count as often as they run, which XLA's own count (`xla_flops`) does not do.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from vfijax.models import forward
from vfijax.params import ModelParams

KINDS = ("convolutions", "products", "elementwise")
MULTIPLICATIONS = {"mul", "square", "integer_pow"}
# Primitives that run the one jaxpr they hold once, on their own operands.
CALLS = {
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
}
WAYS = {
    "while": "use fori_loop or scan with a known length",
    "pallas_call": "use implementation='xla'",
}

# The arguments (by number) that a value is made from, if from marked arguments and constants alone;
# None if from anything else.
Origin = frozenset[int] | None
Counted = Counter[tuple[str, frozenset[int]]]  # multiply-adds by kind and the origin of the operands


def multiply_adds(function: Callable[..., Any], *args: Any) -> int:
    """The multiply-adds of `function(*args)`, of all kinds together; see `counts`."""
    return sum(counts(function, *args).values())


def counts(function: Callable[..., Any], *args: Any) -> dict[str, int]:
    """The multiply-adds of `function(*args)` by kind: convolutions, products, elementwise.

    Nothing is computed or compiled. Of the branches of a condition the dearest counts, of code that
    depends on the platform the default.

    Args:
      function: anything that `jax.jit` takes.
      *args: its arguments; `jax.ShapeDtypeStruct` does where the values are not needed.

    Raises:
      ValueError: multiplications where their number cannot be known: in a `while_loop`, a kernel.
    """
    counted = _trace(function, args, marked=0)
    return {kind: sum(n for (k, _), n in counted.items() if k == kind) for kind in KINDS}


def model_multiply_adds(params: ModelParams, height: int, width: int) -> int:
    """The multiply-adds for one frame between two of `height` x `width` pixels, of all kinds together.

    AdaCoF takes 357.3 G at 720x1280 and its compressed form 184.7 G; the paper (CDFI, table 1) says
    359.2 and 185.9. The frames are padded to the stride of the model first, as when it runs.

    Args:
      params: the model; its leaves may be `jax.ShapeDtypeStruct`, as from `vfijax.models.shapes`.
      height, width: of the frames, in pixels, at least 2.
    """
    return sum(model_counts(params, height, width).values())


def model_counts(params: ModelParams, height: int, width: int) -> dict[str, int]:
    """As `model_multiply_adds`, by kind. The convolutions take 356.0 and 183.5 G there."""
    return counts(_countable, params, *_frames(height, width))


def leaf_multiply_adds(params: ModelParams, height: int, width: int) -> dict[str, int]:
    """The multiply-adds of convolutions and products by the parameter that they multiply with.

    What several parameters do together, such as kernels that are concatenated, is shared out by size.

    Args:
      params, height, width: as for `model_multiply_adds`.

    Returns:
      The path of every leaf ("unet/conv1_0/kernel") to its multiply-adds, 0 for biases.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params.tree)
    result = [0] * len(leaves)
    args = (params, *_frames(height, width))
    for (kind, origin), amount in _trace(_countable, args, marked=len(leaves)).items():
        size = sum(leaves[i][1].size for i in origin)
        for i in origin if kind != "elementwise" else ():
            result[i] += amount * leaves[i][1].size // size
    return {path_name(path): n for (path, _), n in zip(leaves, result, strict=True)}


def path_name(path: Any) -> str:
    """The path of a leaf as text, "unet/conv1_0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def xla_flops(params: ModelParams, height: int, width: int) -> float:
    """XLA's own count of floating-point operations for one frame, on the device in use.

    Two for a multiply-add, and one for every other operation, elementwise ones included. The body of a
    loop counts once however often it runs, so that most of the sampling op is missing from it. Without
    compiling.

    Args:
      params, height, width: as for `model_multiply_adds`.
    """
    lowered = jax.jit(frame).lower(params, *_frames(height, width))
    return float((lowered.cost_analysis() or {}).get("flops", math.nan))


def frame(params: ModelParams, f0: jax.Array, f1: jax.Array, implementation: str = "auto") -> jax.Array:
    """The frame alone, so that nothing else is computed; arguments as of `vfijax.models.forward`."""
    return forward(params, f0, f1, implementation=implementation)[0]


# What is counted: the Pallas kernel does the same, but cannot be looked into.
_countable = partial(frame, implementation="xla")


def _frames(height: int, width: int) -> list[jax.ShapeDtypeStruct]:
    if min(height, width) < 2:
        raise ValueError(f"frames of {height}x{width} pixels are too small; both sides must be at least 2")
    return [jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)] * 2


def _trace(function: Callable[..., Any], args: tuple[Any, ...], marked: int) -> Counted:
    """Counts a function whose first `marked` leaves of arguments are to be told apart."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    origins: list[Origin] = [frozenset([i]) if i < marked else None for i in range(len(jaxpr.invars))]
    return _count(jaxpr, origins)


def _count(jaxpr: Jaxpr, origins: Sequence[Origin]) -> Counted:
    known: dict[Any, Origin] = dict.fromkeys(jaxpr.constvars, frozenset())
    known.update(zip(jaxpr.invars, origins, strict=True))
    total: Counted = Counter()
    for eqn in jaxpr.eqns:
        sources = [frozenset() if isinstance(v, Literal) else known[v] for v in eqn.invars]
        total.update(_count_equation(eqn, sources))
        known.update(dict.fromkeys(eqn.outvars, None if None in sources else _union(sources)))
    return total


def _union(sources: Sequence[Origin]) -> frozenset[int]:
    return frozenset().union(*(s for s in sources if s is not None))


def _count_equation(eqn: JaxprEqn, sources: Sequence[Origin]) -> Counted:
    name, bodies = eqn.primitive.name, list(_bodies(eqn))
    if kind := _kind(eqn):
        return Counter({(kind, _union(sources)): _amount(eqn)})
    if name == "scan":
        once = _count(bodies[0], sources)
        return Counter({key: amount * eqn.params["length"] for key, amount in once.items()})
    if name == "cond":
        branches = [_count(body, sources[1:]) for body in _possible(eqn, bodies)]
        return max(branches, key=lambda counted: counted.total())
    if name in CALLS:
        return _count(bodies[0], sources)
    if name == "pallas_call" or any(_count(body, [None] * len(body.invars)).total() for body in bodies):
        way = WAYS.get(name, "count what is within by itself")
        raise ValueError(f"cannot tell how often the multiplications within {name} run; {way}")
    return Counter()


def _bodies(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr | Jaxpr):
                yield item.jaxpr if isinstance(item, ClosedJaxpr) else item


def _possible(eqn: JaxprEqn, branches: list[Jaxpr]) -> list[Jaxpr]:
    """The default of `platform_dependent`, which is the one without kernels; else every branch."""
    platforms = eqn.params.get("branches_platforms") or ()
    return [branches[platforms.index(None)]] if None in platforms else branches


def _kind(eqn: JaxprEqn) -> str | None:
    name = eqn.primitive.name
    if name in MULTIPLICATIONS:
        return "elementwise" if jnp.issubdtype(_type(eqn.outvars[0]).dtype, jnp.inexact) else None
    return {"conv_general_dilated": "convolutions", "dot_general": "products"}.get(name)


def _amount(eqn: JaxprEqn) -> int:
    outputs = math.prod(_type(eqn.outvars[0]).shape)
    if eqn.primitive.name == "conv_general_dilated":
        kernel = _type(eqn.invars[1]).shape
        features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
        # The zeros that a transposed convolution puts between its inputs are not multiplied with.
        return outputs * (math.prod(kernel) // features) // math.prod(eqn.params["lhs_dilation"])
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return outputs * math.prod(_type(eqn.invars[0]).shape[axis] for axis in contracted)
    return outputs


def _type(value: Any) -> Any:
    """Shape and dtype of a variable of a jaxpr."""
    return value.aval
