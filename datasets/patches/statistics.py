"""What became of the patches that were tried: counts, motion, and examples of each fate."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from datasets.patches.selection import CUT, FATES, KEPT, Candidate

EXAMPLES = 8  # remembered of each fate
BINS = 10  # of motion below the one that is always accepted; one more holds the rest

# Of an example: its random draw, item of the source, first frame, top, left, and the measure that decided.
Example = tuple[float, int, int, int, int, float]


@dataclass(frozen=True)
class Statistics:
    """Of one triplet or of many; `a + b` is that of both.

    Attributes:
      triplets: how many were tried.
      small: how many were left out because a patch does not fit into them.
      fates: how many patches had each fate, see `datasets.patches.selection.Candidate`.
      motion: histograms of the motion of the patches not across a cut, by fate; ten equal bins up to
        the motion that is always accepted and one for what is above.
      skipped: a message for each item left out because it cannot be read.
      examples: patches of each fate, chosen at random.
    """

    triplets: int = 0
    small: int = 0
    fates: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FATES, 0))
    motion: dict[str, list[int]] = field(
        default_factory=lambda: {fate: [0] * (BINS + 1) for fate in FATES if fate != CUT}
    )
    skipped: list[str] = field(default_factory=list)
    examples: dict[str, list[Example]] = field(default_factory=lambda: {fate: [] for fate in FATES})

    @property
    def candidates(self) -> int:
        return sum(self.fates.values())

    @property
    def kept(self) -> int:
        return self.fates[KEPT]

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            self.triplets + other.triplets,
            self.small + other.small,
            {fate: self.fates[fate] + other.fates[fate] for fate in FATES},
            {f: [a + b for a, b in zip(n, other.motion[f], strict=True)] for f, n in self.motion.items()},
            self.skipped + other.skipped,
            {f: sorted([*self.examples[f], *other.examples[f]])[:EXAMPLES] for f in FATES},
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(stored: dict[str, Any]) -> "Statistics":
        examples = {fate: [tuple(e) for e in found] for fate, found in stored["examples"].items()}
        return Statistics(**stored | {"examples": examples})


def of_triplet(candidates: Sequence[Candidate], item: int, start: int, full_motion: float) -> Statistics:
    """The statistics of one triplet.

    Args:
      candidates: all that were tried.
      item, start: where the triplet is: item of the source, and its first frame.
      full_motion: motion from which on a patch is always accepted.
    """
    found = Statistics(triplets=1)
    for c in candidates:
        found.fates[c.fate] += 1
        if c.motion is not None:
            found.motion[c.fate][min(int(c.motion / full_motion * BINS), BINS)] += 1
        measured = c.difference if c.motion is None else c.motion
        found.examples[c.fate].append((c.draw, item, start, c.top, c.left, measured))
    return found + Statistics()  # keeps as many examples as wanted


def table(statistics: Statistics, unit: str, full_motion: float) -> str:
    """The statistics in words and as a small table."""
    fates, total = statistics.fates, max(statistics.candidates, 1)
    words = {
        "kept": "kept",
        "cut": "rejected: jump cut",
        "still": "rejected: too little motion",
        "surplus": "accepted, but more than wanted of their triplet",
    }
    lines = [f"{statistics.triplets:,} triplets, {statistics.candidates:,} patches tried"]
    lines += [f"  {fates[fate]:9,}  {fates[fate] / total:6.1%}  {words[fate]}" for fate in FATES]
    edges = np.linspace(0, full_motion, BINS + 1)
    lines += [f"motion in {unit}      tried      kept"]
    for i, low in enumerate(edges):
        span = f"{low:.1f} to {edges[i + 1]:.1f}" if i < BINS else f"{low:.1f} or more"
        tried = sum(counts[i] for counts in statistics.motion.values())
        lines += [f"  {span:16} {tried:9,} {statistics.motion[KEPT][i]:9,}"]
    if statistics.small:
        lines += [f"note: {statistics.small:,} triplets are smaller than a patch and were left out"]
    return "\n".join(lines)
