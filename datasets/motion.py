"""How much a patch moves between the outer frames of a triplet.

`dis` is optical flow and needs OpenCV; `difference` needs nothing. They have different units and
do not replace one another: whatever is selected by them says which one it was.
"""

import importlib.util
from collections.abc import Callable

import numpy as np

from vfijax.media import MediaError

Measure = Callable[[np.ndarray, np.ndarray], float]


def dis_flow(first: np.ndarray, last: np.ndarray) -> float:
    """Length of the mean vector of the optical flow between two patches, in pixels.

    The flow is OpenCV's dense inverse search ("medium" preset) on the grey patches (Kroeger et al.,
    "Fast Optical Flow using Dense Inverse Search", ECCV 2016). The replication of SepConv averages
    the vectors of SimpleFlow in the same way.

    Args:
      first, last: uint8 [H, W, 3].
    """
    import cv2

    cv2.setNumThreads(1)  # DIS cuts pictures into one strip a thread, and strips change the flow
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, last)]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], None)
    return float(np.hypot(*flow.reshape(-1, 2).mean(axis=0)))


def mean_difference(first: np.ndarray, last: np.ndarray) -> float:
    """Mean absolute difference of two patches over pixels and channels, in levels of 255.

    It grows with the motion and with the contrast of what moves, so it is no displacement.

    Args:
      first, last: uint8 [H, W, 3].
    """
    return float(np.abs(first.astype(np.int16) - last).mean())


MEASURES: dict[str, Measure] = {"dis": dis_flow, "difference": mean_difference}
UNITS = {"dis": "pixels of DIS flow", "difference": "levels of mean absolute difference"}


def default_measure() -> str:
    """`dis` where OpenCV is installed, else `difference`."""
    return "dis" if importlib.util.find_spec("cv2") else "difference"


def measure(name: str) -> Measure:
    """The measure of that name.

    Raises:
      MediaError: there is none, or it needs OpenCV and that is not installed.
    """
    if name not in MEASURES:
        raise MediaError(f"unknown motion measure {name!r}; give one of {', '.join(MEASURES)}")
    if name == "dis" and importlib.util.find_spec("cv2") is None:
        raise MediaError(
            "--motion dis needs OpenCV; install it with pip install 'vfijax[flow]', or give --motion "
            "difference, another measure"
        )
    return MEASURES[name]
