"""Text in data sets prepared by TensorFlow Datasets, read without TensorFlow.

TFDS itself does not know some of them without it, such as glue, wiki40b, c4 and wikipedia, and
says that they do not exist. So the description beside the shards is read here.
"""

import difflib
import json
from collections.abc import Iterator
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.data.records import BadRecord, fingerprint_of
from d2v_jax.data.stores.tfds_folder import find, split_instructions
from d2v_jax.data.stores.tfds_packed import packed_example
from d2v_jax.data.text.documents import Document
from d2v_jax.data.text.jsonl import Found, NoColumn
from d2v_jax.data.text.textfiles import Faults, documents_of

AT_ONCE = 64  # records read together
UNREADABLE = (RuntimeError, ValueError, OSError, IndexError)  # of damaged shards


class TfdsText:
    """The texts of one split; each record is a document.

    `fingerprint` is of the split's files and the column.
    """

    class_names = None

    def __init__(self, source: str, split: str, column: str):
        """`column`: a feature, "a/b" where it lies in another. Raises `UserError` where the data
        set is not prepared, or the feature holds no text.
        """
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        folder = find(source)
        described = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        features = dict(_leaves(described))
        if column not in features or not _is_text(features[column]):
            raise UserError(_no_text(source, column, features))
        instructions, parts = split_instructions(source, folder, split)
        self._records: Any = ArrayRecordDataSource(instructions)
        self._source, self._column, self._name = source, column, f"{source} {split}"
        self.fingerprint = fingerprint_of(("tfds text", source, split, column, *parts))
        self._faults = Faults(source, column)

    @property
    def faults(self) -> dict[str, str]:
        """Reasons by name, of the records that `documents` could not read."""
        return self._faults.reasons

    def check_faults(self, max_share: float) -> None:
        """Raises `UserError` when more than this share of the records is unreadable."""
        self._faults.check(max_share)

    def documents(self) -> Iterator[Document]:
        """A document for each record that is readable; warns of the rest."""
        self._faults = Faults(self._source, self._column)
        self._faults.files = 1
        yield from documents_of(self._texts(), self._name, self._faults, " record ")

    def _texts(self) -> Iterator[tuple[int, Found]]:
        for first in range(0, len(self._records), AT_ONCE):
            wanted = list(range(first, min(first + AT_ONCE, len(self._records))))
            try:
                raws = self._records.__getitems__(wanted)
            except UNREADABLE:  # one of them is damaged
                raws = [self._one(number) for number in wanted]
            for number, raw in zip(wanted, raws):
                yield number, raw if isinstance(raw, BadRecord) else self._text(raw)

    def _one(self, number: int) -> bytes | BadRecord:
        try:
            return self._records[number]
        except UNREADABLE as error:
            return BadRecord(f"unreadable record: {_line(error)}")

    def _text(self, raw: bytes) -> Found:
        from google.protobuf.message import DecodeError

        try:
            features = {entry.key: entry.value for entry in packed_example(raw)}
        except DecodeError as error:
            return BadRecord(f"unreadable record: {_line(error)}")
        if self._column not in features:
            return NoColumn(self._column, sorted(features))
        values = features[self._column].bytes_list.value
        if not values:
            return BadRecord(f"feature {self._column!r} is empty")
        try:
            return values[0].decode()
        except UnicodeDecodeError as error:
            return BadRecord(f"not UTF-8: {error.reason} at byte {error.start}")


def _leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Names, "a/b" where one lies in another, and descriptions of the features in `node`."""
    for name, child in node.get("featuresDict", {}).get("features", {}).items():
        if "featuresDict" in child:
            yield from _leaves(child, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", child


def _is_text(node: dict[str, Any]) -> bool:
    fields = node.get("tensor") or {}
    shaped = fields.get("shape", {}).get("dimensions", ())
    return "text" in node or (fields.get("dtype") == "string" and not shaped)


def _kind(node: dict[str, Any]) -> str:
    return str(node.get("pythonClassName", "")).rsplit(".", 1)[-1] or "something else"


def _no_text(source: str, column: str, features: dict[str, dict[str, Any]]) -> str:
    texts = sorted(name for name, node in features.items() if _is_text(node))
    if column in features:
        what = f"its feature {column!r} (data.column) is no text but {_kind(features[column])}"
    else:
        what = f"it has no feature {column!r} (data.column)"
    if not texts:
        return f"data.source={source!r}: {what}, and none of the others is text"
    near = difflib.get_close_matches(column, texts, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"data.source={source!r}: {what}; text is in {', '.join(texts)}.{hint}"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
