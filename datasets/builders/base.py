"""What all TFDS builders have in common: records of encoded frames, checked one by one.

A builder says where its files lie (`find`) and what they are; everything else is here. Records hold
the files' own bytes, as TFDS needs TensorFlow to encode arrays, and nothing is lost or gained by
encoding again. They are stored as array_record, which is read at random without TensorFlow.
"""

import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging

from vfijax.command import Progress
from vfijax.files import natural_key
from vfijax.media import MediaError, decode_image, read_ahead

SHOWN = 20  # problems named in one message
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".rar", ".7z")

Counts = dict[str, int]  # how many of what, such as {"triplets": 12, "frames": 36}


@dataclass(frozen=True)
class Item:
    """One record.

    Attributes:
      name: unique within its split.
      files: its frames in the order of time, or one video.
      group: the video that it comes from, if several records do.
    """

    name: str
    files: tuple[Path, ...]
    group: str = ""


class Info(tfds.core.DatasetInfo):
    """What is known of a data set that is built here: nothing is asked of a server, which TFDS would do."""

    def initialize_from_bucket(self) -> None:
        pass


class FrameBuilder(tfds.core.GeneratorBasedBuilder):
    """Base of the builders whose records are short runs of pictures: `name` and `frames`.

    Attributes:
      ABOUT, HOMEPAGE, CITATION, LICENSE: of the data.
      MANUAL_DOWNLOAD_INSTRUCTIONS: where to get it and how it must lie in the manual directory.
      UNIT: what a record is called.
      PUBLISHED: counts per split of the complete data.
      SIZE: height and width that every frame must have, if they all have one.
      skip_bad: leave items with missing, unreadable or wrongly sized frames out, and count them.
      progress: called with the number of items read, and of all items.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    ABOUT: ClassVar[str]
    HOMEPAGE: ClassVar[str]
    CITATION: ClassVar[str]
    LICENSE: ClassVar[str]
    UNIT: ClassVar[str] = "triplets"
    PUBLISHED: ClassVar[Mapping[str, Counts]] = {}
    SIZE: ClassVar[tuple[int, int] | None] = None

    skip_bad: bool = False
    progress: Progress = staticmethod(lambda done, total: None)

    @abstractmethod
    def find(self, manual: Path) -> dict[str, list[Item]]:
        """The items of every split below the manual directory.

        Raises:
          MediaError: it is not laid out as `MANUAL_DOWNLOAD_INSTRUCTIONS` say.
        """

    def features(self) -> dict[str, Any]:
        frames = tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3)))
        return {"name": tfds.features.Text(), "frames": frames}

    def encode(self, item: Item) -> dict[str, Any]:
        """The record of an item; raises MediaError when a file of it cannot be used."""
        data = [file.read_bytes() for file in item.files]
        shapes = [decode_image(d, str(file)).shape[:2] for d, file in zip(data, item.files, strict=True)]
        wanted = self.SIZE or shapes[0]
        for file, shape in zip(item.files, shapes, strict=True):
            if shape != wanted:
                needed = f"{self.name} has" if self.SIZE else f"{item.files[0].name} beside it is"
                raise MediaError(f"{file}: is {_size(shape)}, but {needed} {_size(wanted)}")
        return {"name": item.name, "frames": data}

    def counts(self, items: Sequence[Item]) -> Counts:
        counts = {self.UNIT: len(items), "frames": sum(len(item.files) for item in items)}
        groups = {item.group for item in items if item.group}
        return {"sequences": len(groups), **counts} if groups else counts

    def is_prepared(self) -> bool:
        with errors_only():  # it warns where nothing was built
            return super().is_prepared()

    def _info(self) -> Info:
        return Info(
            builder=self,
            description=self.ABOUT,
            features=tfds.features.FeaturesDict(self.features()),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            license=self.LICENSE,
            disable_shuffling=True,  # records stay in the order of the lists; readers shuffle
            metadata=tfds.core.MetadataDict(counts={}, skipped=[]),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        splits = self.find(Path(dl_manager.manual_dir))
        self._problems: list[str] = []
        self._done, self._total = 0, sum(map(len, splits.values()))
        kept = {split: self._complete(items) for split, items in splits.items()}
        if not self.skip_bad:
            self._refuse_problems()  # before hours of reading
        last = list(kept)[-1]
        return {split: self._generate_examples(split, items, split == last) for split, items in kept.items()}

    def _complete(self, items: list[Item]) -> list[Item]:
        """The items of which no file is missing; the others become problems."""
        missing = {item: [file for file in item.files if not file.is_file()] for item in items}
        self._problems += [f"{file}: is missing" for files in missing.values() for file in files]
        self._problems = list(dict.fromkeys(self._problems))  # a file may be in several splits
        self._done += sum(bool(files) for files in missing.values())
        return [item for item in items if not missing[item]]

    def _generate_examples(
        self, split: str, items: list[Item], last: bool
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        written = []
        for index, (item, record) in enumerate(zip(items, self._read(items), strict=True)):
            self._done += 1
            self.progress(self._done, self._total)
            if isinstance(record, MediaError):
                self._problems += [str(record)] if str(record) not in self._problems else []
            else:
                written.append(item)
                yield index, record
        if last or not written:
            self._finish(split, written)
        self.info.metadata["counts"][split] = self.counts(written)

    def _read(self, items: list[Item]) -> Iterable[dict[str, Any] | MediaError]:
        def encode(item: Item) -> dict[str, Any] | MediaError:
            try:
                return self.encode(item)
            except MediaError as error:
                return error

        threads = os.cpu_count() or 1
        return read_ahead(encode, items, threads=threads, depth=2 * threads)

    def _finish(self, split: str, written: list[Item]) -> None:
        """After the last item: no problem may be left unless they are skipped."""
        if not self.skip_bad:
            self._refuse_problems()
        if not written:
            raise MediaError(f"{self.name}: no item of split {split} can be used\n{listing(self._problems)}")
        self.info.metadata["skipped"] = self._problems

    def _refuse_problems(self) -> None:
        if self._problems:
            raise MediaError(
                f"{self.name}: {len(self._problems)} problem(s) in the files; download or extract these "
                f"again, or leave them out with --skip-bad\n{listing(self._problems)}"
            )


@contextmanager
def errors_only() -> Iterator[None]:
    """Keeps the warnings of TFDS to itself: what matters in them is said here, and better."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


class SkipDecoding(tfds.decode.SkipDecoding):
    """Leaves the pictures of a sequence encoded, without TensorFlow (TFDS's own needs it there)."""

    def decode_batch_example_np(self, serialized_example: Any) -> Any:
        return serialized_example


def listing(problems: Sequence[str]) -> str:
    """The first problems, one a line, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:SHOWN]]
    more = len(problems) - SHOWN
    return "\n".join([*lines, f"  and {more} more"] if more > 0 else lines)


def directory(manual: Path, *names: str) -> Path:
    """The first of these folders that is there, else the manual directory itself."""
    return next((manual / name for name in names if (manual / name).is_dir()), manual)


def layout_error(builder: tfds.core.DatasetBuilder, manual: Path, lacking: str) -> MediaError:
    """What to say when a manual directory is not laid out as it must be."""
    archives = sorted(file.name for file in manual.iterdir() if file.name.lower().endswith(ARCHIVES))
    extract = f" Extract {', '.join(archives)} first." if archives else ""
    instructions = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
    return MediaError(f"{manual}: {lacking}.{extract} Needed for {builder.name}: {instructions}")


def numbered(frames: Sequence[Path]) -> list[Path]:
    """Frames in natural order, with those that are lacking between the first and the last number."""
    frames = sorted(frames, key=natural_key)
    numbers = [re.search(r"\d+$", frame.stem) for frame in frames]
    if not frames or not all(numbers):
        return list(frames)
    by_number = {int(n.group()): f for n, f in zip(numbers, frames, strict=True) if n}
    width, first = len(numbers[0].group()) if numbers[0] else 0, frames[0]
    prefix = first.stem[: len(first.stem) - width]
    return [
        by_number.get(n, first.with_name(f"{prefix}{n:0{width}d}{first.suffix}"))
        for n in range(min(by_number), max(by_number) + 1)
    ]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
