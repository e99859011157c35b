"""Where training and evaluation frames come from.

A source is a sequence whose items are short runs of consecutive frames, uint8 [N, H, W, 3], N at
least 3: a triplet, a longer run of pictures, or a whole clip.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vfijax.files import given_path
from vfijax.media import (
    MediaError,
    NoTriplets,
    Triplet,
    VideoReader,
    find_clips,
    find_sequences,
    find_triplets,
    read_image,
)
from vfijax.media.video import open_input

SYNTHETIC = "synthetic"

TRIPLET = 3  # frames

Pictures = tuple[Path, ...]  # consecutive frames
Items = Sequence[Triplet] | Sequence[Pictures] | Sequence[Path]


class BadItem(MediaError):
    """An item that cannot be used; `skip_bad` leaves such items out."""


@contextmanager
def bad_item() -> Iterator[None]:
    """Whatever is wrong with the files of one item is raised as BadItem."""
    try:
        yield
    except MediaError as error:
        raise BadItem(str(error)) from error


class Source(Protocol):
    """Runs of frames by their number, uint8 [N, H, W, 3]; N may differ between items."""

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
        return read_pictures(files_of(self.triplets[index]), self.least)


@dataclass(frozen=True)
class PictureSource:
    """Runs of pictures, read when asked for.

    Attributes:
      runs: their files, in the order of time.
      least: pixels that each side must have.
    """

    runs: Sequence[Pictures]
    least: int

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_pictures(self.runs[index], self.least)


def read_pictures(files: Pictures, least: int) -> np.ndarray:
    """Pictures of one size as frames, uint8 [N, H, W, 3].

    Raises:
      BadItem: one cannot be read, is of another size, or has a side of less than `least` pixels.
    """
    with bad_item():
        frames = [read_image(file) for file in files]
        for file, frame in zip(files, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise MediaError(
                    f"{file}: is {_size(frame)} but {files[0].name} beside it is {_size(frames[0])}"
                )
        _check_size(files[0], frames[0].shape[0], frames[0].shape[1], least)
        return np.stack(frames)


class Recent:
    """Decoded clips, kept while there is room; those used longest ago go first. For many threads."""

    def __init__(self, most_bytes: int):
        self.most_bytes = most_bytes
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, index: int, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The frames of a clip, decoded only if they are not kept."""
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        frames = decode()
        with self._lock:
            self._kept[index] = frames
            while sum(kept.nbytes for kept in self._kept.values()) > self.most_bytes:
                self._kept.popitem(last=False)
        return frames


class ClipSource:
    """Video clips, decoded when first asked for and kept while there is room.

    Args:
      clips: video files.
      least: pixels that each side must have.
      cache_bytes: of decoded frames.
      frames: that a clip must have.
    """

    def __init__(self, clips: Sequence[Path], least: int, cache_bytes: int, frames: int = TRIPLET):
        self.clips, self.least, self.cache_bytes, self.frames = clips, least, cache_bytes, frames
        self._recent = Recent(cache_bytes)

    def __reduce__(self) -> tuple[Any, ...]:  # for worker processes; each begins with an empty cache
        return ClipSource, (self.clips, self.least, self.cache_bytes, self.frames)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> np.ndarray:
        with bad_item():
            return self._recent.get(index, lambda: self._read(self.clips[index]))

    def _read(self, clip: Path) -> np.ndarray:
        frames = read_clip(clip, self.cache_bytes, least=self.frames)
        _check_size(clip, frames.shape[1], frames.shape[2], self.least)
        return frames


def read_clip(
    path: str | Path, most_bytes: int, data: bytes | None = None, least: int = TRIPLET
) -> np.ndarray:
    """All frames of a video, uint8 [N, H, W, 3]; of `data` where it is given, `path` is then its name.

    Raises:
      MediaError: it cannot be decoded, has less than `least` frames, or does not fit into `most_bytes`.
    """
    frames: list[np.ndarray] = []
    with VideoReader(path, data) as video:
        for frame in video:
            frames.append(frame.image)
            if len(frames) * frames[0].nbytes > most_bytes:
                raise MediaError(
                    f"{path}: does not fit into {most_bytes / 2**30:.2g} GB of memory when decoded; "
                    "cut it into shorter clips, or raise --data.cache_gb"
                )
    if len(frames) < least:
        raise MediaError(f"{path}: has {len(frames)} frames, {needed(least)}; remove the clip")
    return np.stack(frames)


def needed(frames: int) -> str:
    """How many frames an item must have, in words."""
    return "a triplet needs 3" if frames == TRIPLET else f"{frames} in a row are needed"


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


def _check_size(file: Path, height: int, width: int, least: int) -> None:
    if min(height, width) < least:
        raise MediaError(
            f"{file}: is {width}x{height}, smaller than the crop of {least}x{least}; give --data.crop "
            f"{min(height, width)} or less, or remove it"
        )


class Tolerant:
    """A source whose unreadable items are replaced by the next readable one; says so on stderr.

    Which items are replaced depends on the files alone, so that batches stay reproducible.
    """

    def __init__(self, source: Source):
        self.source = source
        self.bad: set[int] = set()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> np.ndarray:
        for step in range(len(self.source)):
            place = (index + step) % len(self.source)
            try:
                return self.source[place]
            except MediaError as error:
                if place not in self.bad:
                    self.bad.add(place)
                    note_skipped(f"{error} ({len(self.bad)} of {len(self.source)} items so far)")
        raise MediaError(f"none of {len(self.source)} items can be read")


def note_skipped(message: str) -> None:
    """Says on stderr that an item was left out, at once, whoever reads stdout."""
    print(f"data: skipped: {message}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Part:
    """Some items of a source, whatever they are."""

    source: Any
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        return self.source[self.places[index]]


def find_items(root: str | Path, split: str, skip_bad: bool = False, frames: int = TRIPLET) -> Items:
    """The triplets below a directory (see `vfijax.media.find_triplets`) or else its video clips.

    Where more frames than three are wanted, it is runs of pictures that do not overlap, instead of triplets.

    Args:
      root: the directory.
      split: "train" or "test", which of Vimeo-90K's lists to follow where there are such lists.
      skip_bad: leave out triplets with a missing frame, instead of stopping there.
      frames: in a row that are wanted.

    Raises:
      MediaError: no such directory, or neither triplets nor clips in it.
      BadItem: a triplet with a missing frame.
    """
    if not given_path(root, "data", MediaError).is_dir():
        raise MediaError(
            f"{root}: no such directory; give one with triplets or video clips, `{SYNTHETIC}`, or a set "
            "built by python -m datasets.build"
        )
    if frames > TRIPLET:
        return _pictures_or_clips(Path(root), split, frames)
    on_bad = note_skipped if skip_bad else _refuse
    try:
        return find_triplets(root, split=split, on_bad=on_bad)
    except NoTriplets as no_triplets:
        try:
            return find_clips(root)
        except MediaError:
            raise MediaError(f"{no_triplets} There are no video clips either.") from None


def _pictures_or_clips(root: Path, split: str, frames: int) -> Items:
    listed = f"sep_{split}list.txt"
    try:
        found = find_sequences(root, least=frames, listed=listed if (root / listed).is_file() else None)
    except MediaError as no_pictures:
        try:
            return find_clips(root)
        except MediaError:
            raise MediaError(f"{no_pictures}, and no video clips either") from None
    starts = [(images, start) for images in found.values() for start in range(0, len(images), frames)]
    return [tuple(images[i : i + frames]) for images, i in starts if i + frames <= len(images)]


def _refuse(message: str) -> None:
    raise BadItem(message)


def files_of(item: Triplet | Pictures | Path) -> Pictures:
    """The files that an item is read from."""
    if isinstance(item, Triplet):
        return item.first, item.middle, item.last
    return item if isinstance(item, tuple) else (item,)


def open_items(
    items: Items, least: int, cache_bytes: int, skip_bad: bool = False, frames: int = TRIPLET
) -> tuple[Source, str]:
    """The source of some files, and its size in words.

    Args:
      items: of `find_items`.
      least: pixels that each side must have; smaller clips are left out.
      cache_bytes: of decoded clips.
      skip_bad: see `Tolerant`.
      frames: in a row that are wanted.

    Raises:
      MediaError: no clip is large enough.
      BadItem: a clip that cannot be read.
    """
    left_out = ""
    clips = [item for item in items if isinstance(item, Path)]
    if clips:
        items = _large_enough(clips, least, skip_bad)
        small = len(clips) - len(items)
        left_out = f" ({small} smaller than {least}x{least} left out)" if small else ""
    source, note = source_of(items, least, cache_bytes, frames)
    return (Tolerant(source) if skip_bad else source), note + left_out


def source_of(items: Items, least: int, cache_bytes: int, frames: int = TRIPLET) -> tuple[Source, str]:
    """The same of files that are taken as they are, without opening one."""
    triplets = [item for item in items if isinstance(item, Triplet)]
    if triplets:
        return TripletSource(triplets, least), f"{len(triplets)} triplets"
    runs = [item for item in items if isinstance(item, tuple)]
    if runs:
        return PictureSource(runs, least), f"{len(runs)} sequences of {frames} pictures"
    clips = [item for item in items if isinstance(item, Path)]
    return ClipSource(clips, least, cache_bytes, frames), f"{len(clips)} clips"


def _large_enough(clips: Sequence[Path], least: int, skip_bad: bool) -> list[Path]:
    sides = {clip: side for clip in clips if (side := _side_if_readable(clip, skip_bad)) is not None}
    kept = [clip for clip, side in sides.items() if side >= least]
    if not kept:
        raise MediaError(
            f"all {len(clips)} clips, such as {clips[0]}, are smaller than the crop of {least}x{least}"
            + (f"; give --data.crop {max(sides.values())} or less" if sides else " or unreadable")
        )
    return kept


def _side_if_readable(clip: Path, skip_bad: bool) -> int | None:
    try:
        with bad_item():
            return _short_side(clip)
    except BadItem as error:
        if not skip_bad:
            raise
        note_skipped(str(error))
        return None


def _short_side(clip: Path) -> int:
    """By the header of the file, which is much quicker to read than a frame."""
    with open_input(clip) as container:
        if not container.streams.video:
            raise MediaError(f"{clip}: has no video stream")
        stream = container.streams.video[0]
        return min(stream.height, stream.width)
