"""Named workloads of each op, from tiny to real: what the tests compare and the benchmarks time."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """One call of a sampling op.

    Attributes:
      height, width: of the output.
      taps: F, of the F x F grid.
      reach: standard deviation of the offsets, in pixels.
      padded: whether the image comes already padded by (F-1)*dilation.
      dtype: of the image and all fields.
    """

    name: str
    batch: int
    height: int
    width: int
    channels: int
    taps: int
    dilation: int = 1
    rounding: Literal["floor", "trunc"] = "floor"
    dtype: str = "float32"
    padded: bool = False
    reach: float = 2.0

    @property
    def interpretable(self) -> bool:
        """Whether it is small enough for interpret mode."""
        return self.batch * self.height * self.width <= 1024

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        extent = (self.taps - 1) * self.dilation if self.padded else 0
        return self.batch, self.height + extent, self.width + extent, self.channels

    @property
    def field_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.taps**2, self.height, self.width

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.height, self.width, self.channels

    def inputs(self, seed: int = 0) -> Arrays:
        """image in [0, 1], weight (positive, summing to 1 over taps), offset_y and offset_x."""
        rng = np.random.default_rng(seed)
        image = rng.uniform(size=self.image_shape)
        weight = rng.uniform(0.1, 1, self.field_shape)
        weight /= weight.sum(axis=1, keepdims=True)
        offset_y, offset_x = (rng.normal(0, self.reach, self.field_shape) for _ in range(2))
        image, weight, offset_y, offset_x = (
            array.astype(jnp.dtype(self.dtype)) for array in (image, weight, offset_y, offset_x)
        )
        return image, weight, offset_y, offset_x

    def cotangent(self, seed: int = 1) -> np.ndarray:
        """A gradient of the output."""
        values = np.random.default_rng(seed).normal(size=self.output_shape)
        return values.astype(jnp.dtype(self.dtype))


ADACOF = (
    # Tiny, for interpret mode. All but one have a ragged last tile of pixels.
    Workload("one_pixel", 1, 1, 1, 1, 1),
    Workload("one_tap", 1, 5, 7, 3, 1, rounding="trunc"),
    Workload("one_row", 2, 1, 19, 4, 3),
    Workload("one_column", 1, 23, 1, 5, 3, padded=True, rounding="trunc"),
    Workload("whole_tile", 1, 8, 16, 1, 3, dilation=2),
    Workload("adacof_small", 2, 13, 17, 3, 5),
    Workload("adacof_small_trunc", 2, 13, 17, 3, 5, rounding="trunc"),
    Workload("far_offsets", 1, 9, 14, 3, 3, padded=True, reach=60.0),
    Workload("far_offsets_trunc", 1, 9, 14, 1, 5, reach=60.0, rounding="trunc"),
    Workload("eight_channels", 1, 9, 11, 8, 3, dilation=2),
    Workload("wide_grid", 1, 10, 13, 3, 11, dilation=2, rounding="trunc"),
    Workload("pyramid_small", 1, 10, 13, 63, 3, dilation=2, padded=True, rounding="trunc"),
    Workload("bfloat16", 1, 12, 13, 4, 3, dtype="bfloat16"),
    Workload("float16", 1, 12, 13, 3, 3, dtype="float16", rounding="trunc"),
    # Real.
    Workload("adacof_vimeo", 1, 256, 448, 3, 5),
    Workload("adacof_vimeo_trunc", 1, 256, 448, 3, 5, rounding="trunc"),
    Workload("adacof_vimeo_batch", 4, 256, 448, 3, 5),
    Workload("cdfi_vimeo", 1, 256, 448, 3, 11, dilation=2, rounding="trunc"),
    Workload("cdfi_pyramid_vimeo", 1, 256, 448, 63, 11, dilation=2, padded=True, rounding="trunc"),
    Workload("adacof_720p", 1, 720, 1280, 3, 5),
    Workload("adacof_720p_bfloat16", 1, 720, 1280, 3, 5, dtype="bfloat16"),
    Workload("adacof_720p_float16", 1, 720, 1280, 3, 5, dtype="float16"),
    Workload("cdfi_720p", 1, 720, 1280, 3, 11, dilation=2, rounding="trunc"),
    Workload("cdfi_pyramid_720p", 1, 720, 1280, 63, 11, dilation=2, padded=True, rounding="trunc"),
)

SHAPES: dict[str, tuple[Workload, ...]] = {"adacof": ADACOF}
