"""Prepared text: the ids of a corpus in shards, read a few at a time.

Each record is a run of ids, little-endian, uint16 where that is enough, else int32: of a shard all
have `RECORD` ids but the last. Beside the shards lie arrays of where lines and
documents end and what these are called, and the tokenizer's files.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from d2v_jax.common.checks import UserError
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.prepared import broken, read_index
from d2v_jax.data.text.corpus import Corpus, Names
from d2v_jax.data.text.rows import Specials
from d2v_jax.data.text.tokenizer import Breaks, Tokenizer

RECORD = 8192  # ids
NEEDED = ("tokenizer", "tokenizer_fingerprint", "dtype", "arrays")  # in prepared.json
STARTS, LINE_ENDS, NAMES, NAME_ENDS, LABELS = (
    "starts.npy",
    "line_ends.npy",
    "names.npy",
    "name_ends.npy",
    "labels.npy",
)


class Ids:
    """The ids of some shards as one array [t], of which slices can be read."""

    def __init__(self, paths: list[str], tokens_n: list[int], dtype: np.dtype):
        """`tokens_n`: ids in each shard. Raises what `ArrayRecordDataSource` raises."""
        self._tokens_n = tokens_n
        self.dtype = np.dtype(dtype)
        self._records: Any = ArrayRecordDataSource(paths)
        self._ends = np.cumsum(tokens_n)
        records_n = [-(-tokens // RECORD) for tokens in tokens_n]
        self._first_record = np.cumsum([0, *records_n])
        if len(self._records) != self._first_record[-1]:
            raise ValueError(f"{len(self._records)} records, not {self._first_record[-1]}")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, span: slice) -> np.ndarray:
        """Raises `BadRecord` where a record is damaged."""
        start, stop, _ = span.indices(len(self))
        parts = []
        while start < stop:
            shard = int(np.searchsorted(self._ends, start, side="right"))
            place = start - int(self._ends[shard - 1] if shard else 0)
            ids_t = self._record(shard, place // RECORD)
            parts.append(ids_t[place % RECORD : place % RECORD + stop - start])
            start += len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0, self.dtype)])

    def _record(self, shard: int, number: int) -> np.ndarray:
        try:
            data = self._records[int(self._first_record[shard]) + number]
        except (RuntimeError, ValueError, OSError, IndexError) as error:
            raise BadRecord(f"unreadable record {number} of shard {shard}: {error}") from error
        whole = min(RECORD, self._tokens_n[shard] - number * RECORD)
        if len(data) != whole * self.dtype.itemsize:
            raise BadRecord(f"record {number} of shard {shard} has {len(data)} bytes")
        return np.frombuffer(data, self.dtype)


def ids_index(source: str) -> dict[str, Any]:
    """prepared.json of a folder of ids. Raises `UserError` where something is amiss."""
    return read_index(source, "text", NEEDED)


def open_tokens(source: str, name: str, tokenizer: Tokenizer) -> Corpus:
    """The corpus of the prepared folder `source`; its arrays stay on the disk.

    `name` is that of the tokenizer. Raises `UserError` for a folder that is damaged, unfinished,
    or prepared for another modality or tokenizer.
    """
    source = source.strip()
    index = ids_index(source)
    if index["tokenizer_fingerprint"] != tokenizer.fingerprint:
        raise UserError(
            f"data.source={source!r} holds the ids of another tokenizer than "
            f"data.tokenizer={name!r}; give its own, data.tokenizer={source!r}, or "
            "prepare the texts again"
        )
    return _opened(source, index, tokenizer.breaks, tokenizer.ids)


@dataclasses.dataclass(frozen=True)
class Stored(Corpus):
    """A corpus that pickles as the name of its folder."""

    source: str
    ends_of_lines: np.ndarray  # int64 [l]

    def line_ends(self) -> np.ndarray:
        """Behind each `</s>`, int64 [l]."""
        return self.ends_of_lines

    def __reduce__(self):
        return _reopened, (self.source, self.breaks, self.ids)


def _reopened(source: str, breaks: Breaks, ids: Specials) -> Stored:
    return _opened(source, ids_index(source), breaks, ids)


def _opened(source: str, index: dict[str, Any], breaks: Breaks, specials: Specials) -> Stored:
    root = pathlib.Path(source).expanduser()
    paths = [str(root / shard["file"]) for shard in index["shards"]]
    try:
        ids = Ids(paths, [shard["tokens"] for shard in index["shards"]], np.dtype(index["dtype"]))
        arrays = {name: _on_disk(root / name) for name in index["arrays"]}
        return Stored(
            ids,
            arrays[STARTS],
            Names(arrays[NAMES], arrays[NAME_ENDS]),
            arrays.get(LABELS),
            tuple(index["class_names"]) if index.get("class_names") else None,
            breaks,
            index["fingerprint"],
            source,
            arrays[LINE_ENDS],
            ids=specials,
        )
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, TypeError) as error:
        raise broken(source, index, f"{type(error).__name__}: {error}") from error


def _on_disk(path: pathlib.Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error
