"""OBProx-SG: stochastic descent on a loss plus an l1 penalty, to parameters that are exactly zero.

Chen et al., "Orthant Based Proximal Stochastic Gradient Method for l1-Regularized Optimization"
(ECML PKDD 2020, algorithms 1 to 3), in the form that CDFI (CVPR 2021, section 3.1) compresses AdaCoF
with. For a parameter x, the gradient g of the loss without the penalty, the learning rate r and the
penalty l1 * sum |x|:

    proximal step   z = x - r g;  x becomes sign(z) max(|z| - r l1, 0)
    orthant step    s = sign(x);  t = x - r (g + l1 s);  x becomes t where t s > eps, else 0

Proximal steps find which parameters may be zero; orthant steps stay in the orthant of x, a face of
which is the set of its zeros: zeros stay zero, and what would change its sign becomes zero.
"""

import math
import numbers
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vfijax.inputs import known

Mask = Any  # a tree of bool with the structure of the parameters, or a prefix of it


class OBProxSGState(NamedTuple):
    """The number of steps taken, an int32 scalar; the phase follows from it."""

    step: jax.Array


def obproxsg(
    learning_rate: float | optax.Schedule,
    l1: float,
    proximal_steps: int,
    orthant_steps: int | None = None,
    eps: float = 0.0,
) -> optax.GradientTransformation:
    """OBProx-SG as an optax transformation.

    Its update is the wanted value minus the parameter, arranged so that after `optax.apply_updates`
    every wanted zero is exactly zero. (A value too small to be kept beside the parameter it replaces,
    by a factor of 2^-24 in float32, is rounded to zero as well.) It must therefore stand **last in a
    chain**: whatever changes its updates afterwards undoes the zeros. Clipping or accumulating
    gradients before it, and `optax.MultiSteps` around it, are fine. No other penalty or weight decay
    is needed; the gradients given are those of the loss alone.

    A gradient that is not a number makes its parameter not a number, never zero. Leaves that are not floating
    point (counters, masks) stay as they are, whatever their gradient is, also the float0 of `jax.grad` with
    `allow_int`.

    All numbers may be arrays without axes, traced ones too, as `optax.inject_hyperparams` gives them; what is
    traced is not checked for its range.

    Args:
      learning_rate: a positive number, or a function of the step (0 is the first) that gives one. The
        threshold r * l1 falls with it.
      l1: weight of the penalty, at least 0; 1e-4 in the paper.
      proximal_steps: how many proximal steps a round begins with. These are iterations, where the
        published code counts epochs: see `steps_of_epochs`.
      orthant_steps: how many orthant steps follow before the next round; None for all that follow.
      eps: parameters whose orthant step ends within this distance of zero become zero; at least 0.

    Raises:
      ValueError: an argument is out of its range; at `update`, no parameters are given, or gradients of other
        shapes.
      TypeError: an argument that is no number, a number of steps that is no integer.
    """
    _check(learning_rate, l1, eps)
    proximal, cycle = _rounds(proximal_steps, orthant_steps)

    def init(params: Any) -> OBProxSGState:
        del params
        return OBProxSGState(jnp.zeros((), jnp.int32))

    def update(grads: Any, state: OBProxSGState, params: Any = None) -> tuple[Any, OBProxSGState]:
        in_round = state.step if cycle is None else state.step % cycle
        rate = learning_rate(state.step) if callable(learning_rate) else learning_rate

        def change(x: jax.Array, gradient: jax.Array) -> jax.Array:
            x = jnp.asarray(x)
            _check_gradient(x, gradient)
            wide = jnp.promote_types(x.dtype, jnp.float32)
            step = (
                x.astype(wide),
                jnp.asarray(gradient, wide),
                jnp.asarray(rate, wide),
                jnp.asarray(l1, wide),
            )
            orthant = _orthant(*step, jnp.asarray(eps, wide))
            wanted = jnp.where(in_round < proximal, _proximal(*step), orthant)
            return wanted.astype(x.dtype) - x  # -x where zero is wanted, and x + -x is 0 in any rounding

        return jax.tree.map(change, params, grads), OBProxSGState(optax.safe_increment(state.step))

    return _floats_alone(optax.GradientTransformation(init, update))


Transformation = TypeVar("Transformation", bound=optax.GradientTransformation)


def _floats_alone(inner: Transformation) -> Transformation:
    """The same transformation, which sees zeros for leaves that are not floating point and does not move
    these."""

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        if params is None:
            raise ValueError(
                "obproxsg needs the parameters, which say what is zero: update(grads, state, params)"
            )
        moves = jax.tree.map(lambda x: jnp.issubdtype(jnp.result_type(x), jnp.inexact), params)

        def seen(yes: bool, x: Any, leaf: Any) -> Any:
            return leaf if yes else jnp.zeros(jnp.shape(x))

        grads, floating = (jax.tree.map(seen, moves, params, tree) for tree in (grads, params))
        updates, state = inner.update(grads, state, floating, **extra)
        return jax.tree.map(lambda yes, x, u: u if yes else jnp.zeros_like(x), moves, params, updates), state

    return inner._replace(update=update)


def _check_gradient(x: jax.Array, gradient: Any) -> None:
    """Raises ValueError or TypeError unless the gradient can be one of the floating-point parameter x."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"obproxsg: a parameter is {x.dtype}; real ones are needed")
    if gradient is None or getattr(gradient, "dtype", None) == jax.dtypes.float0:
        kind = "None" if gradient is None else "float0"
        raise TypeError(
            f"obproxsg: the gradient of a parameter {x.dtype}{list(x.shape)} is {kind}; give zeros"
        )
    if jnp.shape(gradient) != x.shape:
        raise ValueError(f"obproxsg: a gradient is {jnp.shape(gradient)}, its parameter {x.shape}")


def _proximal(x: jax.Array, gradient: jax.Array, rate: jax.Array, l1: jax.Array) -> jax.Array:
    z = x - rate * gradient
    return jnp.sign(z) * jnp.maximum(jnp.abs(z) - rate * l1, 0)


def _orthant(x: jax.Array, gradient: jax.Array, rate: jax.Array, l1: jax.Array, eps: jax.Array) -> jax.Array:
    sign = jnp.sign(x)
    trial = x - rate * (gradient + l1 * sign)
    return jnp.where(trial * sign <= eps, 0, trial)  # a comparison that NaN fails: it stays


def obproxsg_with_dense(
    learning_rate: float | optax.Schedule,
    l1: float,
    proximal_steps: int,
    orthant_steps: int | None = None,
    eps: float = 0.0,
    *,
    dense: Mask | Callable[[Any], Mask],
) -> optax.GradientTransformationExtraArgs:
    """`obproxsg`, with plain gradient descent at the same rate for the leaves to be kept dense.

    Args:
      learning_rate, l1, proximal_steps, orthant_steps, eps: as in `obproxsg`.
      dense: which leaves, a tree of bool (or a prefix of the parameters' tree), or a function from the
        parameters to one, such as `one_dimensional`.

    Raises:
      ValueError, TypeError: as `obproxsg`.

    With `optax.inject_hyperparams` name a function for `dense` in its `static_args`: other functions are
    schedules to it.
    """

    def labels(params: Any) -> Any:
        mask = dense(params) if callable(dense) else dense
        return jax.tree.map(lambda keep: "dense" if keep else "sparse", mask)

    sparse = obproxsg(learning_rate, l1, proximal_steps, orthant_steps, eps)
    return _floats_alone(optax.partition({"sparse": sparse, "dense": optax.sgd(learning_rate)}, labels))


def one_dimensional(params: Any) -> Any:
    """True for biases, slopes and scales, the leaves with less than two axes; for `dense`."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) < 2, params)


def running_statistics(params: Any) -> Any:
    """True for the stored mean and variance of a normalisation, which no penalty may move; for `dense`."""

    def stored(path: Any, _: Any) -> bool:
        return jax.tree_util.keystr(path[-1:], simple=True) in ("mean", "variance")

    return jax.tree_util.tree_map_with_path(stored, params)


def steps_of_epochs(epochs: int, items: int, batch: int) -> int:
    """Iterations in `epochs` passes over `items` samples in batches of `batch`.

    As in the published code the last, smaller batch does not count, and an epoch has at least one step.

    Raises:
      ValueError: `epochs` or `items` is negative, or `batch` less than 1.
      TypeError: one is no whole number.
    """
    for name, value in {"epochs": epochs, "items": items, "batch": batch}.items():
        try:
            operator.index(value)
        except TypeError:
            raise TypeError(f"steps_of_epochs: {name} is {value!r}; a whole number is needed") from None
    if epochs < 0 or items < 0 or batch < 1:
        raise ValueError(
            f"steps_of_epochs: {epochs} epochs of {items} items in batches of {batch}; "
            "epochs and items must be at least 0, batch at least 1"
        )
    return epochs * max(1, items // batch)


def _check(learning_rate: Any, l1: Any, eps: Any) -> None:
    if not callable(learning_rate):
        _check_number("learning_rate", learning_rate, "a positive number, or a function of the step")
        if known(learning_rate) and not 0 < learning_rate < math.inf:
            raise ValueError(f"obproxsg: learning_rate is {learning_rate}; it must be positive and finite")
    for name, value in (("l1", l1), ("eps", eps)):
        _check_number(name, value, "a number")
        if known(value) and not 0 <= value < math.inf:
            raise ValueError(f"obproxsg: {name} is {value}; it must be at least 0 and finite")


def _check_number(name: str, value: Any, way: str) -> None:
    """Raises TypeError unless it is a real number, or an array of one without axes."""
    if isinstance(value, numbers.Real | np.ndarray | jax.Array) and not isinstance(value, bool):
        array = value if isinstance(value, jax.Array) else np.asarray(value)
        real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
        if real and array.shape == ():
            return
    raise TypeError(f"obproxsg: {name} is {value!r}; give {way}")


def _rounds(proximal_steps: Any, orthant_steps: Any) -> tuple[Any, Any]:
    """The proximal steps of a round, and the length of a round (None: there is one, without end)."""
    counts = {
        "proximal_steps": proximal_steps,
        "orthant_steps": 0 if orthant_steps is None else orthant_steps,
    }
    for name, steps in counts.items():
        try:
            if known(steps):
                operator.index(steps)
            elif steps.shape or not jnp.issubdtype(steps.dtype, jnp.integer):
                raise TypeError
        except TypeError:
            way = "an integer number of iterations; steps_of_epochs turns epochs into them"
            raise TypeError(f"obproxsg: {name} is {steps!r}; give {way}") from None
        if known(steps) and steps < 0:
            raise ValueError(f"obproxsg: {name} is {steps}; it must be at least 0")
    if orthant_steps is None:
        return proximal_steps, None
    if all(map(known, counts.values())) and sum(counts.values()) == 0:
        raise ValueError("obproxsg: proximal_steps and orthant_steps are both 0; a round needs a step")
    return proximal_steps, proximal_steps + orthant_steps
