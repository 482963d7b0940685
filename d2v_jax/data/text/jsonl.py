"""Texts from one column of JSON lines."""

import gzip
import json
import pathlib
import zlib
from collections.abc import Iterator

from d2v_jax.data.records import BadRecord

SUFFIXES = (".jsonl", ".jsonl.gz")
Found = str | BadRecord  # what a record holds, or what is wrong with it


class NoColumn(BadRecord):
    """The column that is asked for is missing; `columns` are there."""

    def __init__(self, column: str, columns: list[str]):
        listed = ", ".join(columns[:8]) + (", ..." if len(columns) > 8 else "")
        super().__init__(f"no column {column!r} (it has: {listed or 'none'})")
        self.columns = columns


def read(path: pathlib.Path, column: str) -> Iterator[tuple[int, Found]]:
    """Line numbers from 1 and what each line has in `column`; empty lines are passed over.

    Raises `BadRecord` where the file cannot be read any further.
    """
    number = 0
    try:
        opened = gzip.open if path.suffix.lower() == ".gz" else open
        with opened(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, _text(line, column)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRecord(f"damaged behind line {number}: {error}") from error
    except OSError as error:
        raise BadRecord(error.strerror or str(error)) from error


def _text(line: bytes, column: str) -> Found:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return BadRecord(f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return BadRecord(f"not JSON: {error.msg} at character {error.pos}")
    except (ValueError, RecursionError) as error:  # a number or nesting beyond all measure
        return BadRecord(f"not readable as JSON: {error}")
    if not isinstance(record, dict):
        return BadRecord(f"not a JSON object but {type(record).__name__}; give one a line")
    if column not in record:
        return NoColumn(column, list(record))
    text = record[column]
    if not isinstance(text, str):
        return BadRecord(f"column {column!r} is not a string but {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return BadRecord(f"column {column!r} holds half a character (at {error.start})")
    return text
