"""The columns of `samples/*.png`."""

import numpy as np

from train.pictures import panels
from vfijax.models import MODELS


def test_the_maps_of_a_network_are_not_taken_for_frames():
    """CDFI has one called blend, which is not the average of the frames that every score stands beside."""
    frames = np.zeros((1, 3, 8, 8, 3), np.uint8)
    mask = np.ones((1, 8, 8, 1), np.float32)
    seen = {"prediction": frames[:, 0], "masks": {"occlusion": mask, "blend": mask}, "displacements": ()}
    shown = panels(frames, seen)
    assert {"mask occlusion", "mask blend"} <= set(shown)
    assert not {name for name in shown if not name.startswith("mask ")} & set(MODELS)
