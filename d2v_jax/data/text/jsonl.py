"""Texts from one column of JSON lines, or of one JSON array."""

import io
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores import packed

AT_ONCE = 1 << 20  # characters of an array
BETWEEN = re.compile(r"[ \t\r\n,]*")  # entries
Found = str | BadRecord  # what a record holds, or what is wrong with it


class NoColumn(BadRecord):
    """The column that is asked for is missing; `columns` are there."""

    def __init__(self, column: str, columns: list[str]):
        listed = ", ".join(columns[:8]) + (", ..." if len(columns) > 8 else "")
        super().__init__(f"no column {column!r} (it has: {listed or 'none'})")
        self.columns = columns


def read(path: pathlib.Path, column: str) -> Iterator[tuple[int, Found]]:
    """Line numbers from 1 and what each line has in `column`; empty lines are passed over.

    Of a file that is one JSON array, the numbers of its entries from 1. Raises `BadRecord` where
    the file cannot be read any further.
    """
    number = 0
    try:
        with packed.opened(path) as file:
            if file.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
                for number, entry in enumerate(_entries(file), 1):
                    yield number, _of(entry, column)
                return
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, _text(line, column)
    except BadRecord as bad:
        if number and bad.reason.startswith("damaged"):
            raise BadRecord(
                bad.reason.replace("damaged", f"damaged behind line {number}", 1)
            ) from bad
        raise


def _entries(file: BinaryIO) -> Iterator[Any]:
    """Those of an array, one after the other; `BadRecord` where it is none."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig")
    decoder = json.JSONDecoder()
    held, place = text.read(AT_ONCE).lstrip().removeprefix("["), 0
    more = True
    while True:
        place = BETWEEN.match(held, place).end()
        if held.startswith("]", place):
            return
        try:
            entry, end = decoder.raw_decode(held, place)
            if end == len(held) and more:  # a number may go on
                raise ValueError
        except RecursionError as error:
            raise BadRecord("not readable as JSON: nested too deeply") from error
        except ValueError as error:
            chunk = text.read(max(AT_ONCE, len(held))) if more else ""
            more = bool(chunk)
            if not more:
                raise BadRecord(f"not JSON: the array is broken ({error})") from error
            held, place = held[place:] + chunk, 0
            continue
        yield entry
        place = end


def _text(line: bytes, column: str) -> Found:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return BadRecord(f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return BadRecord(f"not JSON: {error.msg} at character {error.pos}")
    except (ValueError, RecursionError) as error:  # a number or nesting beyond all measure
        return BadRecord(f"not readable as JSON: {error}")
    return _of(record, column)


def _of(record: Any, column: str) -> Found:
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
