"""Optimisers that optax lacks: OBProx-SG, which makes networks sparse."""

from vfijax.optim.obproxsg import (
    OBProxSGState,
    obproxsg,
    obproxsg_with_dense,
    one_dimensional,
    running_statistics,
    steps_of_epochs,
)

__all__ = [
    "OBProxSGState",
    "obproxsg",
    "obproxsg_with_dense",
    "one_dimensional",
    "running_statistics",
    "steps_of_epochs",
]
