"""Which patches of a triplet are worth training on.

The recipe of the replication of SepConv: random crops, none across a jump cut, those with more
motion preferred. Two things are done as its text has them and not its code: of the accepted patches
those kept are chosen at random, not the first, and the motion is that of this patch alone.
"""

from dataclasses import dataclass, replace

import numpy as np

from datasets.patches.motion import Measure
from vfijax.media import MediaError, histogram_difference

KEPT, CUT, STILL, SURPLUS = FATES = ("kept", "cut", "still", "surplus")


@dataclass(frozen=True)
class PatchParameters:
    """What decides which patches are kept."""

    size: int = 150
    """Side of the square patches, pixels."""

    crops: int = 30
    """Random places tried in every triplet."""

    most: int = 20
    """Patches kept of a triplet at most, chosen at random among those accepted."""

    cut: float = 8e-3
    """Patches whose neighbouring frames differ by more in their histograms are rejected."""

    full_motion: float = 25.0
    """Motion from which on a patch is always accepted; below, the probability is motion / full-motion."""

    seed: int = 0
    """Of places and choices."""

    def check(self) -> None:
        """Raises MediaError naming the first field that makes no sense."""
        for name, least in (("size", 1), ("crops", 1), ("most", 1), ("cut", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise MediaError(f"--{name} is {getattr(self, name)}; give {least} or more")
        if not self.full_motion > 0:
            raise MediaError(f"--full-motion is {self.full_motion}; give a positive number")


DEFAULT = PatchParameters()


@dataclass(frozen=True)
class Candidate:
    """A place that was tried, and what became of it.

    Attributes:
      top, left: corner of the patch in the frames.
      difference: the larger `histogram_difference` between neighbouring frames.
      motion: between the outer frames; None if the patch lies across a cut.
      fate: "kept", "cut" (rejected as a jump cut), "still" (rejected for its motion) or "surplus"
        (accepted, but not among those chosen).
      draw: a random number in [0, 1) that nothing else depends on.
    """

    top: int
    left: int
    difference: float
    motion: float | None
    fate: str
    draw: float


def crop(frames: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """The same square of all frames."""
    return frames[:, top : top + size, left : left + size]


def select(
    frames: np.ndarray, parameters: PatchParameters, measure: Measure, rng: np.random.Generator
) -> list[Candidate]:
    """Tries random patches of a triplet.

    Every random number is drawn before the first patch is looked at, so that the places do not
    depend on what is found there.

    Args:
      frames: uint8 [3, H, W, 3], H and W at least the size of the patches.
      parameters: the recipe.
      measure: of motion, from `datasets.patches.motion`.
      rng: of this triplet alone.

    Returns:
      `parameters.crops` candidates, at most `parameters.most` of them kept.
    """
    size, count = parameters.size, parameters.crops
    tops, lefts = (rng.integers(side - size + 1, size=count) for side in frames.shape[1:3])
    chance, rank, draw = rng.random((3, count))
    tried = []
    for i in range(count):
        place = int(tops[i]), int(lefts[i])
        patch = crop(frames, *place, size)
        difference = max(histogram_difference(patch[t], patch[t + 1]) for t in (0, 1))
        motion, fate = None, CUT
        if difference <= parameters.cut:
            motion = measure(patch[0], patch[2])
            fate = KEPT if chance[i] < min(1.0, motion / parameters.full_motion) else STILL
        tried.append(Candidate(*place, difference, motion, fate, float(draw[i])))
    accepted = sorted((i for i in range(count) if tried[i].fate == KEPT), key=lambda i: rank[i])
    surplus = set(accepted[parameters.most :])
    return [replace(c, fate=SURPLUS) if i in surplus else c for i, c in enumerate(tried)]
