"""Reading array_record files at random, with errors that name file and record."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordReader

from vfijax.media import MediaError


class Records:
    """The records of several array_record files, one after the other; may be read from many threads.

    Args:
      files: the files, in order.
      lengths: how many records each must have.
      advice: what to do when a file is broken, the end of the message.

    Raises:
      MediaError: a file is missing, truncated, or has another number of records.
    """

    def __init__(self, files: Sequence[Path], lengths: Sequence[int], advice: str) -> None:
        for file, length in zip(files, lengths, strict=True):
            _check(file, length, advice)
        self._files, self._advice = files, advice
        self._ends = list(accumulate(lengths))
        self._records = ArrayRecordDataSource([str(file) for file in files])

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> bytes:
        try:
            return self._records[index]
        except RuntimeError as error:
            raise MediaError(f"{self.place(index)}: cannot be read ({error}); {self._advice}") from error

    def place(self, index: int) -> str:
        """File and number of a record, for messages."""
        shard = next(i for i, end in enumerate(self._ends) if index < end)
        return f"{self._files[shard]}, record {index - (self._ends[shard - 1] if shard else 0)}"


def _check(file: Path, length: int, advice: str) -> None:
    if not file.is_file():
        raise MediaError(f"{file}: no such file; {advice}")
    try:
        reader = ArrayRecordReader(str(file))
        found = reader.num_records()
        reader.close()
    except RuntimeError as error:
        raise MediaError(f"{file}: is truncated or damaged ({error}); {advice}") from error
    if found != length:
        raise MediaError(f"{file}: has {found} records, not {length}; {advice}")
