"""The data sets that can be built, and their frames once they are."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError

from datasets.builders.base import FrameBuilder, SkipDecoding
from datasets.builders.clips import Clips
from datasets.builders.davis import Davis2016, Davis2017
from datasets.builders.middlebury import Middlebury
from datasets.builders.ucf101_dvf import Ucf101Dvf
from datasets.builders.vid4 import Vid4
from datasets.builders.vimeo90k import Vimeo90kSeptuplet, Vimeo90kTriplet
from datasets.records import Records
from datasets.sources import Recent, bad_item, read_clip
from vfijax.command import nearest
from vfijax.media import MediaError, decode_image

BUILDERS: dict[str, type[FrameBuilder]] = {
    "vimeo90k_triplet": Vimeo90kTriplet,
    "vimeo90k_septuplet": Vimeo90kSeptuplet,
    "middlebury": Middlebury,
    "ucf101_dvf": Ucf101Dvf,
    "davis2016": Davis2016,
    "davis2017": Davis2017,
    "vid4": Vid4,
    "clips": Clips,
}

DataDir = str | os.PathLike[str] | None


class BuiltSource:
    """Runs of consecutive frames of a built data set, uint8 [N, H, W, 3]; may be read from many threads.

    Pictures are decoded whenever they are asked for. Video clips are decoded once and kept while there
    is room.

    Args:
      builder: of a data set that has been built.
      split: name of one of its splits.
      cache_bytes: of decoded video clips; those used longest ago go first.

    Raises:
      MediaError: a file of the data set is missing, truncated or corrupt; it is named.
      BadItem: a record is.
    """

    def __init__(self, builder: FrameBuilder, split: str, cache_bytes: int) -> None:
        info = builder.info.splits[split]
        advice = f"build it again with python -m datasets.build {builder.name} --overwrite"
        self._records = Records([Path(file) for file in info.filepaths], info.shard_lengths, advice)
        self._features = builder.info.features
        self._recent = Recent(cache_bytes)
        self._origin = (builder.name, builder.data_dir_root, split, cache_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_built, self._origin  # worker processes open the files themselves

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> np.ndarray:
        with bad_item():
            if "frames" in self._features:
                record, place = self._record(index)
                return np.stack([decode_image(data, place) for data in record["frames"]])
            return self._recent.get(index, lambda: self._clip(index))

    def _clip(self, index: int) -> np.ndarray:
        record, place = self._record(index)
        return read_clip(place, self._recent.most_bytes, record["video"])

    def name(self, index: int) -> str:
        """What the record is called in the data set, such as 00001/0625."""
        return self._record(index)[0]["name"].decode()

    def _record(self, index: int) -> tuple[Mapping[str, Any], str]:
        """A record, and where it lies, for error messages."""
        decoders = {"frames": SkipDecoding()} if "frames" in self._features else None
        record = self._features.deserialize_example_np(self._records[index], decoders=decoders)
        return record, f"{self._records.place(index)} ({record['name'].decode()})"


def open_built(name: str, data_dir: DataDir, split: str, cache_bytes: int = 2**31) -> BuiltSource:
    """The frames of a data set that `python -m datasets.build` has built.

    Args:
      name: one of `BUILDERS`.
      data_dir: where it was built; None for TFDS's own place, ~/tensorflow_datasets.
      split: such as "train" or "test".
      cache_bytes: of decoded video clips, see `BuiltSource`.

    Raises:
      MediaError: no such data set or split, it has not been built, or its files are damaged.
    """
    builder = open_builder(name, data_dir)
    if not builder.is_prepared():
        where = "" if data_dir is None else f" --data-dir {data_dir}"
        raise MediaError(
            f"{name} is not built in {builder.data_dir_root}; "
            f"run python -m datasets.build {name} --manual-dir DIR{where}"
        )
    if split not in builder.info.splits:
        raise MediaError(f"{name} has no split {split!r}; it has {', '.join(builder.info.splits)}")
    return BuiltSource(builder, split, cache_bytes)


def open_builder(name: str, data_dir: DataDir) -> FrameBuilder:
    """The builder of that name; raises MediaError with the nearest name if there is none."""
    if name not in BUILDERS:
        raise MediaError(
            f"unknown data set {name!r}{nearest(name, BUILDERS)} (data sets: {', '.join(BUILDERS)})"
        )
    root = None if data_dir is None else os.path.expanduser(os.fspath(data_dir))
    try:
        return BUILDERS[name](data_dir=root, file_format=tfds.core.FileFormat.ARRAY_RECORD)
    except (ValueError, ParseError) as error:  # its JSON files
        raise MediaError(
            f"{root or tfds.core.constants.DATA_DIR}/{name}: cannot be opened ({error}); build it again "
            f"with python -m datasets.build {name} --overwrite"
        ) from error
