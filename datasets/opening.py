"""Which data a run takes, by name, and opening it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.built import BUILDERS, open_builder, open_built
from datasets.licences import INDEX, licensed
from datasets.patch_cache import is_patches, open_patches
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
    """Which data a run takes.

    Attributes:
      source: `synthetic`, a directory (see `find_items`) or one of patches, or a name of `BUILDERS`.
      val: the same, for validation. Empty: photographs that are not trained on for `synthetic`, the
        test split of a built set or of Vimeo-90K, and else the last 5 % of the directory, which are
        then not trained on.
      data_dir: where the sets were built; empty: the directory that TFDS takes.
      crop: side of the squares to train on, pixels.
      eval_crop: side of synthetic validation frames, pixels.
      seed, motion: of synthetic triplets, see `SyntheticSource` and `SceneSource`.
      limit: train on the first items only; 0 takes all.
      synthetic: share of synthetic triplets mixed into another source, in [0, 1).
      skip_bad: leave out what cannot be read, instead of stopping there.
      cache_bytes: of decoded clips.
      frames: in a row that an item must have.
      timed: synthetic training items are scenes, for `sample_batches`, instead of frames.
      licences: train only on files with one of these in the index.csv of a directory (`licensed`).
    """

    source: str
    val: str = ""
    data_dir: str = ""
    crop: int = 128
    eval_crop: int = 192
    seed: int = 0
    motion: float = 8.0
    limit: int = 0
    synthetic: float = 0.0
    skip_bad: bool = False
    cache_bytes: int = 2**31
    frames: int = TRIPLET
    timed: bool = False
    licences: tuple[str, ...] = ()

    @property
    def items(self) -> str:
        """What is drawn, in words."""
        if self.timed:
            return "scenes"
        return "triplets" if self.frames == TRIPLET else f"sequences of {self.frames} frames"


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


def open_sources(choice: Choice) -> Sources:
    """The training and the validation data of a run.

    Raises:
      MediaError: a directory without triplets or clips, or with too few or too small ones; a set that
        is not built; licences of which nothing is there, or that are not known.
    """
    named = choice.source in (SYNTHETIC, *BUILDERS) or is_patches(choice.source)
    if choice.licences and named:
        raise MediaError(f"{choice.source}: a choice by licence needs a directory of clips with an {INDEX}")
    train, val, note = _train_and_val(choice)
    if choice.limit and choice.limit < len(train):
        train, note = Part(train, range(choice.limit)), f"the first {choice.limit} of {note}"
    shares: tuple[tuple[Any, float], ...] = ((train, 1.0),)
    if choice.synthetic and choice.source != SYNTHETIC:
        shares = ((train, 1 - choice.synthetic), (_drawn(choice), choice.synthetic))
        note += f", mixed with {100 * choice.synthetic:g} % synthetic {choice.items}"
    if val is not None:
        return Sources(shares, val, f"{note}; scored on {len(val)} held out")
    name = choice.val or SYNTHETIC
    if name == SYNTHETIC:
        drawn = SyntheticSource(choice.eval_crop, 0, choice.motion, "val", frames=choice.frames)
        return Sources(shares, drawn, f"{note}; scored on synthetic ones")
    tested, tested_note = _open(choice, name, "test", LEAST_SIDE)
    return Sources(shares, tested, f"{note}; scored on {tested_note}")


def _train_and_val(choice: Choice) -> tuple[Source | SceneSource, Source | None, str]:
    """Training data, validation data where these come from the same place, and what it is."""
    if choice.source == SYNTHETIC:
        return _drawn(choice), None, f"synthetic {choice.items}"
    if choice.val or is_patches(choice.source):
        train, note = _open(choice, choice.source, "train", choice.crop)
        if choice.val:
            return train, None, note
        kept, held_out = _hold_out(range(len(train)), choice.source)
        return Part(train, kept), Part(train, held_out), note
    listed = any((Path(choice.source) / name).is_file() for name in VIMEO_TEST_LISTS)
    if choice.source in BUILDERS or listed:
        train, note = _open(choice, choice.source, "train", choice.crop)
        return train, _open(choice, choice.source, "test", LEAST_SIDE)[0], note
    files = _find(choice, choice.source, "train")
    kept, _ = _hold_out(range(len(files)), choice.source)
    how = (choice.cache_bytes, choice.skip_bad, choice.frames)
    train, note = open_items(files[: len(kept)], choice.crop, *how)
    val, _ = open_items(files[len(kept) :], LEAST_SIDE, *how)
    return train, val, f"{note} of {choice.source}"


def _find(choice: Choice, root: str, split: str) -> Items:
    """The files below a directory; those to train on by their licences."""
    files = find_items(root, split, choice.skip_bad, choice.frames)
    return licensed(files, root, choice.licences) if choice.licences and split == "train" else files


def _drawn(choice: Choice) -> SyntheticSource | SceneSource:
    if choice.timed:
        return SceneSource(choice.crop + 2 * MARGIN, choice.seed, choice.motion)
    return SyntheticSource(choice.crop, choice.seed, choice.motion, frames=choice.frames)


def _open(choice: Choice, name: str, split: str, least: int) -> tuple[Source, str]:
    """A built set, a directory of patches, or any other directory, and what it is."""
    if name in BUILDERS:
        split = _built_split(choice, name, split)
        source: Source = open_built(name, choice.data_dir or None, split, choice.cache_bytes)
        note = f"{len(source)} sequences of {name} ({split})"
        _check_frames(source, name, choice)
    elif is_patches(name):
        source = open_patches(name)
        note = f"{len(source)} patches of {name}"
        _check_frames(source, name, choice)
    else:
        files = _find(choice, name, split)
        source, note = open_items(files, least, choice.cache_bytes, choice.skip_bad, choice.frames)
        return source, f"{note} of {name}"
    return (Tolerant(source) if choice.skip_bad else source), note


def _check_frames(source: Source, name: str, choice: Choice) -> None:
    """Raises MediaError where the first item is too short; triplets are in every set."""
    if choice.frames > TRIPLET and len(source[0]) < choice.frames:
        raise MediaError(
            f"{name}: holds sequences of {len(source[0])} frames, {needed(choice.frames)}; take "
            "vimeo90k_septuplet, or a directory of video clips"
        )


def _built_split(choice: Choice, name: str, split: str) -> str:
    """The split of a built set to train on or to score on: some sets call the latter val."""
    there = open_builder(name, choice.data_dir or None).info.splits
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
