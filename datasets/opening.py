"""Which data a run takes, by name, and opening it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.builders.built import BUILDERS, open_builder, open_built
from datasets.index import INDEX, licensed
from datasets.patches import is_patches, open_patches
from datasets.scenes import SceneSource
from datasets.sources import SYNTHETIC, TRIPLET, Items, Part, Source, Tolerant, find_items, needed, open_items
from datasets.synthetic import SyntheticSource
from datasets.timed import MARGIN
from vfijax.media import MediaError

VIMEO_TEST_LISTS = ("tri_testlist.txt", "sep_testlist.txt")
HELD_OUT = 0.05  # of the items of a directory, when no validation data is named
LEAST_SIDE = 16  # pixels of validation frames


@dataclass(frozen=True)
class Choice:
    """Where the frames of a run come from."""

    source: str = SYNTHETIC
    """`synthetic`; a directory with Vimeo-90K triplets, folders of three pictures, video clips or patches; or
    a set built by `python -m datasets.build`. For zooming_slowmo Vimeo-90K septuplets, folders of seven
    pictures or more, or video clips"""
    val: str = ""
    """the same, for validation; empty: photographs that are not trained on for `synthetic`, the test split of
    a built set or of Vimeo-90K, and else the last 5 % of the items, which are then not trained on"""
    dir: str = ""
    """where sets were built; empty: ~/tensorflow_datasets"""
    crop: int = 128
    """side of the random squares, pixels; a multiple of 32 wastes nothing. For zooming_slowmo it is that of
    the large squares, best a multiple of 16"""
    limit: int = 0
    """train on the first items only; 0 takes all"""
    synthetic: float = 0.0
    """share of synthetic triplets mixed into another source, below 1"""
    motion: float = 8.0
    """synthetic: greatest displacement between first and last frame, pixels"""
    skip_bad: bool = False
    """leave out files that cannot be read, and say so, instead of stopping"""
    cache_gb: float = 2.0
    """decoded clips kept in memory, gigabytes"""
    licences: tuple[str, ...] = ()
    """train only on files with one of these licences in the index.csv of the directory"""

    @property
    def cache_bytes(self) -> int:
        return int(self.cache_gb * 2**30)


@dataclass(frozen=True)
class Sources:
    """Data of a run.

    Attributes:
      train: sources, each with its share of the batches: a `Source`, or a `SceneSource` where `timed` is set.
      val: shares no triplet with them.
      note: what they are, in words.
    """

    train: tuple[tuple[Any, float], ...]
    val: Source
    note: str


def open_sources(
    choice: Choice, *, frames: int = TRIPLET, timed: bool = False, eval_crop: int = 192, seed: int = 0
) -> Sources:
    """The training and the validation data of a run.

    Args:
      choice: which data.
      frames: in a row that an item must have.
      timed: synthetic training items are scenes, for `sample_batches`, instead of frames.
      eval_crop: side of synthetic validation frames, pixels.
      seed: of synthetic training items.

    Raises:
      MediaError: a directory without triplets or clips, or with too few or too small ones; a set that
        is not built; licences of which nothing is there, or that are not known.
    """
    named = choice.source in (SYNTHETIC, *BUILDERS) or is_patches(choice.source)
    if choice.licences and named:
        raise MediaError(f"{choice.source}: a choice by licence needs a directory of clips with an {INDEX}")
    drawn, kind = _drawn(choice, frames, timed, seed)
    train: Source | SceneSource
    train, val, note = drawn, None, f"synthetic {kind}"
    if choice.source != SYNTHETIC:
        train, val, note = _train_and_val(choice, frames)
    if choice.limit and choice.limit < len(train):
        train, note = Part(train, range(choice.limit)), f"the first {choice.limit} of {note}"
    shares: tuple[tuple[Any, float], ...] = ((train, 1.0),)
    if choice.synthetic and choice.source != SYNTHETIC:
        shares = ((train, 1 - choice.synthetic), (drawn, choice.synthetic))
        note += f", mixed with {100 * choice.synthetic:g} % synthetic {kind}"
    if val is not None:
        return Sources(shares, val, f"{note}; scored on {len(val)} held out")
    name = choice.val or SYNTHETIC
    if name == SYNTHETIC:
        scored = SyntheticSource(eval_crop, 0, choice.motion, "val", frames=frames)
        return Sources(shares, scored, f"{note}; scored on synthetic ones")
    tested, tested_note = _open(choice, frames, name, "test", LEAST_SIDE)
    return Sources(shares, tested, f"{note}; scored on {tested_note}")


def _drawn(choice: Choice, frames: int, timed: bool, seed: int) -> tuple[SyntheticSource | SceneSource, str]:
    """Synthetic training data, and what its items are."""
    if timed:
        return SceneSource(choice.crop + 2 * MARGIN, seed, choice.motion), "scenes"
    kind = "triplets" if frames == TRIPLET else f"sequences of {frames} frames"
    return SyntheticSource(choice.crop, seed, choice.motion, frames=frames), kind


def _train_and_val(choice: Choice, frames: int) -> tuple[Source, Source | None, str]:
    """Training data, validation data where these come from the same place, and what it is."""
    if choice.val or is_patches(choice.source):
        train, note = _open(choice, frames, choice.source, "train", choice.crop)
        if choice.val:
            return train, None, note
        kept, held_out = _hold_out(range(len(train)), choice.source)
        return Part(train, kept), Part(train, held_out), note
    listed = any((Path(choice.source) / name).is_file() for name in VIMEO_TEST_LISTS)
    if choice.source in BUILDERS or listed:
        train, note = _open(choice, frames, choice.source, "train", choice.crop)
        return train, _open(choice, frames, choice.source, "test", LEAST_SIDE)[0], note
    files = _find(choice, frames, choice.source, "train")
    kept, _ = _hold_out(range(len(files)), choice.source)
    how = (choice.cache_bytes, choice.skip_bad, frames)
    train, note = open_items(files[: len(kept)], choice.crop, *how)
    val, _ = open_items(files[len(kept) :], LEAST_SIDE, *how)
    return train, val, f"{note} of {choice.source}"


def _find(choice: Choice, frames: int, root: str, split: str) -> Items:
    """The files below a directory; those to train on by their licences."""
    files = find_items(root, split, choice.skip_bad, frames)
    return licensed(files, root, choice.licences) if choice.licences and split == "train" else files


def _open(choice: Choice, frames: int, name: str, split: str, least: int) -> tuple[Source, str]:
    """A built set, a directory of patches, or any other directory, and what it is."""
    if name in BUILDERS:
        split = _built_split(choice, name, split)
        source: Source = open_built(name, choice.dir or None, split, choice.cache_bytes)
        note = f"{len(source)} sequences of {name} ({split})"
        _check_frames(source, name, frames)
    elif is_patches(name):
        source = open_patches(name)
        note = f"{len(source)} patches of {name}"
        _check_frames(source, name, frames)
    else:
        files = _find(choice, frames, name, split)
        source, note = open_items(files, least, choice.cache_bytes, choice.skip_bad, frames)
        return source, f"{note} of {name}"
    return (Tolerant(source) if choice.skip_bad else source), note


def _check_frames(source: Source, name: str, frames: int) -> None:
    """Raises MediaError where the first item is too short; triplets are in every set."""
    if frames > TRIPLET and len(source[0]) < frames:
        raise MediaError(
            f"{name}: holds sequences of {len(source[0])} frames, {needed(frames)}; take "
            "vimeo90k_septuplet, or a directory of video clips"
        )


def _built_split(choice: Choice, name: str, split: str) -> str:
    """The split of a built set to train on or to score on: some sets call the latter val."""
    there = open_builder(name, choice.dir or None).info.splits
    for wanted in ("train",) if split == "train" else ("test", "val"):
        if wanted in there or not there:  # not built: opening it says so
            return wanted
    purpose = "train on" if split == "train" else "score on"
    raise MediaError(f"{name} has no split to {purpose}, only {', '.join(there)}")


def _hold_out(places: Sequence[int], root: str) -> tuple[Sequence[int], Sequence[int]]:
    """All but the last 5 %, and these (at least one each)."""
    if len(places) < 2:
        raise MediaError(f"{root}: has one item only; name validation data with --data.val")
    count = math.ceil(HELD_OUT * len(places))
    return places[:-count], places[-count:]
