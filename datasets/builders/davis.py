"""DAVIS at 480p as triplets: consecutive groups of three frames that do not overlap."""

from pathlib import Path
from typing import ClassVar

from datasets.builders.base import Counts, FrameBuilder, Item, directory, layout_error, numbered
from vfijax.media.layouts import find_images

IMAGES = Path("JPEGImages", "480p")


class _Davis(FrameBuilder):
    """What both years have in common.

    Attributes:
      LISTS: folders below ImageSets that may hold the lists, the first found is taken.
      SPLITS: name of the split and of its list.
    """

    HOMEPAGE = "https://davischallenge.org/"
    LICENSE = "BSD, by the repositories of the benchmark (davisvideochallenge/davis and davis-2017)."
    LISTS: ClassVar[tuple[str, ...]]
    SPLITS: ClassVar[dict[str, str]]

    def find(self, manual: Path) -> dict[str, list[Item]]:
        root = directory(manual, "DAVIS")
        if not (root / IMAGES).is_dir():
            raise layout_error(self, manual, f"{root} has no folder {IMAGES}")
        lists = directory(root / "ImageSets", *self.LISTS)
        splits = {s: lists / f"{n}.txt" for s, n in self.SPLITS.items() if (lists / f"{n}.txt").is_file()}
        if not splits:
            places = " or ".join(f"ImageSets/{name}" for name in self.LISTS)
            raise layout_error(self, manual, f"{root} has no lists in {places}")
        return {
            split: [item for sequence in _sequences(names) for item in _triplets(root / IMAGES / sequence)]
            for split, names in splits.items()
        }


class Davis2016(_Davis):
    """`davis2016`."""

    ABOUT = "50 sequences at 480p, 30 for training, as triplets of consecutive frames that do not overlap."
    CITATION = """@inproceedings{perazzi2016benchmark,
  title = {A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation},
  author = {Perazzi, Federico and Pont-Tuset, Jordi and McWilliams, Brian and Van Gool, Luc and Gross, Markus
            and Sorkine-Hornung, Alexander},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {724--732},
  year = {2016}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Download DAVIS 2016 from https://davischallenge.org/davis2016/code.html and extract it:
        DIR/DAVIS/JPEGImages/480p/bear/00000.jpg and DIR/DAVIS/ImageSets/480p/train.txt and val.txt. The
        480p archive of DAVIS 2017 holds the same sequences and the lists in ImageSets/2016. DIR may also
        be the folder DAVIS itself."""
    PUBLISHED: ClassVar[dict[str, Counts]] = {"train": {"sequences": 30}, "val": {"sequences": 20}}
    LISTS = ("2016", "480p")
    SPLITS: ClassVar[dict[str, str]] = {"train": "train", "val": "val"}


class Davis2017(_Davis):
    """`davis2017`."""

    ABOUT = (
        "90 sequences at 480p, 60 for training, as triplets of consecutive frames that do not overlap; "
        "30 more for test-dev."
    )
    CITATION = """@article{ponttuset2017davis,
  title = {The 2017 {DAVIS} Challenge on Video Object Segmentation},
  author = {Pont-Tuset, Jordi and Perazzi, Federico and Caelles, Sergi and Arbel{\\'a}ez, Pablo and
            Sorkine-Hornung, Alexander and Van Gool, Luc},
  journal = {arXiv:1704.00675},
  year = {2017}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Download the archives "TrainVal - Images and Annotations (480p)" and, if wanted, "Test-Dev - Images
        (480p)" from https://davischallenge.org/davis2017/code.html and extract them into one folder:
        DIR/DAVIS/JPEGImages/480p/bear/00000.jpg, DIR/DAVIS/ImageSets/2017/train.txt, val.txt and
        test-dev.txt. A list that is absent leaves its split out. DIR may also be the folder DAVIS itself."""
    PUBLISHED: ClassVar[dict[str, Counts]] = {
        "train": {"sequences": 60},
        "val": {"sequences": 30},
        "test_dev": {"sequences": 30},
    }
    LISTS = ("2017",)
    SPLITS: ClassVar[dict[str, str]] = {"train": "train", "val": "val", "test_dev": "test-dev"}


def _sequences(names: Path) -> list[str]:
    """Sequences of a list: their names (2017), or paths of all their frames (2016)."""
    entries = [line.split()[0] for line in names.read_text().splitlines() if line.strip()]
    return list(dict.fromkeys(Path(e).parent.name if e.endswith(".jpg") else e for e in entries))


def _triplets(folder: Path) -> list[Item]:
    """The groups of three of a sequence; one or two frames at its end are left over."""
    if not folder.is_dir():
        return [Item(folder.name, (folder / "00000.jpg",), folder.name)]  # reported as missing
    frames = numbered(find_images(folder))
    groups = [tuple(frames[i : i + 3]) for i in range(0, len(frames) - 2, 3)]
    return [Item(f"{folder.name}/{group[0].stem}", group, folder.name) for group in groups]
