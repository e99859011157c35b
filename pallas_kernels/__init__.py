"""GPU kernels of the sampling ops, in Pallas on its Triton backend.

One module per op, each with the same three functions: `forward`, `backward`, and the op itself, a
`custom_vjp` over the two for direct use. Library code reaches them through `vfijax.ops`, which checks
its arguments and picks an implementation. `shapes` names the workloads that tests and benchmarks run.

    from pallas_kernels import adacof
    frame = adacof.adacof(image, weight, offset_y, offset_x, dilation, rounding)
"""

from pallas_kernels import adacof, blocks, shapes

__all__ = ["adacof", "blocks", "shapes"]
