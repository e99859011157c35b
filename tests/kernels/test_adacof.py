"""The AdaCoF kernel computes the op: values and all four gradients, against the reference.

Everywhere in interpret mode on the small workloads; with a GPU, compiled and at real sizes.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels import adacof as kernel
from pallas_kernels.shapes import SHAPES, Workload
from tests.tolerance import TOLERANCE
from vfijax.ops import adacof

QUANTITIES = ("output", "d_image", "d_weight", "d_offset_y", "d_offset_x")
SMALL = [w for w in SHAPES["adacof"] if w.interpretable]
LARGE = [w for w in SHAPES["adacof"] if not w.interpretable]

Op = Callable[..., jax.Array]
Outcome = dict[str, np.ndarray]


def by_kernel(workload: Workload, *, interpret: bool) -> Op:
    return lambda *arrays: kernel.adacof(*arrays, workload.dilation, workload.rounding, interpret)


def by_op(workload: Workload, implementation: str) -> Op:
    return lambda *arrays: adacof(
        *arrays, dilation=workload.dilation, rounding=workload.rounding, implementation=implementation
    )


def outcome(op: Op, workload: Workload, dtype: str | None = None) -> Outcome:
    """Output and gradients of `op` on the workload's arrays, computed after a cast to `dtype`."""

    @jax.jit
    def value_and_gradients(arrays, cotangent):
        value, vjp = jax.vjp(op, *arrays)
        return value, *vjp(cotangent)

    arrays, cotangent = jax.tree.map(
        lambda array: array.astype(dtype or array.dtype), (workload.inputs(), workload.cotangent())
    )
    results = value_and_gradients(arrays, cotangent)
    return {name: np.asarray(x, np.float64) for name, x in zip(QUANTITIES, results, strict=True)}


def errors(actual: Outcome, expected: Outcome) -> dict[str, float]:
    """Largest difference per quantity, in units of the largest expected value."""
    return {
        name: np.abs(actual[name] - expected[name]).max() / max(np.abs(expected[name]).max(), 1e-30)
        for name in QUANTITIES
    }


def assert_as_exact_as(plain: Op, op: Op, workload: Workload, exact: Op) -> None:
    """In float32 equal but for the order of sums; in half precision, at most twice the error of `plain`."""
    expected = outcome(exact, workload, "float32")
    found = errors(outcome(op, workload), expected)
    if workload.dtype == "float32":
        _, absolute = TOLERANCE["float32"]
        allowed = dict.fromkeys(QUANTITIES, absolute * workload.taps)  # the root of the number of taps
    else:
        allowed = {name: 2 * e for name, e in errors(outcome(plain, workload), expected).items()}
    assert all(found[name] <= allowed[name] for name in QUANTITIES), f"{found} exceed {allowed}"


@pytest.mark.slow
@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_interpreted_kernel_equals_the_reference(workload):
    reference = by_op(workload, "reference")
    assert_as_exact_as(reference, by_kernel(workload, interpret=True), workload, reference)


@pytest.mark.gpu
@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_compiled_kernel_equals_the_reference(workload):
    reference = by_op(workload, "reference")
    with jax.default_matmul_precision("float32"):  # the GPU's default is less exact than the kernel
        assert_as_exact_as(reference, by_kernel(workload, interpret=False), workload, reference)


@pytest.mark.gpu
@pytest.mark.parametrize("workload", LARGE, ids=lambda w: w.name)
def test_compiled_kernel_equals_xla_at_real_sizes(workload):
    xla = by_op(workload, "xla")  # the reference would hold all samples at once
    with jax.default_matmul_precision("float32"):
        assert_as_exact_as(xla, by_kernel(workload, interpret=False), workload, xla)


@pytest.mark.gpu
@pytest.mark.parametrize("workload", SMALL[:6], ids=lambda w: w.name)
def test_the_op_chooses_the_kernel_on_a_gpu(workload):
    compiled = outcome(by_kernel(workload, interpret=False), workload)
    assert max(errors(outcome(by_op(workload, "auto"), workload), compiled).values()) < 1e-6


def tiny() -> Workload:
    return next(w for w in SMALL if w.name == "one_tap")


def test_gradients_without_the_image_are_the_same():
    workload = tiny()
    backward = jax.jit(
        partial(kernel.backward, dilation=workload.dilation, rounding=workload.rounding, interpret=True),
        static_argnames="image_grad",
    )
    arguments = (*workload.inputs(), workload.cotangent())
    d_image, *d_fields = backward(*arguments, image_grad=False)
    _, *expected = backward(*arguments)
    assert d_image is None
    for actual, wanted in zip(d_fields, expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.usefixtures("strict")
def test_every_result_has_the_dtype_of_its_array():
    workload = tiny()
    dtypes = ("float16", "bfloat16", "float32", "float16")
    arrays = [a.astype(jnp.dtype(d)) for a, d in zip(workload.inputs(), dtypes, strict=True)]
    output, vjp = jax.vjp(by_kernel(workload, interpret=True), *arrays)
    assert output.dtype == arrays[0].dtype
    assert [gradient.dtype for gradient in vjp(output)] == [array.dtype for array in arrays]


def test_batching_over_a_new_axis_equals_one_call_each():
    workload = tiny()
    op = jax.jit(by_kernel(workload, interpret=True))
    calls = [workload.inputs(seed) for seed in range(2)]
    together = jax.vmap(op)(*(np.stack(arrays) for arrays in zip(*calls, strict=True)))
    for result, arrays in zip(together, calls, strict=True):
        np.testing.assert_allclose(result, op(*arrays), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image, w, y, x: (image[:, :-1], w, y, x), "do not fit"),
        (lambda image, w, y, x: (image, w, y[:, :, :-1], x), "do not fit"),
        (lambda image, w, y, x: (image, *(np.repeat(f, 3, axis=1) for f in (w, y, x))), "F\\*F"),
        (lambda image, w, y, x: (image, *(np.repeat(f, 2, axis=0) for f in (w, y, x))), "do not fit"),
    ],
    ids=["image", "one field", "no square", "batch"],
)
def test_shapes_that_do_not_fit_are_refused_before_memory_is_touched(change, message):
    with pytest.raises(ValueError, match=message):
        kernel.adacof(*change(*tiny().inputs()), 1, "floor", True)


def test_an_unknown_rounding_is_refused():
    with pytest.raises(ValueError, match="floor, trunc"):
        kernel.adacof(*tiny().inputs(), 1, "round", True)
