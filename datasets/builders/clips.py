"""Any folder of short video clips.

A record holds the bytes of a video file as it is. Frames stored one by one would take some 14 times
the space as PNG, or be encoded twice with loss, and training reads a clip as a whole:
it is decoded once and kept (`datasets.builders.built`), so that nothing is gained by reaching single frames.
For the same reason clips must be short.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from datasets.builders.base import Counts, FrameBuilder, Item, directory, layout_error
from datasets.index import INDEX, read_index
from vfijax.media import MediaError, VideoReader, find_clips

MOST_BYTES = 2**28  # of a file
HELD_OUT = 0.05  # of the scenes, for validation


class Clips(FrameBuilder):
    """`clips`."""

    ABOUT = "Short video clips from a folder; whole scenes, 5 % of them, are held out as val."
    HOMEPAGE = ""
    CITATION = ""
    LICENSE = "That of the clips."
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Put video clips of at least three frames into DIR, at any depth. If there is a DIR/index.csv with
        the columns file and scene, clips of one scene go to the same split; else every clip is a scene of
        its own. Cut long videos into pieces of some seconds first, for example with
        `ffmpeg -i long.mp4 -c copy -f segment -segment_time 5 pieces/%04d.mp4`."""
    UNIT = "clips"

    def find(self, manual: Path) -> dict[str, list[Item]]:
        root = directory(manual, "clips")
        try:
            clips = find_clips(root)
        except MediaError as error:
            raise layout_error(self, manual, str(error).removeprefix(f"{root}: ")) from None
        names = {clip.relative_to(root).as_posix(): clip for clip in clips}
        index = root / INDEX
        listed = read_index(index, "scene") if index.is_file() else {}
        absent = [name for name in listed if name not in names]
        names |= {name: root / name for name in absent}  # reported as missing
        items = [Item(name, (clip,), listed.get(name, name)) for name, clip in names.items()]
        held_out = _held_out({item.group for item in items})
        splits = {
            "train": [item for item in items if item.group not in held_out],
            "val": [item for item in items if item.group in held_out],
        }
        return {split: found for split, found in splits.items() if found}

    def features(self) -> dict[str, Any]:
        text = tfds.features.Text
        video = tfds.features.Tensor(shape=(), dtype=np.object_)
        return {
            "name": text(),
            "scene": text(),
            "frame_count": tfds.features.Scalar(np.int32),
            "video": video,
        }

    def encode(self, item: Item) -> dict[str, Any]:
        (file,) = item.files
        if file.stat().st_size > MOST_BYTES:
            raise MediaError(
                f"{file}: is larger than {MOST_BYTES >> 20} MB; cut it into pieces of some seconds first"
            )
        data = file.read_bytes()
        with VideoReader(file, data) as video:
            frames = sum(1 for _ in video)
        if frames < 3:
            raise MediaError(f"{file}: has {frames} frames, a triplet needs 3")
        return {"name": item.name, "scene": item.group, "frame_count": frames, "video": data}

    def counts(self, items: Any) -> Counts:
        return {"scenes": len({item.group for item in items}), "clips": len(items)}


def _held_out(scenes: set[str]) -> set[str]:
    """5 % of the scenes, chosen by a hash of their names; none of a single scene."""
    if len(scenes) < 2:
        return set()
    by_hash = sorted(scenes, key=lambda scene: hashlib.sha256(scene.encode()).digest())
    return set(by_hash[: math.ceil(HELD_OUT * len(scenes))])
