"""How much a patch moves between the outer frames of a triplet.

`dis` is optical flow, `difference` the mean difference of the patches. They have different units and
do not replace one another: whatever is selected by them says which one it was.
"""

from collections.abc import Callable

import numpy as np

from vfijax.media import MediaError
from vfijax.media.flow import MEDIUM, find_motion

Measure = Callable[[np.ndarray, np.ndarray], float]


def dis_flow(first: np.ndarray, last: np.ndarray) -> float:
    """Length of the mean vector of the optical flow between two patches, in pixels.

    The flow is dense inverse search, OpenCV's preset "medium" (`vfijax.media.flow`). The replication of
    SepConv averages the vectors of SimpleFlow in the same way.

    Args:
      first, last: uint8 [H, W, 3].
    """
    flow = find_motion(first, last, (MEDIUM,), parallel=False)[0]
    return float(np.hypot(*flow.mean(axis=(1, 2))))


def mean_difference(first: np.ndarray, last: np.ndarray) -> float:
    """Mean absolute difference of two patches over pixels and channels, in levels of 255.

    It grows with the motion and with the contrast of what moves, so it is no displacement.

    Args:
      first, last: uint8 [H, W, 3].
    """
    return float(np.abs(first.astype(np.int16) - last).mean())


MEASURES: dict[str, Measure] = {"dis": dis_flow, "difference": mean_difference}
UNITS = {"dis": "pixels of DIS flow", "difference": "levels of mean absolute difference"}


def measure(name: str) -> Measure:
    """The measure of that name. Raises MediaError where there is none."""
    if name not in MEASURES:
        raise MediaError(f"unknown motion measure {name!r}; give one of {', '.join(MEASURES)}")
    return MEASURES[name]
