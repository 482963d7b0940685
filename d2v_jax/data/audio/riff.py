"""Wav files whose header counts wrongly: the samples are there, whatever the header says.

A recorder that was killed leaves sizes of 0 or of the last time it wrote them; others count the
header too, forget the odd byte behind a chunk, or write to a pipe and cannot know. RIFF, RIFX,
RF64, BW64 and Sony's W64 are read (EBU Tech 3306, Sony Wave64).
"""

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

from d2v_jax.data.records import BadRecord

Bytes = bytes | memoryview

STREAM = 0x7FFF_0000  # programs that pipe wav write such sizes or larger ones
OPEN = 0xFFFF_FFFF  # "see the ds64 chunk", or not known
IDS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
UNFINISHED = "the header was never finished"


class Found(NamedTuple):
    """Samples from byte `start` on, `size` bytes, in the format of the fmt chunk."""

    order: str  # "<" or ">"
    fmt: bytes
    start: int
    size: int


class _Chunk(NamedTuple):
    name: bytes
    start: int  # of its contents
    size: int


def mended(data: bytes, found: Found) -> bytes:
    """A wav file of the same samples."""
    return _head(found) + data[found.start : found.start + found.size]


def _head(found: Found) -> bytes:
    riff = b"RIFF" if found.order == "<" else b"RIFX"
    size = min(20 + len(found.fmt) + found.size, OPEN)
    head = riff + struct.pack(found.order + "I", size) + b"WAVEfmt "
    head += struct.pack(found.order + "I", len(found.fmt)) + found.fmt
    return head + b"data" + struct.pack(found.order + "I", min(found.size, OPEN))


class Mended(io.RawIOBase):
    """`mended` of an open file, which is read as it is asked for."""

    def __init__(self, file: io.RawIOBase, found: Found):
        self._file, self._found, self._head, self._at = file, found, _head(found), 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = (0, self._at, len(self._head) + self._found.size)[whence]
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        inside = self._at - len(self._head)
        if inside < 0:
            part = self._head[self._at : self._at + len(buffer)]
        else:
            self._file.seek(self._found.start + inside)
            part = self._file.read(max(min(len(buffer), self._found.size - inside), 0)) or b""
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def look(data: Bytes) -> Found | None:
    """Where the samples really are; None where the header says so, or for no wav file.

    Raises `BadRecord` where samples are missing.
    """
    if data[:16] == W64:
        return _looked(data, "<", _w64_chunks(data))
    if data[:4] in IDS:
        order = ">" if data[:4] == b"RIFX" else "<"
        return _looked(data, order, _chunks(data, order))
    if len(data) > 12 and not any(data[:64]):
        raise BadRecord(f"{UNFINISHED}: the file begins with zeros")
    return None


def _looked(data: Bytes, order: str, chunks: Iterator[_Chunk]) -> Found | None:
    fmt, large, misplaced, expected = b"", None, False, None
    for name, start, size in chunks:
        misplaced |= expected is not None and start != expected
        if name == b"ds64" and size >= 16:
            large = struct.unpack_from("<Q", data, start + 8)[0]
        elif name == b"fmt ":
            fmt = bytes(data[start : start + size])
        elif name == b"data":
            break
        expected = start + size + size % 2 + 8 if data[:16] != W64 else None
    else:
        if data[:4] in IDS and data[8:12] not in (b"WAVE", b""):
            return None  # a picture or a film
        raise BadRecord(f"{UNFINISHED}: no samples follow it")
    if len(fmt) < 16:
        raise BadRecord(f"{UNFINISHED}: it does not say how samples are stored")
    if size == OPEN and large is not None:
        size = large
    rest, right = len(data) - start, size
    if size > rest:
        if not (size >= STREAM and large in (None, 0)) and not _counts_header(data, start, size):
            raise BadRecord(f"truncated: {rest} of {size} bytes of samples")
        if size >= STREAM and large is None and not misplaced:
            return None  # a stream, which the decoder reads to its end
        right = rest
    elif size < rest and _left_behind(data, order, start, size):
        right = rest
    whole = struct.unpack_from(order + "I", data, 4)[0] + 8
    cut = data[:4] in (b"RIFF", b"RIFX") and len(data) + 1 < whole < STREAM
    if right == size and not misplaced and not cut and data[:4] != b"BW64":
        return None
    return Found(order, fmt, start, right)


def _counts_header(data: Bytes, start: int, size: int) -> bool:
    """Whether the size of the samples is rather that of the file, or of what follows the id."""
    return size in (len(data), len(data) - 8, len(data) - start + 8) and start <= 4096


def _left_behind(data: Bytes, order: str, start: int, size: int) -> bool:
    """Whether what follows the samples are more samples: no chunks, and within the file's size."""
    at, end = start + size, len(data)
    if data[:16] == W64:
        return size == 0
    whole = struct.unpack_from(order + "I", data, 4)[0] + 8
    if size and start + size <= whole < end - 1 and whole - (start + size) <= 1:
        return False  # both sizes agree: what follows is no part of the recording
    for first in {at, at + size % 2}:
        while first + 8 <= end and _is_name(data[first : first + 4]):
            length = struct.unpack_from(order + "I", data, first + 4)[0]
            first += 8 + length + length % 2
        if first in (end, end + 1):
            return False
    tail = data[at : at + 4]
    if size and (tail[:3] in (b"TAG", b"ID3") or end - at < 8 or _is_name(tail)):
        return False  # tags, or the last chunk cut off
    return bool(size == 0 or any(data[at : at + 4096]))


def _chunks(data: Bytes, order: str) -> Iterator[_Chunk]:
    at = 12
    while at + 8 <= len(data):
        name = bytes(data[at : at + 4])
        size = struct.unpack_from(order + "I", data, at + 4)[0]
        yield _Chunk(name, at + 8, size)
        at += 8 + size
        if size % 2 and not (_is_name(data[at : at + 4]) and not _is_name(data[at + 1 : at + 5])):
            at += 1


def _w64_chunks(data: Bytes) -> Iterator[_Chunk]:
    at = 40
    while at + 24 <= len(data):
        size = struct.unpack_from("<Q", data, at + 16)[0]
        yield _Chunk(bytes(data[at : at + 4]), at + 24, max(size - 24, 0))
        at += max(size + -size % 8, 24)


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= letter < 127 for letter in name)
