"""Patches worth training on: cut from triplets by their motion, and kept on disk."""

from datasets.patches.cache import PatchSource, is_patches, open_patches, prepare_patches
from datasets.patches.selection import PatchParameters

__all__ = ["PatchParameters", "PatchSource", "is_patches", "open_patches", "prepare_patches"]
