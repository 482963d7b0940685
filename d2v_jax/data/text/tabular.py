"""Texts from one column of tables: comma- or tab-separated values with a line of names."""

import csv
import io
import pathlib
from collections.abc import Iterator

from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores import packed
from d2v_jax.data.text.jsonl import Found, NoColumn


def read(path: pathlib.Path, column: str, separator: str) -> Iterator[tuple[int, Found]]:
    """Row numbers from 1 and what each row has in `column`.

    Tab-separated values have no quotes. Raises `BadRecord` where the file cannot be read any
    further.
    """
    quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    csv.field_size_limit(1 << 30)
    try:
        with (
            packed.opened(path) as file,
            io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text,
        ):
            rows = csv.reader(text, delimiter=separator, quoting=quoting)
            names = next(rows, [])
            if column not in names:
                raise NoColumn(column, names)
            place = names.index(column)
            for number, row in enumerate(rows, 1):
                if len(row) > place:
                    yield number, row[place]
                elif row:
                    yield number, BadRecord(f"{len(row)} of {len(names)} columns")
    except UnicodeDecodeError as error:
        raise BadRecord(f"not UTF-8: {error.reason}") from error
    except csv.Error as error:
        raise BadRecord(f"not a table: {error}") from error
