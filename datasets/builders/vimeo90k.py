"""Vimeo-90K triplets and septuplets, with the published lists."""

from pathlib import Path
from typing import ClassVar

from datasets.builders.base import Counts, FrameBuilder, Item, directory, layout_error

CITATION = """@article{xue2019video,
  title = {Video Enhancement with Task-Oriented Flow},
  author = {Xue, Tianfan and Chen, Baian and Wu, Jiajun and Wei, Donglai and Freeman, William T.},
  journal = {International Journal of Computer Vision},
  volume = {127},
  number = {8},
  pages = {1106--1125},
  year = {2019}
}"""


class _Vimeo90k(FrameBuilder):
    """What triplets and septuplets have in common.

    Attributes:
      FOLDER: that the archive makes.
      FRAMES: of a sequence, im1.png, im2.png and so on.
      LISTS: the file that lists the sequences of a split.
      OPTIONAL: lists that may be absent.
    """

    HOMEPAGE = "http://toflow.csail.mit.edu/"
    CITATION = CITATION
    LICENSE = "Not stated; the clips are from vimeo.com and belong to their makers."
    SIZE = (256, 448)
    FOLDER: ClassVar[str]
    FRAMES: ClassVar[int]
    LISTS: ClassVar[dict[str, str]]
    OPTIONAL: ClassVar[dict[str, str]] = {}

    def find(self, manual: Path) -> dict[str, list[Item]]:
        root = directory(manual, self.FOLDER)
        lacking = [name for name in ("sequences", *self.LISTS.values()) if not (root / name).exists()]
        if lacking:
            raise layout_error(self, manual, f"{root} has no {', '.join(lacking)}")
        optional = {split: name for split, name in self.OPTIONAL.items() if (root / name).is_file()}
        lists = self.LISTS | optional
        return {split: self._listed(root, name) for split, name in lists.items()}

    def _listed(self, root: Path, name: str) -> list[Item]:
        keys = [line.strip() for line in (root / name).read_text().splitlines()]
        images = [f"im{i + 1}.png" for i in range(self.FRAMES)]
        return [Item(key, tuple(root / "sequences" / key / image for image in images)) for key in keys if key]


class Vimeo90kTriplet(_Vimeo90k):
    """`vimeo90k_triplet`."""

    ABOUT = "73,171 triplets of 448x256 from 15,000 clips of vimeo.com; train and test by the released lists."
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Download the triplet data set (both training and test set, 33 GB) from
        http://toflow.csail.mit.edu/ and extract it: DIR/vimeo_triplet/sequences/00001/0001/im1.png to
        im3.png, DIR/vimeo_triplet/tri_trainlist.txt and tri_testlist.txt. DIR may also be the folder
        vimeo_triplet itself."""
    PUBLISHED: ClassVar[dict[str, Counts]] = {"train": {"triplets": 51_313}, "test": {"triplets": 3_782}}
    FOLDER, FRAMES = "vimeo_triplet", 3
    LISTS: ClassVar[dict[str, str]] = {"train": "tri_trainlist.txt", "test": "tri_testlist.txt"}


class Vimeo90kSeptuplet(_Vimeo90k):
    """`vimeo90k_septuplet`; the lists of fast, medium and slow clips are those of Zooming Slow-Mo."""

    ABOUT = (
        "91,701 sequences of seven frames of 448x256 from 39,000 clips of vimeo.com; train and test by the "
        "released lists, test_fast, test_medium and test_slow by those of Zooming Slow-Mo (CVPR 2020)."
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Download the septuplet data set (the original training and test set, 82 GB) from
        http://toflow.csail.mit.edu/ and extract it: DIR/vimeo_septuplet/sequences/00001/0001/im1.png to
        im7.png, DIR/vimeo_septuplet/sep_trainlist.txt and sep_testlist.txt. For the splits by motion put
        fast_testset.txt, medium_testset.txt and slow_testset.txt beside the lists, from the folder
        codes/datasets/meta_info of https://github.com/Mukosame/Zooming-Slow-Mo-CVPR-2020. DIR may also be
        the folder vimeo_septuplet itself."""
    UNIT = "septuplets"
    PUBLISHED: ClassVar[dict[str, Counts]] = {
        "train": {"septuplets": 64_612},
        "test": {"septuplets": 7_824},
        "test_fast": {"septuplets": 1_225},
        "test_medium": {"septuplets": 4_977},
        "test_slow": {"septuplets": 1_613},
    }
    FOLDER, FRAMES = "vimeo_septuplet", 7
    LISTS: ClassVar[dict[str, str]] = {"train": "sep_trainlist.txt", "test": "sep_testlist.txt"}
    OPTIONAL: ClassVar[dict[str, str]] = {
        f"test_{speed}": f"{speed}_testset.txt" for speed in ("fast", "medium", "slow")
    }
