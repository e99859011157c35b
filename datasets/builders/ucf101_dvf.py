"""The 379 triplets of UCF101 that Deep Voxel Flow chose, and that interpolation papers report."""

from pathlib import Path
from typing import ClassVar

from datasets.builders.base import Counts, FrameBuilder, Item, directory, layout_error

STEMS = ("frame_00", "frame_01_gt", "frame_02")
SUFFIXES = (".png", ".webp")


class Ucf101Dvf(FrameBuilder):
    """`ucf101_dvf`."""

    ABOUT = "379 triplets of 256x256 from the test videos of UCF101, in folders 1, 11, 21 to 3781."
    HOMEPAGE = "https://github.com/liuziwei7/voxel-flow"
    CITATION = """@inproceedings{liu2017video,
  title = {Video Frame Synthesis Using Deep Voxel Flow},
  author = {Liu, Ziwei and Yeh, Raymond A. and Tang, Xiaoou and Liu, Yiming and Agarwala, Aseem},
  booktitle = {IEEE International Conference on Computer Vision (ICCV)},
  pages = {4463--4471},
  year = {2017}
}
@techreport{soomro2012ucf101,
  title = {{UCF101}: A Dataset of 101 Human Actions Classes From Videos in The Wild},
  author = {Soomro, Khurram and Zamir, Amir Roshan and Shah, Mubarak},
  number = {CRCV-TR-12-01},
  institution = {University of Central Florida},
  year = {2012}
}"""
    LICENSE = "Not stated; the clips are from youtube.com and belong to their makers."
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Download the UCF101 results of Deep Voxel Flow (https://github.com/liuziwei7/voxel-flow), extract
        them: DIR/ucf101_interp_ours/1/frame_00.png, frame_01_gt.png, frame_02.png, and so on to folder
        3781. The copy in the repository of CDFI is the same. DIR may also be the folder of the numbers
        itself, or hold it as ucf101_dvf; .webp is read as well."""
    PUBLISHED: ClassVar[dict[str, Counts]] = {"test": {"triplets": 379}}
    SIZE = (256, 256)

    def find(self, manual: Path) -> dict[str, list[Item]]:
        root = directory(manual, "ucf101_interp_ours", "ucf101_dvf")
        folders = [folder for folder in root.iterdir() if folder.is_dir() and folder.name.isdecimal()]
        if not folders:
            raise layout_error(self, manual, f"there are no numbered folders in {root}")
        folders.sort(key=lambda folder: int(folder.name))
        return {"test": [Item(f.name, tuple(_picture(f / stem) for stem in STEMS)) for f in folders]}


def _picture(stem: Path) -> Path:
    """The picture of this name in whichever format is there; .png if neither is."""
    names = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    return next((name for name in names if name.is_file()), names[0])
