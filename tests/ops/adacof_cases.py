"""Inputs for the tests of the adaptive sampling op, and the op in plain Python."""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True)
class Case:
    """One call: sizes, static arguments, and how far the offsets reach (pixels)."""

    name: str
    height: int = 6
    width: int = 7
    channels: int = 3
    size: int = 3  # F
    dilation: int = 1
    batch: int = 1
    padded: bool = False
    reach: float = 2.5
    rounding: str = "floor"

    @property
    def static(self):
        return {"dilation": self.dilation, "rounding": self.rounding}

    def arrays(self, dtype=np.float32):
        """Image, weight and offsets; no offset is within 0.03 of an integer, where the op has its kinks."""
        rng = np.random.default_rng(7)
        apron = (self.size - 1) * self.dilation if self.padded else 0
        image = rng.uniform(0, 1, (self.batch, self.height + apron, self.width + apron, self.channels))
        field = (self.batch, self.size**2, self.height, self.width)
        weight = rng.uniform(-0.5, 1, field)
        offsets = [away_from_integers(rng.normal(0, self.reach, field)) for _ in "yx"]
        return tuple(array.astype(dtype) for array in (image, weight, *offsets))

    def cotangent(self, dtype=np.float32):
        shape = (self.batch, self.height, self.width, self.channels)
        return np.random.default_rng(8).normal(size=shape).astype(dtype)


def away_from_integers(offset, gap=0.03):
    whole = np.floor(offset)
    return whole + np.clip(offset - whole, gap, 1 - gap)


CASES = [
    Case("one channel", channels=1),
    Case("two channels, trunc", channels=2, rounding="trunc"),
    Case("three channels, padded", padded=True),
    Case("three channels, padded, trunc", padded=True, rounding="trunc"),
    Case("eight channels, two images", channels=8, batch=2, rounding="trunc"),
    Case("63 channels", channels=63, height=4, width=5),
    Case("odd sizes", height=5, width=13, size=5),
    Case("a single row", height=1, width=9, size=3, rounding="trunc"),
    Case("a single tap", size=1, channels=4),
    Case("five taps a side, two images, padded", size=5, batch=2, padded=True, rounding="trunc"),
    Case("dilation 2", dilation=2, size=5),
    Case("dilation 2, padded, trunc", dilation=2, size=3, padded=True, rounding="trunc"),
    Case("eleven taps a side, dilation 2", size=11, dilation=2, height=4, width=5),
    Case("dilation 3, an even grid of taps", dilation=3, size=2),
    Case("offsets far outside", reach=40.0, size=3, rounding="trunc"),
    Case("offsets very far outside, floor", reach=4000.0, size=3),
]


def plain_python(image, weight, offset_y, offset_x, *, dilation, rounding):
    """The equation, one number at a time."""
    batch, height, width, channels = image.shape
    _, taps, rows, columns = weight.shape
    size = math.isqrt(taps)
    padded = size > 1 and (rows, columns) != (height, width)
    shift = 0 if padded else (size - 1) * dilation // 2
    whole = {"floor": math.floor, "trunc": math.trunc}[rounding]
    out = np.zeros((batch, rows, columns, channels))
    for b, i, j, k, l in product(*map(range, (batch, rows, columns, size, size))):
        t = k * size + l
        y, x = float(offset_y[b, t, i, j]), float(offset_x[b, t, i, j])
        fy, fx = y - whole(y), x - whole(x)
        for dy, dx in product((0, 1), (0, 1)):
            row = min(max(i + k * dilation - shift + whole(y) + dy, 0), height - 1)
            column = min(max(j + l * dilation - shift + whole(x) + dx, 0), width - 1)
            share = (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
            for c in range(channels):
                out[b, i, j, c] += float(weight[b, t, i, j]) * share * float(image[b, row, column, c])
    return out
