"""Files of text as UTF-8, whatever they are packed with and however they are encoded."""

import bz2
import codecs
import contextlib
import gzip
import io
import json
import lzma
import pathlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from d2v_jax.data import formats
from d2v_jax.data.records import BadRecord

AT_ONCE = 1 << 20  # bytes held at once
MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Recoded(io.RawIOBase):
    """What a binary `file` holds in another encoding, as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str):
        self._file, self._decoder = file, codecs.getincrementaldecoder(encoding)()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._ready:
            data = self._file.read(1 << 16)
            self._ready = self._decoder.decode(data, final=not data).encode()
            if not data:
                break
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[BinaryIO]:
    """The file's text as bytes of UTF-8 (a mark in front stays). By its first bytes, not its name.

    Raises `BadRecord` for what cannot be opened or read, and what is no text, with what it is.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            kind = formats.what_is(_head(file))
            if kind in ("gzip", "bzip2", "xz", "Zstandard"):
                file = stack.enter_context(_unpacked(path, kind))
                kind = formats.what_is(_head(file))
            if kind not in (None, "XML", "HTML", "SVG"):
                raise BadRecord(f"not text: it is {kind}")
            head = file.peek(4)[:4]
            encoding = next((name for mark, name in MARKS if head.startswith(mark)), None)
            yield io.BufferedReader(Recoded(file, encoding)) if encoding else file
    except UnicodeDecodeError as error:
        raise BadRecord(f"not {error.encoding.upper()}: {error.reason}") from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise BadRecord(f"damaged: {error}") from error
    except OSError as error:  # pyarrow's have no number
        raise BadRecord(error.strerror or f"damaged: {error}") from error


def _head(file: BinaryIO) -> bytes:
    return file.peek(formats.HEAD)[: formats.HEAD]


def _unpacked(path: pathlib.Path, kind: str) -> BinaryIO:
    if kind != "Zstandard":
        openers = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
        return io.BufferedReader(openers[kind](path, "rb"))
    import pyarrow as pa  # late: importing it takes a while

    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(open(path, "rb"), "r"), "zstd"))


def check_text(path: pathlib.Path) -> None:
    """Raises `BadRecord` unless all of a file is plain text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0  # bytes decoded
    with opened(path) as file:
        if _is_json(file.peek(1 << 13)):
            raise BadRecord("it holds JSON records, not plain text: name it .jsonl or .json")
        try:
            while True:
                chunk = file.read(AT_ONCE)
                if b"\0" in chunk:
                    raise BadRecord("not text: it holds NUL bytes (UTF-16 without a mark?)")
                waiting = len(decoder.getstate()[0])
                decoder.decode(chunk, final=not chunk)
                done += len(chunk)
                if not chunk:
                    return
        except UnicodeDecodeError as error:
            place = done - waiting + error.start
            raise BadRecord(f"not UTF-8: {error.reason} at byte {place}") from error


def _is_json(head: bytes) -> bool:
    """Whether the first line is a record, or the beginning of a list of them."""
    lines = head.removeprefix(codecs.BOM_UTF8).split(b"\n")
    first = next((line.strip() for line in lines if line.strip()), b"")
    if first == b"[":
        second = [line.strip() for line in lines if line.strip()][1:2]
        return bool(second) and second[0].startswith(b"{")
    try:
        found = json.loads(first)
    except (ValueError, RecursionError):
        return first.startswith((b'{"', b'[{"'))
    return isinstance(found[0] if isinstance(found, list) and found else found, dict)


def lines(path: pathlib.Path) -> Iterator[str]:
    """Of what `check_text` has seen."""
    try:
        with opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
            yield from text
    except UnicodeDecodeError as error:
        raise BadRecord(f"it changed while it was read: {error}") from error
