"""Compression of a network: how dense it is, how wide it must be, and the narrower network itself.

The way of CDFI (Ding et al., CVPR 2021, section 3.1): train with an l1 penalty (`vfijax.optim`), read
off the density of every layer, derive widths from it, and make a dense network of these widths. See
docs/pruning.md.
"""

from typing import Any

import jax

from vfijax.params import ModelParams
from vfijax.prune.density import DensityReport, density, read_csv
from vfijax.prune.shrink import Init, shrink, shrink_tree
from vfijax.prune.strength import alive, strength
from vfijax.prune.summary import summary
from vfijax.prune.widths import RULES, widths

__all__ = [
    "RULES",
    "DensityReport",
    "alive",
    "density",
    "prune",
    "read_csv",
    "shrink",
    "shrink_tree",
    "strength",
    "summary",
    "widths",
]


def prune(
    params: ModelParams,
    rule: Any = "paper",
    *,
    init: Init = "slice",
    key: jax.Array | int = 0,
    **options: Any,
) -> ModelParams:
    """A narrower network: `shrink(params, widths(params, rule, **options), init, key)`.

    For example `prune(params, "paper", multiple=8)` or `prune(params, parameters=2_500_000)`. For
    arguments and errors see `widths` and `shrink`.
    """
    return shrink(params, widths(params, rule, **options), init, key)
