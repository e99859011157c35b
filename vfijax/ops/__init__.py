"""Sampling ops: image first, per-pixel fields next, static numbers by keyword, `implementation` last."""

from vfijax.ops.adacof import adacof

__all__ = ["adacof"]
