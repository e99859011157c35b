"""Finding triplets, clips and frames in the folder layouts of the field."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vfijax.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, given_path, natural_key
from vfijax.media.errors import MediaError

TRIPLET_LAYOUTS = (
    "the Vimeo-90K triplet layout (sequences/AAAA/BBBB/im1.png, im2.png, im3.png, with or without "
    "tri_trainlist.txt and tri_testlist.txt), or folders with exactly three images each, such as "
    "frame10.png, frame10i11.png, frame11.png (Middlebury) and frame_00.webp, frame_01_gt.webp, "
    "frame_02.webp (UCF101)"
)


@dataclass(frozen=True)
class Triplet:
    """Three consecutive frames: `middle` is what is to be found from `first` and `last`."""

    name: str  # the folder below the root
    first: Path
    middle: Path
    last: Path


class NoTriplets(MediaError):
    """A folder in which no triplet was found."""


def find_triplets(
    root: str | os.PathLike[str],
    *,
    split: str | None = None,
    on_bad: Callable[[str], None] | None = None,
) -> list[Triplet]:
    """All triplets below a folder, in natural order.

    Understood are the Vimeo-90K triplet layout, and folders, at any depth, that hold exactly three
    images, whose natural order is their order in time.

    Args:
      root: the folder.
      split: "train" or "test" keeps the sequences of Vimeo-90K's list of that name; data that comes
        without lists is returned whole.
      on_bad: called with a message for every triplet with a missing frame, which is then left out.
        Without it the first one is an error.

    Raises:
      MediaError: no such folder, no triplet in it (`NoTriplets`), or a missing frame.
    """
    root = _folder(root)
    if split not in (None, "train", "test"):
        raise MediaError(f'split is {split!r}; give "train", "test" or None')
    names = root / f"tri_{split}list.txt"
    if split and names.is_file():
        listed = [line.strip() for line in names.read_text().splitlines() if line.strip()]
        folders = [(root / "sequences" / name, f"{names} lists {name}, but ") for name in listed]
        found = [(folder, _images(folder), why) for folder, why in folders]
        start = root / "sequences"
    else:
        start = root / "sequences" if (root / "sequences").is_dir() else root
        tree = list(_image_folders(start))
        usual = {tuple(image.name for image in images) for _, images in tree if len(images) == 3}
        # Three images make a triplet; less of the same names make a triplet with a frame missing.
        found = [
            (folder, images, "")
            for folder, images in tree
            if len(images) == 3 or (images and _lacks_some_of(images, usual))
        ]
    triplets = []
    for folder, images, why in found:
        if len(images) == 3:
            triplets.append(Triplet(folder.relative_to(start).as_posix(), *images))
        else:
            _bad(f"{why}{folder} does not hold three images, only {_names(images)}", on_bad)
    if not triplets:
        raise NoTriplets(f"{root}: no triplets found. Understood are {TRIPLET_LAYOUTS}.")
    return sorted(triplets, key=lambda t: natural_key(t.first))


def _bad(message: str, on_bad: Callable[[str], None] | None) -> None:
    if on_bad is None:
        raise MediaError(message)
    on_bad(message)


def _lacks_some_of(images: list[Path], usual: set[tuple[str, ...]]) -> bool:
    names = {image.name for image in images}
    return any(names < set(triplet) for triplet in usual)


def _names(images: list[Path]) -> str:
    return ", ".join(image.name for image in images[:3]) or "none"


def _images(folder: Path) -> list[Path]:
    return _with_suffix(folder.iterdir(), IMAGE_SUFFIXES) if folder.is_dir() else []


def _image_folders(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    for folder, _, names in os.walk(root):
        yield Path(folder), _with_suffix((Path(folder, name) for name in names), IMAGE_SUFFIXES)


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The images directly in a folder, in natural order. Raises MediaError when there are none."""
    folder = _folder(folder)
    images = _with_suffix(folder.iterdir(), IMAGE_SUFFIXES)
    if not images:
        raise MediaError(f"{folder}: no images found (looked for {', '.join(IMAGE_SUFFIXES)})")
    return images


def find_clips(root: str | os.PathLike[str]) -> list[Path]:
    """The video files below a folder, in natural order. Raises MediaError when there are none."""
    root = _folder(root)
    clips = _with_suffix(root.rglob("*"), VIDEO_SUFFIXES)
    if not clips:
        raise MediaError(f"{root}: no video clips found (looked for {', '.join(VIDEO_SUFFIXES)})")
    return clips


def find_sequences(
    root: str | os.PathLike[str], *, least: int, listed: str | None = None
) -> dict[str, list[Path]]:
    """The images of every folder, at any depth, that holds at least `least` of them; all in natural order.

    Args:
      root: the folder; where it has a folder `sequences`, as Vimeo-90K has, what is below that counts.
      least: images that make a sequence.
      listed: name of a file in the folder that says which sequences to take, one a line, such as
        `sep_testlist.txt`.

    Returns:
      Name of the sequence, which is its folder below the root, to its images.

    Raises:
      MediaError: no such folder or list, a listed sequence that is too short, or nothing found.
    """
    root = _folder(root)
    start = root / "sequences" if (root / "sequences").is_dir() else root
    if listed is None:
        found = {folder: images for folder, images in _image_folders(start) if len(images) >= least}
    else:
        if not (root / listed).is_file():
            raise MediaError(f"{root}: has no {listed}")
        names = [line.strip() for line in (root / listed).read_text().splitlines() if line.strip()]
        found = {start / name: _images(start / name) for name in names}
        for folder, images in found.items():
            if len(images) < least:
                raise MediaError(f"{listed} lists {folder}, which holds {len(images)} of {least} images")
    if not found:
        raise MediaError(f"{root}: no folder with {least} images or more")
    order = sorted(found, key=natural_key)
    return {
        folder.relative_to(start).as_posix() if folder != start else root.name: found[folder]
        for folder in order
    }


def _with_suffix(paths: Iterator[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Visible files only: systems leave hidden companions such as ._im1.png beside the real ones."""
    chosen = (p for p in paths if p.suffix.lower() in suffixes and not p.name.startswith("."))
    return sorted(chosen, key=natural_key)


def _folder(path: str | os.PathLike[str]) -> Path:
    path = given_path(path, "the folder", MediaError)
    if not path.is_dir():
        raise MediaError(f"{path}: {'is no folder' if path.exists() else 'no such folder'}")
    return path
