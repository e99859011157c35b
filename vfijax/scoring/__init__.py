"""A model on triplets, benchmark sets or a video, by the published protocols.

`score_triplets(params, find_set(directory)).means` is what papers report.
"""

from vfijax.scoring.clips import (
    CLIP_MEASURES,
    CLIP_SET_FRAMES,
    KINDS,
    ClipReport,
    Method,
    find_clip_set,
    score_clips,
    score_frame,
    two_stage,
)
from vfijax.scoring.protocols import MEASURES, PROTOCOLS, Protocol, measure, predict
from vfijax.scoring.report import Report, Row
from vfijax.scoring.triplets import SET_SIZES, find_groups, find_set, sample, score_triplets, write_worst
from vfijax.scoring.video import score_video

__all__ = [
    "CLIP_MEASURES",
    "CLIP_SET_FRAMES",
    "KINDS",
    "MEASURES",
    "PROTOCOLS",
    "SET_SIZES",
    "ClipReport",
    "Method",
    "Protocol",
    "Report",
    "Row",
    "find_clip_set",
    "find_groups",
    "find_set",
    "measure",
    "predict",
    "sample",
    "score_clips",
    "score_frame",
    "score_triplets",
    "score_video",
    "two_stage",
    "write_worst",
]
