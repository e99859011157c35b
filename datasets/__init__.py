"""Training and evaluation data: sources of frames, and batches made from them."""

from datasets.builders.built import BUILDERS, open_built
from datasets.opening import Choice, Sources, open_sources
from datasets.patches import open_patches
from datasets.pipeline import (
    Reading,
    as_batch,
    as_clip_batch,
    evaluation_clips,
    evaluation_triplets,
    sample_batches,
    spread,
    training_batches,
)
from datasets.scenes import Scene, SceneSource
from datasets.sources import BadItem, ClipSource, PictureSource, Source, TripletSource
from datasets.synthetic import SyntheticSource
from datasets.timed import TimedTriplet
from datasets.transforms import AUGMENTATIONS, Augmentation, TrainingClip, TrainingTriplet

__all__ = [
    "AUGMENTATIONS",
    "BUILDERS",
    "Augmentation",
    "BadItem",
    "Choice",
    "ClipSource",
    "PictureSource",
    "Reading",
    "Scene",
    "SceneSource",
    "Source",
    "Sources",
    "SyntheticSource",
    "TimedTriplet",
    "TrainingClip",
    "TrainingTriplet",
    "TripletSource",
    "as_batch",
    "as_clip_batch",
    "evaluation_clips",
    "evaluation_triplets",
    "open_built",
    "open_patches",
    "open_sources",
    "sample_batches",
    "spread",
    "training_batches",
]
