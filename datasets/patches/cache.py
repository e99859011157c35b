"""Caches of patches worth training on: how they are made, how they lie on disk, how they are read.

Every item of a source is cut into triplets of consecutive frames that do not overlap;
`datasets.patches.selection` says which patches of a triplet are kept. A cache is a directory:

    metadata.json        parameters, their hash, statistics, and the files with their number of patches
    patches-HASH-NNNNN.array_record    a patch is a PNG picture of its three frames, one below the other
    contact_sheet.png    patches kept and rejected
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from datasets.patches.contact_sheet import contact_sheet
from datasets.patches.motion import Measure
from datasets.patches.motion import measure as measure_named
from datasets.patches.selection import DEFAULT, KEPT, PatchParameters, crop, select
from datasets.patches.statistics import Statistics, of_triplet
from datasets.records import Records
from datasets.sources import Source, bad_item
from vfijax.command import Progress
from vfijax.files import given_path, hidden_name, write_text
from vfijax.media import MediaError, decode_image, read_ahead, write_image

FORMAT = 1
METADATA = "metadata.json"
SHEET = "contact_sheet.png"
SUFFIX = ".array_record"
SHARD_ITEMS = 64  # items of the source behind one file; an interrupted run loses no more than these

Parameters = dict[str, Any]
Cut = Callable[[int], tuple[list[bytes], Statistics]]


@dataclass(frozen=True)
class PatchSource:
    """Patches of a cache, uint8 [3, S, S, 3]; may be read from many threads.

    Attributes:
      directory: of the cache.
      records: its files.
      size: S, the side of the patches in pixels.
    """

    directory: Path
    records: Records
    size: int

    def __reduce__(self) -> tuple[Any, ...]:
        # worker processes open the files anew: a handle cannot be sent
        return open_patches, (self.directory,)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> np.ndarray:
        with bad_item():
            stacked = decode_image(self.records[index], self.records.place(index))
        return stacked.reshape(3, self.size, self.size, 3)


def is_patches(directory: str | os.PathLike[str]) -> bool:
    """Whether a directory is a cache, by the files in it."""
    return all((Path(directory) / name).is_file() for name in (METADATA, SHEET))


def open_patches(directory: str | os.PathLike[str], expected: Parameters | None = None) -> PatchSource:
    """The patches of a cache that `prepare_patches` has made.

    Args:
      directory: of the cache.
      expected: parameters that it must have been made with, such as {"size": 150, "motion": "dis"}.

    Raises:
      MediaError: no cache, an empty or damaged one, or one made with other parameters, which are named.
    """
    directory = given_path(directory, "open_patches", MediaError)
    metadata = _read_metadata(directory / METADATA)
    parameters = metadata["parameters"]
    if metadata["format"] != FORMAT or metadata["hash"] != hash_of(parameters):
        raise MediaError(f"{directory / METADATA}: was changed, or made by another version; make it again")
    _refuse_other(directory, parameters, expected or {})
    files = {directory / name: count for name, count in metadata["files"].items()}
    if not files:
        raise MediaError(f"{directory}: holds no patches, all were rejected; see {METADATA} there")
    advice = "make the cache again with python -m datasets.patches --overwrite"
    return PatchSource(directory, Records(list(files), list(files.values()), advice), parameters["size"])


def prepare_patches(
    source: Source,
    name: str,
    out: str | os.PathLike[str],
    parameters: PatchParameters = DEFAULT,
    *,
    motion: str,
    workers: int = 1,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Statistics:
    """Cuts patches from the triplets of a source and stores them.

    Which patches are kept depends on the source, the parameters and the measure alone, not on the
    number of workers. The cache appears under its name when it is complete. An interrupted run goes on
    where it was when it is repeated; a complete one is recognised.

    Args:
      source: runs of frames, uint8 [N, H, W, 3].
      name: of the source; it is one of the parameters that a cache is known by.
      out: directory of the cache.
      parameters: the recipe.
      motion: name of a measure in `datasets.patches.motion`.
      workers: threads.
      skip_bad: leave out items that cannot be read, instead of stopping, and count them.
      overwrite: replace a cache, or an interrupted one, made with other parameters.
      progress: called with the number of items done and of all items.

    Returns:
      The statistics; they are also in metadata.json.

    Raises:
      MediaError: parameters that make no sense, an item that cannot be read, no patch fits into any
        frame, or a cache made with other parameters, which are named.
    """
    parameters.check()
    measure = measure_named(motion)
    wanted = {"source": name, "items": len(source), "motion": motion, **asdict(parameters)}
    out = given_path(out, "prepare_patches", MediaError).resolve()
    work = hidden_name(out, ".partial")
    if overwrite:
        shutil.rmtree(work, ignore_errors=True)
    elif out.exists():
        metadata = _read_metadata(out / METADATA)
        _refuse_other(out, metadata["parameters"], wanted)
        return Statistics.from_json(metadata["statistics"])
    _begin(work, wanted)

    def report(done: int) -> None:
        if progress:
            progress(done, len(source))

    cut = partial(_cut_item, source, parameters, measure, skip_bad)
    shards = [_shard(work, start, wanted) for start in range(0, len(source), SHARD_ITEMS)]
    statistics, files = Statistics(), {}
    for shard in shards:
        found = shard.stored() or shard.write(cut, workers, report)
        statistics += found
        if found.kept:
            files[shard.file.name] = found.kept
    if not statistics.triplets:
        shutil.rmtree(work)  # there is nothing to go on with
        raise MediaError(
            f"{name}: no triplet can be used: {statistics.small} are smaller than {parameters.size} pixels, "
            f"{len(statistics.skipped)} items cannot be read"
        )
    sheet = contact_sheet(source, statistics, parameters.size, motion)
    _finish(work, out, sheet, {"parameters": wanted, "files": files, "statistics": statistics.to_json()})
    return statistics


@dataclass(frozen=True)
class _Shard:
    """One file of patches and what is known about it; it counts when its statistics are there."""

    file: Path
    start: int
    stop: int

    @property
    def note(self) -> Path:
        return self.file.with_suffix(".json")

    def stored(self) -> Statistics | None:
        return Statistics.from_json(json.loads(self.note.read_text())) if self.note.is_file() else None

    def write(self, cut: Cut, workers: int, report: Callable[[int], None]) -> Statistics:
        statistics = Statistics()
        results = read_ahead(cut, range(self.start, self.stop), threads=workers, depth=2 * workers)
        # Pictures are compressed already; one record a group lets them be read one by one.
        writer = ArrayRecordWriter(str(self.file), "group_size:1,uncompressed")
        try:
            for done, (patches, found) in enumerate(results, 1):
                for patch in patches:
                    writer.write(patch)
                statistics += found
                report(self.start + done)
        finally:
            writer.close()
        if not statistics.kept:
            self.file.unlink()
        _write_json(self.note, statistics.to_json())
        return statistics


def _shard(work: Path, start: int, parameters: Parameters) -> _Shard:
    file = work / f"patches-{hash_of(parameters)[:8]}-{start // SHARD_ITEMS:05d}{SUFFIX}"
    return _Shard(file, start, min(start + SHARD_ITEMS, parameters["items"]))


def _cut_item(
    source: Source, parameters: PatchParameters, measure: Measure, skip_bad: bool, index: int
) -> tuple[list[bytes], Statistics]:
    """The patches kept of one item as PNG files, and what became of all."""
    try:
        frames = source[index]
    except MediaError as error:
        if not skip_bad:
            raise
        return [], Statistics(skipped=[str(error)])
    patches, statistics = [], Statistics()
    for start in range(0, len(frames) - 2, 3):
        triplet = frames[start : start + 3]
        if min(triplet.shape[1:3]) < parameters.size:
            statistics += Statistics(small=1)
            continue
        rng = np.random.default_rng((parameters.seed, index, start))  # of the place, not of the thread
        tried = select(triplet, parameters, measure, rng)
        statistics += of_triplet(tried, index, start, parameters.full_motion)
        kept = [c for c in tried if c.fate == KEPT]
        patches += [_png(crop(triplet, c.top, c.left, parameters.size)) for c in kept]
    return patches, statistics


def _png(patch: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(patch.reshape(-1, *patch.shape[2:])).save(file, "PNG", compress_level=3)
    return file.getvalue()


def hash_of(parameters: Parameters) -> str:
    """SHA-256 of the parameters as sorted JSON; the order of their fields does not matter."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()


def _begin(work: Path, parameters: Parameters) -> None:
    """A directory to work in, fresh or left by an interrupted run with the same parameters."""
    file = work / "parameters.json"
    if file.is_file():
        _refuse_other(work, json.loads(file.read_text()), parameters)
        return
    if not work.parent.is_dir():
        raise MediaError(f"{work.parent}: no such directory; make it first")
    work.mkdir(exist_ok=True)
    _write_json(file, parameters)


def _finish(work: Path, out: Path, sheet: np.ndarray, metadata: dict[str, Any]) -> None:
    write_image(work / SHEET, sheet)
    _write_json(work / METADATA, {"format": FORMAT, "hash": hash_of(metadata["parameters"]), **metadata})
    # a run that was killed while it wrote may have left a hidden file
    for note in [*work.glob("patches-*.json"), *work.glob(".*.partial*"), work / "parameters.json"]:
        note.unlink()
    if out.exists():
        _read_metadata(out / METADATA)  # never remove what is no cache
        shutil.rmtree(out)
    work.rename(out)


def _refuse_other(directory: Path, found: Parameters, wanted: Parameters) -> None:
    other = [f"{k} {found.get(k)!r}, not {v!r}" for k, v in wanted.items() if found.get(k) != v]
    if other:
        raise MediaError(
            f"{directory}: was made with {'; '.join(other)}; take another --out, or --overwrite it"
        )


def _read_metadata(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise MediaError(f"{file.parent}: holds no patches (no {file.name}); give another directory")
    try:
        metadata = json.loads(file.read_text())
        return {key: metadata[key] for key in ("format", "hash", "parameters", "files", "statistics")}
    except (ValueError, KeyError, TypeError) as error:
        raise MediaError(f"{file}: is damaged ({error!r}); make the patches again") from error


def _write_json(file: Path, value: Any) -> None:
    """As it is read again, infinite numbers too, which a parameter may be."""
    write_text(file, json.dumps(value, indent=1) + "\n")
