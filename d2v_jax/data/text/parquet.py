"""Texts from one column of Parquet files, without reading the others."""

import pathlib
from collections.abc import Iterator

from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.folder import open_regular
from d2v_jax.data.text.jsonl import Found, NoColumn

SUFFIXES = (".parquet",)
AT_ONCE = 1024  # rows


def read(path: pathlib.Path, column: str) -> Iterator[tuple[int, Found]]:
    """Row numbers from 1 and what each row has in `column`; one row group after the other.

    Raises `BadRecord` where the file cannot be read any further.
    """
    # Late: importing pyarrow takes a while, and not everybody needs it.
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # The file, not its path: pyarrow takes none that is not UTF-8.
        with (
            open_regular(path) as stored,
            parquet.ParquetFile(stored, buffer_size=1 << 20) as file,
        ):
            _check_column(file.schema_arrow, column)
            row = 0
            # Threads would read ahead whole row groups, which may be of any size.
            for batch in file.iter_batches(AT_ONCE, columns=[column], use_threads=False):
                for text in _bytes_of(batch.column(0)):
                    row += 1
                    yield row, _decoded(text, column)
    except UnicodeDecodeError as error:  # of pyarrow; what stands in rows is decoded below
        name = ascii(error.object)[2:-1][:80]
        raise BadRecord(f"not readable as Parquet: a name in it is not UTF-8: {name}") from error
    except pa.ArrowException as error:
        raise BadRecord(f"not readable as Parquet: {_line(error)}") from error
    except OSError as error:
        raise BadRecord(error.strerror or _line(error)) from error


def _check_column(schema, column: str) -> None:
    from pyarrow import types

    if column not in schema.names:
        raise NoColumn(column, schema.names)
    kind = schema.field(column).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    checks = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
    )
    if not any(check(kind) for check in checks):
        raise BadRecord(f"column {column!r} holds {kind}, not text")


def _bytes_of(column) -> list[bytes | None]:
    """Values as they are stored: strings need not be UTF-8."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_binary()).to_pylist()


def _decoded(text: bytes | None, column: str) -> Found:
    if text is None:
        return BadRecord(f"column {column!r} is null")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        return BadRecord(f"not UTF-8: {error.reason} at byte {error.start}")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
