"""Training and evaluation data: sources of frames, and batches made from them."""

from datasets.pipeline import as_batch, evaluation_triplets, spread, training_batches
from datasets.sources import ClipSource, Source, Sources, TripletSource, open_sources
from datasets.synthetic import SyntheticSource

__all__ = [
    "ClipSource",
    "Source",
    "Sources",
    "SyntheticSource",
    "TripletSource",
    "as_batch",
    "evaluation_triplets",
    "open_sources",
    "spread",
    "training_batches",
]
