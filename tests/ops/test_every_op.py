"""What holds of every sampling op: gradients, dtypes, transformations, names; each case of `cases.py`."""

import itertools
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.cases import (
    BOTH,
    CASES,
    LONG_SUMS,
    SMALL,
    UNPADDED,
    every,
    is_offset,
    traced,
    value_and_gradients,
)
from tests.tolerance import close
from vfijax.ops import adacof

ALL = pytest.mark.parametrize("implementation", ["reference", "xla", "auto"])


def assert_close(actual, expected, case):
    for name, found, wanted in zip(case.results, actual, expected, strict=True):
        assert found.shape == wanted.shape
        close(found, wanted, found.dtype, terms=case.terms, gradient=name != "out")


# --------------------------------------------------------------------------------------- gradients


@pytest.mark.slow
@every(CASES)
def test_xla_equals_the_reference_in_values_and_all_gradients(case):
    arrays, cotangent = case.arrays(case.dtype), case.cotangent(case.dtype)
    run = partial(value_and_gradients, case.op, arrays, cotangent, **case.options)
    level = 3 if case in SMALL else 0  # as users get it, once with every option of every op
    with jax.enable_x64(case.dtype == "float64"):
        assert_close(run(implementation="xla", level=level), run(implementation="reference"), case)


@pytest.mark.slow
@BOTH
@every(SMALL)
def test_gradients_are_finite_differences(case, implementation, float64):
    arrays, cotangent = case.arrays(np.float64), case.cotangent(np.float64)
    options = {**case.options, "implementation": implementation}
    run = partial(value_and_gradients, case.op, cotangent=cotangent, **options)

    def energy(*arrays):
        return np.vdot(cotangent, run(arrays)[0])

    _, *gradients = run(arrays)
    rng = np.random.default_rng(0)
    for i, (name, gradient) in enumerate(zip(case.shapes, gradients, strict=True)):
        step = 0.02 if is_offset(name) else 0.5  # each array alone: the op is a polynomial that far
        for _ in range(3):
            direction = rng.choice([-1.0, 1.0], gradient.shape)
            far, near = (
                np.subtract(*(energy(*arrays[:i], arrays[i] + s * direction, *arrays[i + 1 :]) for s in ends))
                for ends in ((step, -step), (step / 2, -step / 2))
            )
            slope = (8 * near - far) / (6 * step)  # exact up to the fourth power
            np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=1e-10, atol=1e-10)


def products(function, *arrays):
    """How many products a function asks for, before a compiler drops what is not used."""
    text = str(jax.make_jaxpr(function)(*arrays))
    return len(re.findall(r"= (mul|dot_general|scatter-add)\b", text))


@every(SMALL)
def test_image_gradient_is_left_out_where_the_image_is_data(case):
    arrays, cotangent = case.arrays(), case.cotangent()
    fields, everything = range(1, len(arrays)), range(len(arrays))

    def gradient(wanted):
        op = partial(case.op, **case.options, implementation="xla")
        return jax.grad(lambda *arrays: jnp.vdot(cotangent, op(*arrays)), argnums=tuple(wanted))

    assert products(gradient(fields), *arrays) < products(gradient(everything), *arrays)
    some = jax.jit(gradient(fields))(*arrays)
    _, _, *others = value_and_gradients(case.op, arrays, cotangent, **case.options, implementation="xla")
    for actual, expected in zip(some, others, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@every(SMALL)
def test_an_output_that_nothing_uses_has_no_gradient(case):
    def last_alone(*arrays):
        case.op(*arrays, **case.options)
        return jnp.sum(arrays[-1])

    arrays = tuple(map(jnp.asarray, case.arrays()))
    *others, last = jax.jit(jax.grad(last_alone, argnums=tuple(range(len(arrays)))))(*arrays)
    assert not any(np.any(gradient) for gradient in others)
    assert np.all(last == 1)


@pytest.mark.slow
@BOTH
@every(UNPADDED)
def test_padding_by_the_edges_beforehand_changes_nothing(case, implementation, float64):
    def padded(image, *fields, **options):
        return case.op(jnp.pad(image, [(0, 0), case.edges, case.edges, (0, 0)], "edge"), *fields, **options)

    options = {**case.options, "implementation": implementation}
    run = partial(value_and_gradients, arrays=case.arrays(np.float64), cotangent=case.cotangent(np.float64))
    for actual, expected in zip(run(case.op, **options), run(padded, **options), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------------- dtypes


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@every(LONG_SUMS)
@pytest.mark.usefixtures("strict")
def test_half_precision_is_float32_inside(case, dtype, implementation):
    half = [jnp.asarray(array, dtype) for array in case.arrays()], jnp.asarray(case.cotangent(), dtype)
    single = jax.tree.map(lambda array: array.astype(jnp.float32), half)
    options = {**case.options, "implementation": implementation}
    results = value_and_gradients(case.op, *half, **options)
    assert {result.dtype for result in results} == {jnp.dtype(dtype)}
    for actual, expected in zip(results, value_and_gradients(case.op, *single, **options), strict=True):
        # One rounding of the result; a half precision sum over the taps would be off by more.
        step, limit = float(jnp.finfo(dtype).eps), 1e-6 * np.abs(expected).max()
        np.testing.assert_allclose(np.asarray(actual, np.float32), expected, rtol=step, atol=limit)


@ALL
@every(SMALL)
@pytest.mark.usefixtures("strict")
def test_every_result_has_the_dtype_of_its_array(case, implementation):
    dtypes = list(itertools.islice(itertools.cycle(["bfloat16", "float32", "float16"]), len(case.shapes)))
    arrays = [jnp.asarray(array, dtype) for array, dtype in zip(case.arrays(), dtypes, strict=True)]
    run = partial(traced, case.op, {**case.options, "implementation": implementation})
    results = jax.eval_shape(run, arrays, jnp.asarray(case.cotangent(), jnp.bfloat16))
    assert [str(result.dtype) for result in results] == ["bfloat16", *dtypes]
    assert [result.shape for result in results] == [case.out, *case.shapes.values()]


@ALL
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@every(SMALL)
@pytest.mark.usefixtures("strict")
def test_nothing_is_broadcast_over_ranks_or_promoted(case, dtype, implementation):
    arrays = [jnp.asarray(array, dtype) for array in case.arrays()]
    run = partial(traced, case.op, {**case.options, "implementation": implementation})
    jax.eval_shape(run, arrays, jnp.asarray(case.cotangent(), dtype))


# --------------------------------------------------------------------------------------- under jax


@pytest.mark.slow
@BOTH
@every(SMALL)
def test_vmap_over_a_new_axis_equals_one_call_each(case, implementation):
    run = partial(value_and_gradients, case.op, **case.options, implementation=implementation)
    calls = [(case.arrays(seed=seed), case.cotangent(seed=seed)) for seed in (7, 8)]
    together = jax.vmap(run)(*jax.tree.map(lambda *each: np.stack(each), *calls))
    for n, call in enumerate(calls):
        assert_close([result[n] for result in together], run(*call), case)


@pytest.mark.slow
@ALL
@every([*{case.op: case for case in SMALL}.values()])
def test_jit_equals_the_plain_call(case, implementation):
    op = partial(case.op, **case.options, implementation=implementation)
    close(jax.jit(op)(*case.arrays()), op(*case.arrays()), terms=case.terms)


@every(SMALL)
def test_auto_on_a_cpu_is_xla_to_the_last_bit(case):
    if case.op is adacof and jax.default_backend() != "cpu":
        pytest.skip("a GPU runs the kernel; see tests/kernels")
    run = partial(value_and_gradients, case.op, case.arrays(), case.cotangent(), **case.options)
    for found, expected in zip(run(implementation="auto"), run(implementation="xla"), strict=True):
        np.testing.assert_array_equal(found, expected)


# -------------------------------------------------------------------------------------------- names


@every(SMALL)
def test_options_are_given_by_name_alone(case):
    for option in (*case.options.values(), "xla"):
        with pytest.raises(TypeError, match="positional"):
            case.op(*case.arrays(), option)


UNKNOWN = {
    "numba": "unknown implementation 'numba' (known: auto, reference, xla, pallas)",
    "palas": "did you mean 'pallas'?",
    "xlaa": "did you mean 'xla'?",
    "referense": "did you mean 'reference'?",
}


@pytest.mark.parametrize(("implementation", "message"), UNKNOWN.items(), ids=UNKNOWN)
@every(SMALL)
def test_an_unknown_implementation_is_refused(case, implementation, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        case.op(*case.arrays(), **case.options, implementation=implementation)


@every([case for case in SMALL if case.op is not adacof])
def test_an_op_without_a_kernel_says_so(case):
    message = f"{case.op.__name__} has no Pallas kernel yet; use implementation='auto' or 'xla'"
    with pytest.raises(ValueError, match=re.escape(message)):
        case.op(*case.arrays(), **case.options, implementation="pallas")
