"""Layout rules between PyTorch arrays and ours."""

import numpy as np


def official_shape(leaf: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The PyTorch shape of one of our leaves: kernels are HWIO here and OIHW there."""
    if leaf == "kernel":
        height, width, inputs, outputs = shape
        return outputs, inputs, height, width
    return shape


def from_official(leaf: str, array: np.ndarray) -> np.ndarray:
    """A PyTorch array in our layout."""
    return array.transpose(2, 3, 1, 0) if leaf == "kernel" else array
