"""Where training and evaluation frames come from.

A source is a sequence whose items are short runs of consecutive frames, uint8 [N, H, W, 3], N at
least 3: a triplet, or a whole clip.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets.synthetic import SyntheticSource
from vfijax.media import MediaError, Triplet, VideoReader, find_clips, find_triplets, read_image
from vfijax.media.video import open_input

SYNTHETIC = "synthetic"
VIMEO_TEST_LIST = "tri_testlist.txt"
HELD_OUT = 0.05  # of the items of a directory, when no validation data is named
LEAST_SIDE = 16  # pixels of validation frames

Items = Sequence[Triplet] | Sequence[Path]


class Source(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


@dataclass(frozen=True)
class TripletSource:
    """Triplets of pictures, read when asked for.

    Attributes:
      triplets: their files.
      least: pixels that each side must have.
    """

    triplets: Sequence[Triplet]
    least: int

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> np.ndarray:
        triplet = self.triplets[index]
        files = (triplet.first, triplet.middle, triplet.last)
        frames = [read_image(file) for file in files]
        for file, frame in zip(files, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise MediaError(
                    f"{file}: is {_size(frame)} but {files[0].name} beside it is {_size(frames[0])}"
                )
        _check_size(triplet.first, frames[0].shape[0], frames[0].shape[1], self.least)
        return np.stack(frames)


class ClipSource:
    """Video clips, decoded when first asked for and kept while there is room.

    Args:
      clips: video files.
      least: pixels that each side must have.
      cache_bytes: of decoded frames; those used longest ago go first.
    """

    def __init__(self, clips: Sequence[Path], least: int, cache_bytes: int):
        self.clips, self.least, self.cache_bytes = clips, least, cache_bytes
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> np.ndarray:
        with self._lock:
            if index in self._decoded:
                self._decoded.move_to_end(index)
                return self._decoded[index]
        frames = read_clip(self.clips[index], self.cache_bytes)
        _check_size(self.clips[index], frames.shape[1], frames.shape[2], self.least)
        with self._lock:
            self._decoded[index] = frames
            while sum(kept.nbytes for kept in self._decoded.values()) > self.cache_bytes:
                self._decoded.popitem(last=False)
        return frames


def read_clip(path: Path, most_bytes: int) -> np.ndarray:
    """All frames of a video, uint8 [N, H, W, 3].

    Raises:
      MediaError: it cannot be decoded, has less than three frames, or does not fit into `most_bytes`.
    """
    frames: list[np.ndarray] = []
    with VideoReader(path) as video:
        for frame in video:
            frames.append(frame.image)
            if len(frames) * frames[0].nbytes > most_bytes:
                raise MediaError(
                    f"{path}: does not fit into {most_bytes / 2**30:.2g} GB of memory when decoded; "
                    "cut it into shorter clips, or raise --data.cache_gb"
                )
    if len(frames) < 3:
        raise MediaError(f"{path}: has {len(frames)} frames, a triplet needs 3; remove the clip")
    return np.stack(frames)


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


def _check_size(file: Path, height: int, width: int, least: int) -> None:
    if min(height, width) < least:
        raise MediaError(
            f"{file}: is {width}x{height}, smaller than the crop of {least}x{least}; give --data.crop "
            f"{min(height, width)} or less, or remove it"
        )


@dataclass(frozen=True)
class Sources:
    """Data of a run.

    Attributes:
      train, val: they share no triplet.
      note: what they are, in words.
    """

    train: Source
    val: Source
    note: str


def open_sources(
    source: str,
    val: str = "",
    *,
    crop: int,
    eval_crop: int,
    seed: int = 0,
    motion: float = 8.0,
    cache_bytes: int = 2**31,
) -> Sources:
    """The training and the validation data of a run.

    Args:
      source: `synthetic` or a directory, see `find_items`.
      val: the same, for validation. Empty: photographs that are not trained on for `synthetic`, the
        test list of Vimeo-90K, and else the last 5 % of the directory, which are then not trained on.
      crop: side of the squares to train on, pixels.
      eval_crop: side of synthetic validation frames, pixels.
      seed, motion: of synthetic triplets, see `SyntheticSource`.
      cache_bytes: of decoded clips.

    Raises:
      MediaError: a directory without triplets or clips, or with too few or too small ones.
    """
    if source == SYNTHETIC:
        train: Source = SyntheticSource(crop, seed, motion)
        train_note, val = "synthetic triplets", val or SYNTHETIC
    else:
        items = find_items(source, "train")
        if not val and (Path(source) / VIMEO_TEST_LIST).is_file():
            val = source
        if not val:
            items, held_out = hold_out(items, source)
        train, train_note = _open(items, crop, cache_bytes)
        train_note += f" of {source}"
    if val == SYNTHETIC:
        return Sources(
            train, SyntheticSource(eval_crop, 0, motion, "val"), f"{train_note}; scored on synthetic ones"
        )
    tested, val_note = _open(find_items(val, "test") if val else held_out, LEAST_SIDE, cache_bytes)
    return Sources(train, tested, f"{train_note}; scored on {val_note} of {val or 'the same, held out'}")


def find_items(root: str | Path, split: str) -> Items:
    """The triplets below a directory (see `vfijax.media.find_triplets`) or else its video clips.

    Args:
      root: the directory.
      split: "train" or "test", which of Vimeo-90K's lists to follow where there are such lists.

    Raises:
      MediaError: no such directory, or neither triplets nor clips in it.
    """
    if not Path(root).is_dir():
        raise MediaError(
            f"{root}: no such directory; give one with triplets or video clips, or `{SYNTHETIC}`"
        )
    try:
        return find_triplets(root, split=split)
    except MediaError as no_triplets:
        try:
            return find_clips(root)
        except MediaError:
            raise MediaError(f"{no_triplets} There are no video clips either.") from None


def hold_out(items: Items, root: str) -> tuple[Items, Items]:
    """All but the last 5 %, and these (at least one item each)."""
    if len(items) < 2:
        raise MediaError(f"{root}: has one item only; name validation data with --data.val")
    count = math.ceil(HELD_OUT * len(items))
    return items[:-count], items[-count:]


def _open(items: Items, least: int, cache_bytes: int) -> tuple[Source, str]:
    """The source of some items, and its size in words."""
    triplets = [item for item in items if isinstance(item, Triplet)]
    if triplets:
        return TripletSource(triplets, least), f"{len(triplets)} triplets"
    clips = [item for item in items if isinstance(item, Path)]
    sides = {clip: _short_side(clip) for clip in clips}
    kept = [clip for clip in clips if sides[clip] >= least]
    if not kept:
        raise MediaError(
            f"all {len(clips)} clips, such as {clips[0]}, are smaller than the crop of {least}x{least}; give "
            f"--data.crop {max(sides.values())} or less"
        )
    small = len(clips) - len(kept)
    left_out = f" ({small} smaller than {least}x{least} left out)" if small else ""
    return ClipSource(kept, least, cache_bytes), f"{len(kept)} clips{left_out}"


def _short_side(clip: Path) -> int:
    """By the header of the file, which is much quicker to read than a frame."""
    with open_input(clip) as container:
        if not container.streams.video:
            raise MediaError(f"{clip}: has no video stream")
        stream = container.streams.video[0]
        return min(stream.height, stream.width)
