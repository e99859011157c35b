"""Small stand-ins for real data: windows that move over the photographs of scikit-image.

`write_dummy` writes a miniature of what each builder reads, in its real layout.
"""

import functools
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from datasets.builders import middlebury, ucf101_dvf, vid4
from datasets.builders.davis import IMAGES
from datasets.builders.vimeo90k import Vimeo90kSeptuplet, Vimeo90kTriplet
from vfijax.media import Frame, VideoInfo, VideoWriter, write_image

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


@functools.cache
def _photograph(number: int, height: int, width: int) -> np.ndarray:
    """A photograph, enlarged if need be to cover this size."""
    picture = Image.fromarray(getattr(skimage.data, PHOTOGRAPHS[number % len(PHOTOGRAPHS)])())
    scale = max(height / picture.height, width / picture.width, 1)
    return np.asarray(picture.resize((round(picture.width * scale), round(picture.height * scale))))


def moving_frames(count: int, height: int, width: int, scene: int = 0, step: int = 2) -> np.ndarray:
    """Frames [count, height, width, 3], uint8, of a scene that moves `step` pixels to the left a frame."""
    photograph = _photograph(scene, height, width + step * (count - 1))
    return np.stack([photograph[:height, step * t : step * t + width] for t in range(count)])


def write_frames(frames: Iterable[np.ndarray], folder: Path, names: list[str]) -> None:
    """Writes frames as pictures into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, name in zip(frames, names, strict=True):
        write_image(folder / name, frame)


def write_dummy(name: str, manual: Path) -> None:
    """Writes a miniature of the data set of that name into a manual directory."""
    _WRITERS[name](manual)


VIMEO = ("00001/0001", "00001/0002", "00002/0001")  # sequences


def _vimeo90k(
    builder: type[Vimeo90kTriplet] | type[Vimeo90kSeptuplet], lists: dict[str, list[str]], manual: Path
) -> None:
    names = [f"im{i + 1}.png" for i in range(builder.FRAMES)]
    for scene, key in enumerate(VIMEO):
        frames = moving_frames(builder.FRAMES, 256, 448, scene)
        write_frames(frames, manual / builder.FOLDER / "sequences" / key, names)
    for name, keys in lists.items():  # the released lists end with an empty line, too
        (manual / builder.FOLDER / name).write_text("".join(f"{key}\n" for key in keys) + "\n")


def _middlebury(manual: Path) -> None:
    names = middlebury.FRAMES
    for number, scene in enumerate(middlebury.SCENES[:2]):
        first, middle, last = moving_frames(3, 120, 160 + 8 * number, number)
        write_frames([first, last], manual / "other-data" / scene, [names[0], names[2]])
        write_frames([middle], manual / "other-gt-interp" / scene, [names[1]])


def _ucf101_dvf(manual: Path) -> None:
    for scene, folder in enumerate(("1", "11")):
        names = [stem + ucf101_dvf.SUFFIXES[scene] for stem in ucf101_dvf.STEMS]
        write_frames(moving_frames(3, 256, 256, scene), manual / "ucf101_interp_ours" / folder, names)


DAVIS = {"bear": 7, "boat": 6}  # sequences and their frames


def _davis(lists: dict[str, str], manual: Path) -> None:
    root = manual / "DAVIS"
    for scene, (sequence, frames) in enumerate(DAVIS.items()):
        names = [f"{i:05d}.jpg" for i in range(frames)]
        write_frames(moving_frames(frames, 120, 214, scene), root / IMAGES / sequence, names)
    for name, text in lists.items():
        (root / "ImageSets" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / name).write_text(text)


def _davis2016(manual: Path) -> None:
    line = "/JPEGImages/480p/{0}/{1:05d}.jpg /Annotations/480p/{0}/{1:05d}.png\n"
    bear, boat = ("".join(line.format(name, i) for i in range(n)) for name, n in DAVIS.items())
    _davis({"480p/train.txt": bear, "480p/val.txt": boat}, manual)


def _vid4(manual: Path) -> None:
    for scene, name in enumerate(vid4.SEQUENCES):
        names = [f"{i:03d}.png" for i in range(3)]
        write_frames(moving_frames(3, 96, 120 + 8 * scene, scene), manual / "Vid4" / "GT" / name, names)


def _clips(manual: Path) -> None:
    rows = []
    for number in range(4):
        name = f"clip{number}.mp4"
        with VideoWriter(manual / name, VideoInfo(80, 64, Fraction(25), chroma="444")) as video:
            for index, frame in enumerate(moving_frames(5, 64, 80, number // 2)):
                video.write(Frame(frame, Fraction(index, 25)))
        rows.append(f"{name},scene{number // 2}\n")
    (manual / "index.csv").write_text("file,scene\n" + "".join(rows))


_TRIPLETS = {"tri_trainlist.txt": [VIMEO[0], VIMEO[2]], "tri_testlist.txt": [VIMEO[1]]}
_SEPTUPLETS = {
    "sep_trainlist.txt": [VIMEO[0]],
    "sep_testlist.txt": [VIMEO[1], VIMEO[2]],
    "fast_testset.txt": [VIMEO[1]],
    "slow_testset.txt": [VIMEO[2]],
}
_WRITERS: dict[str, Callable[[Path], None]] = {
    "vimeo90k_triplet": partial(_vimeo90k, Vimeo90kTriplet, _TRIPLETS),
    "vimeo90k_septuplet": partial(_vimeo90k, Vimeo90kSeptuplet, _SEPTUPLETS),
    "middlebury": _middlebury,
    "ucf101_dvf": _ucf101_dvf,
    "davis2016": _davis2016,
    "davis2017": partial(_davis, {"2017/train.txt": "bear\n", "2017/val.txt": "boat\n"}),
    "vid4": _vid4,
    "clips": _clips,
}
