"""What `d2v data prepare` wrote: shards in a folder, with prepared.json that says what they are.

Each record of images and sounds is a tf.train.Example: of images "image"; of sounds "audio",
"samples", "offset" and "scale"; of both "name", and "label" and "text" where there are any. Text
is in text/stored_ids.py.
"""

import json
import os
import pathlib
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from d2v_jax.common.checks import UserError, require_utf8
from d2v_jax.common.names import writable
from d2v_jax.data.records import BadRecord, Record, Standard

FORMAT = "d2v_jax.prepared.1"
INDEX = "prepared.json"
LENGTHS = "lengths.npy"  # of sounds, int64 [n], samples at 16 kHz
DATA = "data"  # the feature with a file's bytes, unless a modality has a better name
NEEDED = ("modality", "records", "fingerprint", "shards")


def looks_prepared(source: str) -> bool:
    """Whether `source` is such a folder, or one that holds parts of what is being prepared."""
    folder = pathlib.Path(source).expanduser()
    names = (path.name for path in folder.glob("prepared*")) if folder.is_dir() else ()
    return any(".json" in name or ".array_record" in name for name in names)


class Prepared:
    """The records of a prepared folder of files, in its order."""

    def __init__(
        self, source: str | os.PathLike, modality: str, key: str = DATA, has_lengths: bool = False
    ):
        """`key` names the feature with a file's bytes; `lengths` are read where there are some.

        Raises `UserError` for a folder that is damaged, unfinished or of another modality.
        """
        self.root = pathlib.Path(source).expanduser()
        index = read_index(source, modality)
        self.class_names = tuple(index["class_names"]) if index.get("class_names") else None
        self.fingerprint: str = index["fingerprint"]
        self._key = key
        paths = [str(self.root / shard["file"]) for shard in index["shards"]]
        try:
            self._records = ArrayRecordDataSource(paths)
        except (RuntimeError, ValueError, OSError) as error:
            raise broken(source, index, f"a shard cannot be opened ({_line(error)})") from error
        if len(self._records) != index["records"]:
            raise broken(
                source,
                index,
                f"its shards hold {len(self._records)} records, not {index['records']}",
            )
        if has_lengths:
            self.lengths = self._read_lengths(source, index)

    def _read_lengths(self, source: str | os.PathLike, index: dict[str, Any]) -> np.ndarray:
        try:
            lengths = np.load(self.root / LENGTHS, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise broken(source, index, f"{LENGTHS} cannot be read ({_line(error)})") from error
        if lengths.shape != (index["records"],):
            raise broken(
                source, index, f"{LENGTHS} has shape {lengths.shape} for {index['records']} records"
            )
        return lengths.astype(np.int64)

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        """That of record `index`."""
        try:
            return self.read(index).name
        except BadRecord as bad:
            return bad.name or f"record {index}"

    def read(self, index: int) -> Record:
        # Late, because importing the package takes about a second.
        from google.protobuf.message import DecodeError
        from tensorflow_datasets.proto import tf_example_pb2

        place = f"{self.root.name} record {index}"
        try:
            feature = tf_example_pb2.Example.FromString(self._records[index]).features.feature
        except (RuntimeError, ValueError, OSError, IndexError, DecodeError) as error:
            raise BadRecord(f"unreadable record: {_line(error)}", place) from error
        if self._key not in feature:
            raise BadRecord(f"no feature {self._key!r}", place)
        name = _first(feature, "name", "bytes_list")
        text = _first(feature, "text", "bytes_list")
        standard = None
        if "offset" in feature and "scale" in feature:
            standard = Standard(
                *(np.float32(feature[key].float_list.value[0]) for key in ("offset", "scale"))
            )
        return Record(
            _first(feature, self._key, "bytes_list"),
            _first(feature, "label", "int64_list"),
            place if name is None else writable(name.decode(errors="surrogateescape")),
            None if text is None else text.decode(errors="replace"),
            standard,
        )


def _first(feature: Any, key: str, kind: str) -> Any:
    """The value of a feature, None where it has none."""
    values = getattr(feature[key], kind).value if key in feature else ()
    return values[0] if values else None


def read_index(
    source: str | os.PathLike, modality: str, needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """prepared.json of a complete folder of `modality`, which has the entries `needed` too.

    Raises `UserError` where something is amiss.
    """
    root = pathlib.Path(source).expanduser()
    require_utf8(root, "prepared data")
    try:
        index = json.loads((root / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise broken(source, {}, f"it has no {INDEX}") from error
    except (OSError, ValueError) as error:
        raise broken(source, {}, f"{INDEX} cannot be read ({_line(error)})") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else None
        raise broken(source, {}, f"{INDEX} has the format {found!r}, not {FORMAT!r}")
    mine = needed if index.get("modality") == modality else ()
    missing = [key for key in NEEDED + mine if key not in index]
    if missing:
        raise broken(source, index, f"{INDEX} lacks {', '.join(missing)}")
    if index["modality"] != modality:
        raise UserError(
            f"data.source={str(source)!r} was prepared for {index['modality']}, and this recipe "
            f"is one of {modality}; give a folder that was prepared for {modality}"
        )
    for shard in index["shards"]:
        path = root / shard["file"]
        if not path.is_file():
            raise broken(source, index, f"its shard {shard['file']} is missing")
        if path.stat().st_size != shard["bytes"]:
            raise broken(
                source,
                index,
                f"its shard {shard['file']} has {path.stat().st_size} bytes, not {shard['bytes']}",
            )
    return index


def broken(source: str | os.PathLike, index: dict[str, Any], what: str) -> UserError:
    """`what` is wrong with the folder."""
    origin = index.get("source", "SOURCE")
    return UserError(
        f"data.source={str(source)!r} is damaged or was not finished: {what}. Write it again: "
        f"d2v data prepare {origin!r} {str(source)!r}"
    )


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
