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

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

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

    A gradient that is not a number makes its parameter not a number, never zero.

    Args:
      learning_rate: a positive number, or a function of the step (0 is the first) that gives one. The
        threshold r * l1 falls with it.
      l1: weight of the penalty, at least 0; 1e-4 in the paper.
      proximal_steps: how many proximal steps a round begins with. These are iterations, where the
        published code counts epochs: see `steps_of_epochs`.
      orthant_steps: how many orthant steps follow before the next round; None for all that follow.
      eps: parameters whose orthant step ends within this distance of zero become zero; at least 0.

    Raises:
      ValueError: an argument is out of its range; at `update`, no parameters are given.
      TypeError: a number of steps is not an integer.
    """
    _check(learning_rate, l1, eps)
    proximal, cycle = _rounds(proximal_steps, orthant_steps)

    def init(params: Any) -> OBProxSGState:
        del params
        return OBProxSGState(jnp.zeros((), jnp.int32))

    def update(grads: Any, state: OBProxSGState, params: Any = None) -> tuple[Any, OBProxSGState]:
        if params is None:
            raise ValueError(
                "obproxsg needs the parameters, which say what is zero: update(grads, state, params)"
            )
        in_round = state.step if cycle is None else state.step % cycle
        rate = learning_rate(state.step) if callable(learning_rate) else learning_rate

        def change(x: jax.Array, gradient: jax.Array) -> jax.Array:
            x = jnp.asarray(x)
            wide = jnp.promote_types(x.dtype, jnp.float32)
            step = (x.astype(wide), gradient.astype(wide), jnp.asarray(rate, wide), jnp.asarray(l1, wide))
            wanted = jnp.where(in_round < proximal, _proximal(*step), _orthant(*step, eps))
            return wanted.astype(x.dtype) - x  # -x where zero is wanted, and x + -x is 0 in any rounding

        return jax.tree.map(change, params, grads), OBProxSGState(optax.safe_increment(state.step))

    return optax.GradientTransformation(init, update)


def _proximal(x: jax.Array, gradient: jax.Array, rate: jax.Array, l1: jax.Array) -> jax.Array:
    z = x - rate * gradient
    return jnp.sign(z) * jnp.maximum(jnp.abs(z) - rate * l1, 0)


def _orthant(x: jax.Array, gradient: jax.Array, rate: jax.Array, l1: jax.Array, eps: float) -> jax.Array:
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
    """

    def labels(params: Any) -> Any:
        mask = dense(params) if callable(dense) else dense
        return jax.tree.map(lambda keep: "dense" if keep else "sparse", mask)

    sparse = obproxsg(learning_rate, l1, proximal_steps, orthant_steps, eps)
    return optax.partition({"sparse": sparse, "dense": optax.sgd(learning_rate)}, labels)


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
    """
    if epochs < 0 or items < 0 or batch < 1:
        raise ValueError(
            f"steps_of_epochs: {epochs} epochs of {items} items in batches of {batch}; "
            "epochs and items must be at least 0, batch at least 1"
        )
    return epochs * max(1, items // batch)


def _check(learning_rate: float | optax.Schedule, l1: float, eps: float) -> None:
    if isinstance(learning_rate, int | float) and not learning_rate > 0:
        raise ValueError(f"obproxsg: learning_rate is {learning_rate}; it must be positive")
    for name, value in (("l1", l1), ("eps", eps)):
        if not value >= 0:
            raise ValueError(f"obproxsg: {name} is {value}; it must be at least 0")


def _rounds(proximal_steps: int, orthant_steps: int | None) -> tuple[int, int | None]:
    """The proximal steps of a round, and the length of a round (None: there is one, without end)."""
    counts = {
        "proximal_steps": proximal_steps,
        "orthant_steps": 0 if orthant_steps is None else orthant_steps,
    }
    for name, steps in counts.items():
        try:
            operator.index(steps)
        except TypeError:
            way = "an integer number of iterations; steps_of_epochs turns epochs into them"
            raise TypeError(f"obproxsg: {name} is {steps!r}; give {way}") from None
        if steps < 0:
            raise ValueError(f"obproxsg: {name} is {steps}; it must be at least 0")
    if orthant_steps is not None and sum(counts.values()) == 0:
        raise ValueError("obproxsg: proximal_steps and orthant_steps are both 0; a round needs a step")
    return proximal_steps, None if orthant_steps is None else proximal_steps + orthant_steps
