"""Sampling ops: image first, per-pixel fields next, static numbers by keyword, `implementation` last."""

from vfijax.ops.adacof import adacof
from vfijax.ops.bicubic import bicubic
from vfijax.ops.deform_conv import deform_conv
from vfijax.ops.dsepconv import dsepconv
from vfijax.ops.sepconv import adaptive_conv, sepconv

__all__ = ["adacof", "adaptive_conv", "bicubic", "deform_conv", "dsepconv", "sepconv"]
