"""What scoring returns, and its form as JSON."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vfijax.checkpoint import config_to_json
from vfijax.models import ModelConfig
from vfijax.scoring.protocols import Protocol


@dataclass(frozen=True)
class Row:
    """The scores of one frame.

    Attributes:
      name: of the triplet, or of the frame in a video.
      scores: measure to value; PSNR in dB, errors in [0, 1].
      about: what else is known of the frame, such as its size or time.
    """

    name: str
    scores: Mapping[str, float]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The scores of one model on one set of triplets or one video.

    Attributes:
      config: of the model.
      protocol: how the frames were scored.
      rows: one per frame, in the order in which they were given.
    """

    config: ModelConfig
    protocol: Protocol
    rows: tuple[Row, ...]

    @property
    def means(self) -> dict[str, float]:
        """Measure to its mean over the frames; infinite if a frame with infinite PSNR is among them."""
        names = self.rows[0].scores
        return {name: math.fsum(row.scores[name] for row in self.rows) / len(self.rows) for name in names}

    def worst(self, count: int) -> list[Row]:
        """The frames of lowest PSNR, the worst first."""
        return sorted(self.rows, key=lambda row: row.scores["psnr"])[:count]

    def to_json(self) -> dict[str, Any]:
        """For `write_json`: model, protocol, number of frames, means and rows."""
        protocol = {"name": self.protocol.name, "description": self.protocol.describe}
        if self.protocol.lpips:
            protocol["lpips"] = self.protocol.lpips
        return {
            "model": config_to_json(self.config),
            "protocol": protocol,
            "frames": len(self.rows),
            "mean": self.means,
            "rows": [{"name": row.name, **row.about, **row.scores} for row in self.rows],
        }
