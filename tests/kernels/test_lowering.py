"""The kernels lower for CUDA on a machine without a GPU, directly and through the public op."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

from pallas_kernels import adacof as kernel
from pallas_kernels.shapes import SHAPES, Workload
from vfijax.ops import adacof

BY_NAME = {w.name: w for w in SHAPES["adacof"]}
WORKLOADS = [
    BY_NAME["adacof_vimeo"],
    BY_NAME["cdfi_vimeo"],
    BY_NAME["cdfi_pyramid_vimeo"],
    BY_NAME["adacof_720p_bfloat16"],
    BY_NAME["adacof_720p_float16"],
    BY_NAME["one_pixel"],
    Workload("fields_of_more_than_4_gib", 8, 1080, 1920, 3, 11, dilation=2),
]
OPS = {
    "kernel": lambda *arrays, dilation, rounding: kernel.adacof(*arrays, dilation, rounding),
    "op, pallas": lambda *arrays, **static: adacof(*arrays, **static, implementation="pallas"),
    "op, auto": lambda *arrays, **static: adacof(*arrays, **static, implementation="auto"),
}
EVERY_OP = pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
EVERY_WORKLOAD = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)


def kernels_in(function: Callable[..., object], workload: Workload) -> list[str]:
    """Names of the Triton kernels that `function`, lowered for a GPU, calls."""
    image = jax.ShapeDtypeStruct(workload.image_shape, workload.dtype)
    field = jax.ShapeDtypeStruct(workload.field_shape, workload.dtype)
    # Newer JAX wants to know the GPU that it lowers for.
    device = AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=device)):
        traced = jax.jit(function).trace(image, field, field, field)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    calls = [line for line in text.splitlines() if "custom_call @__gpu$xla.gpu.triton" in line]
    return [call.split('name = "')[1].split('"')[0] for call in calls]


def energy(op: Callable[..., jax.Array], workload: Workload) -> Callable[..., jax.Array]:
    """A scalar whose gradient needs the output, so that the forward kernel stays."""

    def function(*arrays):
        output = op(*arrays, dilation=workload.dilation, rounding=workload.rounding)
        return jnp.sum(jnp.square(output.astype(jnp.float32)))

    return function


@pytest.mark.slow
@EVERY_OP
@EVERY_WORKLOAD
def test_forward_lowers_to_one_kernel(op, workload):
    assert kernels_in(energy(op, workload), workload) == ["adacof_forward"]


@pytest.mark.slow
@EVERY_OP
@EVERY_WORKLOAD
def test_gradient_lowers_to_two_kernels(op, workload):
    gradient = jax.grad(energy(op, workload), argnums=(0, 1, 2, 3))
    assert kernels_in(gradient, workload) == ["adacof_forward", "adacof_backward"]


@EVERY_OP
def test_gradient_of_the_fields_alone_lowers(op):
    workload = BY_NAME["cdfi_pyramid_vimeo"]
    gradient = jax.grad(energy(op, workload), argnums=(1, 2, 3))
    assert kernels_in(gradient, workload) == ["adacof_forward", "adacof_backward"]


@pytest.mark.parametrize("implementation", ["xla", "reference"])
def test_other_implementations_contain_no_kernel(implementation):
    def op(*arrays, **static):
        return adacof(*arrays, **static, implementation=implementation)

    workload = BY_NAME["adacof_small"]
    assert kernels_in(energy(op, workload), workload) == []


def test_asking_for_the_kernel_on_a_cpu_names_interpret_mode():
    arrays = [jax.device_put(array, jax.devices("cpu")[0]) for array in BY_NAME["one_tap"].inputs()]
    for op in (OPS["kernel"], OPS["op, pallas"]):
        with pytest.raises(ValueError, match="interpret mode"):
            op(*arrays, dilation=1, rounding="floor")
