"""The four sequences of Vid4 at full resolution."""

from pathlib import Path
from typing import ClassVar

from datasets.builders.base import Counts, FrameBuilder, Item, directory, layout_error, numbered
from vfijax.media.layouts import find_images

SEQUENCES = ("calendar", "city", "foliage", "walk")


class Vid4(FrameBuilder):
    """`vid4`; one record is a whole sequence."""

    ABOUT = "Four sequences of 41, 34, 49 and 47 frames, 720x576, 704x576, 720x480 and 720x480."
    HOMEPAGE = "https://people.csail.mit.edu/celiu/CVPR2011/"
    CITATION = """@inproceedings{liu2011bayesian,
  title = {A {Bayesian} Approach to Adaptive Video Super Resolution},
  author = {Liu, Ce and Sun, Deqing},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {209--216},
  year = {2011}
}"""
    LICENSE = "Not stated."
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Get the full-resolution frames of Vid4, for example from the links in the repositories of
        Zooming Slow-Mo or BasicSR: DIR/calendar/000.png and so on, and the same for city, foliage and
        walk. The four folders may also lie in DIR/Vid4, DIR/vid4, DIR/GT or DIR/Vid4/GT; any common
        format of pictures is read."""
    UNIT = "sequences"
    PUBLISHED: ClassVar[dict[str, Counts]] = {"test": {"sequences": 4, "frames": 171}}

    def find(self, manual: Path) -> dict[str, list[Item]]:
        root = directory(directory(manual, "Vid4", "vid4"), "GT")
        found = [root / name for name in SEQUENCES if (root / name).is_dir()]
        if not found:
            raise layout_error(self, manual, f"there is none of {', '.join(SEQUENCES)} in {root}")
        return {"test": [Item(folder.name, tuple(numbered(find_images(folder)))) for folder in found]}
