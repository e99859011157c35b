"""The twelve colour scenes of Middlebury's "other" set that have a true middle frame."""

from pathlib import Path
from typing import ClassVar

from datasets.builders.base import Counts, FrameBuilder, Item, directory, layout_error

SCENES = (
    "Beanbags",
    "Dimetrodon",
    "DogDance",
    "Grove2",
    "Grove3",
    "Hydrangea",
    "MiniCooper",
    "RubberWhale",
    "Urban2",
    "Urban3",
    "Venus",
    "Walking",
)
FRAMES = ("frame10.png", "frame10i11.png", "frame11.png")


class Middlebury(FrameBuilder):
    """`middlebury`."""

    ABOUT = (
        "Frames 10 and 11 of twelve scenes with their true middle frame 10i11, up to 640x480; some rendered."
    )
    HOMEPAGE = "https://vision.middlebury.edu/flow/data/"
    CITATION = """@article{baker2011database,
  title = {A Database and Evaluation Methodology for Optical Flow},
  author = {Baker, Simon and Scharstein, Daniel and Lewis, J. P. and Roth, Stefan and Black, Michael J.
            and Szeliski, Richard},
  journal = {International Journal of Computer Vision},
  volume = {92},
  number = {1},
  pages = {1--31},
  year = {2011}
}"""
    LICENSE = "Not stated."
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Download other-color-twoframes.zip (or other-color-allframes.zip) and other-gt-interp.zip from
        https://vision.middlebury.edu/flow/data/ and extract both into one folder:
        DIR/other-data/Beanbags/frame10.png, frame11.png and DIR/other-gt-interp/Beanbags/frame10i11.png.
        Also understood are folders that hold all three, DIR/Beanbags/frame10.png, frame10i11.png and
        frame11.png, in DIR or DIR/middlebury."""
    PUBLISHED: ClassVar[dict[str, Counts]] = {"test": {"triplets": 12}}

    def find(self, manual: Path) -> dict[str, list[Item]]:
        root = directory(manual, "middlebury")
        inputs, truths = directory(root, "other-data"), directory(root, "other-gt-interp")
        places = (inputs, truths, inputs)
        items = [
            Item(scene, tuple(place / scene / name for place, name in zip(places, FRAMES, strict=True)))
            for scene in SCENES
            if any((place / scene).is_dir() for place in places)
        ]
        if not items:
            raise layout_error(self, manual, f"none of the scenes, such as {SCENES[0]}, is in {inputs}")
        return {"test": items}
