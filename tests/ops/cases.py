"""Calls of the sampling ops, as tables: shapes and options; arrays that fit; results and refusals."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from vfijax.ops import adacof, adaptive_conv, bicubic, deform_conv, dsepconv, sepconv

BOTH = pytest.mark.parametrize("implementation", ["reference", "xla"])


@dataclass(frozen=True)
class Case:
    """One call of an op: everything but the numbers."""

    name: str
    op: Callable[..., jax.Array]
    shapes: dict[str, tuple[int, ...]]  # of the arrays, in order
    out: tuple[int, ...]
    taps: int
    options: dict[str, Any]
    reach: float = 0.0  # standard deviation of the offsets, pixels
    edges: tuple[int, int] | None = None  # rows and columns replicated before and after, if any are
    dtype: str = "float32"  # in which implementations are compared: the wider, the more exactly

    def __str__(self) -> str:
        return f"{self.op.__name__}: {self.name}"

    @property
    def results(self) -> tuple[str, ...]:
        return "out", *(f"d_{name}" for name in self.shapes)

    @property
    def terms(self) -> int:
        """Products in the longest sum, of a value or a gradient."""
        return self.taps * self.shapes["image"][-1]

    def named(self, dtype: Any = np.float32, seed: int = 7) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {name: self._draw(rng, name).astype(dtype) for name in self.shapes}

    def arrays(self, dtype: Any = np.float32, seed: int = 7) -> tuple[np.ndarray, ...]:
        return tuple(self.named(dtype, seed).values())

    def cotangent(self, dtype: Any = np.float32, seed: int = 7) -> np.ndarray:
        return np.random.default_rng(seed + 100).normal(size=self.out).astype(dtype)

    def _draw(self, rng: np.random.Generator, name: str) -> np.ndarray:
        numbers = rng.normal(size=self.shapes[name])
        return away_from_integers(self.reach * numbers) if is_offset(name) else numbers


def is_offset(name: str) -> bool:
    """Whether the op has pieces in this array, from integer to integer; it is linear in every other."""
    return name.startswith("offset")


def away_from_integers(offset: np.ndarray, gap: float = 0.03) -> np.ndarray:
    whole = np.floor(offset)
    return whole + np.clip(offset - whole, gap, 1 - gap)


def value_and_gradients(op, arrays, cotangent, *, level=0, **options):
    """The result and the gradient of every array, compiled as a whole.

    Nearly all the time goes into the compiler, so that its optimisation is turned down; users get level 3.
    """
    return _compiled(level)(op, tuple(sorted(options.items())), tuple(arrays), cotangent)


def traced(op, options, arrays, cotangent):
    """The same, not compiled."""
    out, vjp = jax.vjp(partial(op, **dict(options)), *arrays)
    return out, *vjp(cotangent)


@functools.cache
def _compiled(level):
    options = {"xla_backend_optimization_level": level}
    return jax.jit(traced, static_argnums=(0, 1), compiler_options=options)


def temporary_bytes(function, *arrays):
    """Memory of a compiled function beside its arguments and results."""
    return jax.jit(function).lower(*arrays).compile().memory_analysis().temp_size_in_bytes


def every(cases):
    return pytest.mark.parametrize("case", cases, ids=str)


# ------------------------------------------------------------------------------------------ refusals


def refusal(message, kind=ValueError, *, options=None, **changes):
    """A check that the op of a case refuses its arrays, each changed by the function of its name."""

    def check(case):
        named = case.named().items()
        arrays = (changes.get(name, lambda array: array)(array) for name, array in named)
        with pytest.raises(kind, match=re.escape(message)):
            case.op(*arrays, **case.options | (options or {}))

    return check


def every_refusal(table):
    return pytest.mark.parametrize("refuses", table.values(), ids=table)


def first(array):
    """One of a batch alone, without its axis."""
    return array[0]


def twice(array):
    return np.repeat(array, 2, 0)


def integers(array):
    return array.astype(np.int32)


# ------------------------------------------------------------------------------------------- adacof


def adacof_case(
    name="",
    height=6,
    width=7,
    channels=3,
    *,
    size=3,
    dilation=1,
    batch=1,
    padded=False,
    reach=2.5,
    rounding="floor",
):
    span = (size - 1) * dilation
    apron = span if padded else 0
    field = (batch, size**2, height, width)
    return Case(
        name,
        adacof,
        {
            "image": (batch, height + apron, width + apron, channels),
            **dict.fromkeys(("weight", "offset_y", "offset_x"), field),
        },
        (batch, height, width, channels),
        taps=size**2,
        options={"dilation": dilation, "rounding": rounding},
        reach=reach,
        edges=None if padded else (span // 2, span - span // 2),
    )


ADACOF = [
    adacof_case("one channel", channels=1),
    adacof_case("two channels, trunc", channels=2, rounding="trunc"),
    adacof_case("three channels, padded", padded=True),
    adacof_case("three channels, padded, trunc", padded=True, rounding="trunc"),
    adacof_case("eight channels, two images", channels=8, batch=2, rounding="trunc"),
    adacof_case("63 channels", 4, 5, 63),
    adacof_case("odd sizes", 5, 13, size=5),
    adacof_case("a single row", 1, 9, rounding="trunc"),
    adacof_case("a single tap", channels=4, size=1),
    adacof_case("five taps a side, two images, padded", size=5, batch=2, padded=True, rounding="trunc"),
    adacof_case("dilation 2", dilation=2, size=5),
    adacof_case("dilation 2, padded, trunc", dilation=2, padded=True, rounding="trunc"),
    adacof_case("eleven taps a side, dilation 2", 4, 5, size=11, dilation=2),
    adacof_case("dilation 3, an even grid of taps", dilation=3, size=2),
    adacof_case("offsets far outside", reach=40.0, rounding="trunc"),
    adacof_case("offsets very far outside, floor", reach=4000.0),
]


# ---------------------------------------------------------------------------- sepconv, adaptive_conv


def kernel_case(op, name="", height=6, width=7, channels=3, *, n=3, batch=1, padded=True, dtype="float32"):
    apron = n - 1 if padded else 0
    taps = {"vertical": n, "horizontal": n} if op is sepconv else {"kernel": n**2}
    return Case(
        name,
        op,
        {
            "image": (batch, height + apron, width + apron, channels),
            **{kernel: (batch, count, height, width) for kernel, count in taps.items()},
        },
        (batch, height, width, channels),
        taps=n**2,
        options={},
        edges=None if padded else (n // 2, n // 2),
        dtype=dtype,
    )


SEPCONV = [
    kernel_case(op, *sizes, **rest, dtype="float64")
    for op in (sepconv, adaptive_conv)
    for *sizes, rest in [
        ("three taps, edges replicated", {"padded": False}),
        ("a single tap", {"n": 1}),
        ("two taps, two images", {"n": 2, "batch": 2}),
        ("many channels", 3, 7, 17, {"n": 4}),
        ("kernels larger than the image, edges replicated", 2, 3, {"n": 9, "padded": False}),
        ("a single column", 9, 1, {"n": 5, "batch": 2}),
        ("one column more than two tiles, two images", 3, 65, {"n": 5, "batch": 2}),
        ("kernels wider than a tile", 2, 40, 2, {"n": 41}),
    ]
]


# ----------------------------------------------------------------------------------------- dsepconv


def dsepconv_case(
    name="",
    height=5,
    width=6,
    channels=3,
    *,
    n=3,
    batch=1,
    padded=False,
    masked=True,
    reach=2.0,
    grid="reference",
):
    apron = n - 1 if padded else 0
    taps = {"vertical": n, "horizontal": n, "offset_y": n**2, "offset_x": n**2}
    taps |= {"mask": n**2} if masked else {}
    return Case(
        name,
        dsepconv,
        {
            "image": (batch, height + apron, width + apron, channels),
            **{field: (batch, count, height, width) for field, count in taps.items()},
        },
        (batch, height, width, channels),
        taps=n**2,
        options={"grid": grid},
        reach=reach,
        edges=None if padded else (n // 2, n - 1 - n // 2),
    )


DSEPCONV = [
    dsepconv_case("three taps a side"),
    dsepconv_case("padded, two images, without a mask", batch=2, padded=True, masked=False, grid="centred"),
    dsepconv_case("five taps a side, one channel", channels=1, n=5),
    dsepconv_case("five taps, padded, two channels", channels=2, n=5, padded=True, grid="centred"),
    dsepconv_case("a single tap", channels=4, n=1, batch=2),
    dsepconv_case(
        "an even number of taps, padded, seven channels", channels=7, n=4, padded=True, grid="centred"
    ),
    dsepconv_case("offsets far outside", reach=50.0, masked=False),
    dsepconv_case("a single row", 1, 7, n=5),
]


# -------------------------------------------------------------------------------------- deform_conv


def deform_case(
    name="",
    height=5,
    width=7,
    channels=4,
    *,
    features=3,
    groups=2,
    size=3,
    stride=1,
    padding=1,
    dilation=1,
    batch=1,
    reach=2.0,
):
    span = dilation * (size - 1) + 1
    rows, columns = ((length + 2 * padding - span) // stride + 1 for length in (height, width))
    field = (batch, groups * size**2, rows, columns)
    return Case(
        name,
        deform_conv,
        {
            "image": (batch, height, width, channels),
            **dict.fromkeys(("offset_y", "offset_x", "mask"), field),
            "kernel": (size, size, channels, features),
        },
        (batch, rows, columns, features),
        taps=size**2,
        options={"stride": stride, "padding": padding, "dilation": dilation},
        reach=reach,
    )


DEFORM_CONV = [
    deform_case("one group", groups=1),
    deform_case("two groups, two images", batch=2),
    deform_case("eight channels per group", 3, 4, 16),
    deform_case("many channels per group", 3, 4, 40),
    deform_case("stride 2", stride=2),
    deform_case("dilation 2", dilation=2, padding=2),
    deform_case("stride 3, wide padding, a group per channel", 6, 8, groups=4, stride=3, padding=4),
    deform_case("a single tap", size=1, padding=0),
    deform_case("five taps a side, no padding", 6, size=5, padding=0),
    deform_case("a single row, an even number of taps a side", 1, size=2),
    deform_case("offsets far outside", reach=40.0),
]


# ------------------------------------------------------------------------------------------ bicubic


def bicubic_case(name="", height=6, width=7, channels=3, *, batch=1, reach=2.5):
    field = (batch, height, width)
    return Case(
        name,
        bicubic,
        {"image": (*field, channels), "offset_y": field, "offset_x": field},
        (*field, channels),
        taps=16,
        options={},
        reach=reach,
        edges=(0, 0),
    )


BICUBIC = [
    bicubic_case("one channel", channels=1),
    bicubic_case("two images, 17 channels", 3, 5, 17, batch=2),
    bicubic_case("a single row", 1, 9),
    bicubic_case("a single pixel", 1, 1),
    bicubic_case("offsets far outside", reach=40.0),
]


# ----------------------------------------------------------------------------------------- every op

# Small enough to be differentiated number by number; every option of every op is in one of them.
SMALL = [
    adacof_case("small", 4, 5, 2),
    adacof_case("small, trunc", 4, 3, 3, dilation=2, batch=2, padded=True, rounding="trunc"),
    kernel_case(sepconv, "small", 3, 4, 2, batch=2, padded=False),
    kernel_case(adaptive_conv, "small", 3, 4, 2, batch=2, padded=False),
    dsepconv_case("small", 4, 3, batch=2, reach=3.0),
    dsepconv_case("small, centred", 3, 4, 5, n=2, padded=True, grid="centred"),
    deform_case("small"),
    deform_case("small, stride 2", stride=2, dilation=2, batch=2),
    bicubic_case("small", 4, 5, 2, batch=2),
]

# Their sums are long: added up in half precision, they would be off by more than a rounding.
LONG_SUMS = [
    *(case for case in ADACOF if case.name in ("two channels, trunc", "63 channels", "dilation 2")),
    *(case for case in SEPCONV if case.name == "kernels larger than the image, edges replicated"),
    *(case for case in DSEPCONV if case.name == "five taps, padded, two channels"),
    *(case for case in DEFORM_CONV if case.name == "two groups, two images"),
    *(case for case in BICUBIC if case.name == "one channel"),
]

# Images whose edges the op replicates.
UNPADDED = [
    adacof_case("five taps a side", size=5),
    *(kernel_case(op, "five taps", n=5, padded=False) for op in (sepconv, adaptive_conv)),
    dsepconv_case("five taps", n=5, reach=4.0),
    dsepconv_case("three taps, centred", n=3, reach=4.0, grid="centred"),
]

CASES = [*ADACOF, *SEPCONV, *DSEPCONV, *DEFORM_CONV, *BICUBIC, *SMALL]
