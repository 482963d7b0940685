"""Reads files of `torch.save` without torch, and without running anything they ask for.

Two layouts exist. Since torch 1.6 a file is a zip archive, uncompressed: `X/data.pkl` is a pickle
whose persistent ids name storages, `X/data/KEY` are their bytes. Before, it was a row of pickles
(magic number, protocol, facts about the machine, the object, the storages' keys) followed by each
storage: its count as int64, then its bytes. Tensors are views of the mapped file: nothing is
copied, and memory is used only for what is looked at.
"""

import io
import mmap
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import Name, printable
from d2v_jax.interop.pickles import inert
from d2v_jax.interop.pickles.tensors import DTYPES, Storage

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

# What damaged or hostile bytes raise below. The standard library's errors mean nothing to the
# person who holds the file.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a `.pt` or `.pth` file: nested dicts, lists, tuples and scalars, tensors as arrays.

    Arrays are read-only views in the file's dtype (bfloat16 through ml_dtypes); copy what is to
    outlive the file. An `argparse.Namespace` becomes a dict. Raises `UnsafeCheckpoint` when the
    pickle asks for anything but data, `UserError` for a file that is missing, damaged or
    something else.
    """
    path = pathlib.Path(path).expanduser()
    data = _map(path)
    try:
        if data[:4] == b"PK\x03\x04":
            content = _read_zip(path, data)
        elif data[:1] == b"\x80":
            content = _read_legacy(data)
        else:
            raise UserError(_guess(data))
    except inert.UnsafeCheckpoint as error:
        raise inert.UnsafeCheckpoint(
            f"{path}: {error}. Nothing in it was run. Weights need no such thing: get the file "
            "from its publisher, or save it again as torch.save({'model': STATE_DICT, 'cfg': CFG}, "
            "PATH), with the configuration as plain dicts"
        ) from None
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except _BROKEN as error:
        detail = f"{type(error).__name__}: {error}"[:300]
        raise UserError(
            f"{path} is damaged or not a torch checkpoint ({detail}). Fetch it again and compare "
            "its size and checksum with the publisher's"
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not a dict with the model's weights"
        )
    return content


def _map(path: pathlib.Path) -> mmap.mmap:
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give the checkpoint file in it")
        if not path.exists():
            raise UserError(f"there is no file {path}")
        if not path.is_file():
            raise UserError(f"{path} is not a regular file")
        if not path.stat().st_size:
            raise UserError(f"{path} is empty; fetch it again")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _guess(data: mmap.mmap) -> str:
    start = data[:512]
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; run `git lfs pull` where it came from"
    if start.lstrip()[:1] == b"<":
        return "is a web page, not a checkpoint; the download went wrong"
    if start[8:9] == b"{":
        return "looks like a safetensors file, not one of torch.save"
    return "is not a file of torch.save"


def _dtype_and_count(pid: Any, length: int) -> tuple[np.dtype, str, int]:
    """-> (dtype, key, count) of a persistent id ('storage', type, key, device, count, ...)."""
    known = (
        isinstance(pid, tuple)
        and len(pid) == length
        and pid[0] == "storage"
        and isinstance(pid[1], Name)
        and pid[1].module == "torch"
        and pid[1].name in DTYPES
        and isinstance(pid[2], str)
        and type(pid[4]) is int
        and 0 <= pid[4] < 2**63
        and all(extra is None for extra in pid[5:])  # views of storages: gone since torch 0.4
    )
    if not known:
        what = printable(pid[0] if isinstance(pid, tuple) and pid else pid)
        raise inert.UnsafeCheckpoint(f"refused: a persistent id of unknown shape ({what})")
    return DTYPES[pid[1].name], pid[2], pid[4]


def _no_storage(pid: Any) -> Storage:
    raise inert.UnsafeCheckpoint("refused: a persistent id outside the saved object")


# --- zip -------------------------------------------------------------------------------------


def _read_zip(path: pathlib.Path, data: mmap.mmap) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    members = {entry.filename: entry for entry in entries}
    if len(members) != len(entries):
        raise UserError("is a zip archive that holds a name twice")
    pickles = [n for n in members if n.count("/") == 1 and n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UserError(
            f"is a zip archive with {len(pickles)} data.pkl instead of one; not of torch.save"
        )
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in members:
        raise UserError("is a TorchScript program, not a checkpoint of weights")
    order = members.get(f"{root}byteorder")
    if order is not None and bytes(_member(data, order)) != b"little":
        raise UserError("was written on a big-endian machine; save it again on another")
    contents: dict[str, memoryview] = {}

    def storage(pid: Any) -> Storage:
        dtype, key, count = _dtype_and_count(pid, 5)
        if key not in contents:
            entry = members.get(f"{root}data/{key}")
            if entry is None:
                raise UserError(f"is damaged: it lacks storage {printable(key)}; fetch it again")
            contents[key] = _member(data, entry)
        return Storage(key, dtype, count, contents[key])

    return inert.load(io.BytesIO(_member(data, members[pickles[0]])), storage)


def _member(data: mmap.mmap, entry: zipfile.ZipInfo) -> memoryview:
    """The bytes of a member where they lie in the file, checked against their checksum."""
    name = printable(entry.filename)
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise UserError(
            f"holds {name} compressed or encrypted, which torch.save never does; "
            "save it again with torch.save"
        )
    header = data[entry.header_offset : entry.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise UserError(f"is damaged: {name} is not where the archive says; fetch it again")
    begin = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    if begin + entry.file_size > len(data):
        raise UserError(
            f"is damaged: {name} claims {entry.file_size} bytes, more than the file has; "
            "fetch it again"
        )
    content = memoryview(data)[begin : begin + entry.file_size]
    if zlib.crc32(content) != entry.CRC:
        raise UserError(f"is damaged: {name} fails its checksum; fetch it again")
    return content


# --- before torch 1.6 ------------------------------------------------------------------------


def _read_legacy(data: mmap.mmap) -> Any:
    if inert.load(data, _no_storage) != LEGACY_MAGIC:
        raise UserError("is a plain pickle, not a file of torch.save")
    if inert.load(data, _no_storage) != LEGACY_PROTOCOL:
        raise UserError("has an unknown protocol number; save it again with a newer torch")
    machine = inert.load(data, _no_storage)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UserError("was written on a big-endian machine; save it again on another")

    # The pickle comes before the bytes it points into: read it once for the storages' sizes,
    # then again with every storage in its place.
    start = data.tell()
    sizes: dict[str, tuple[np.dtype, int]] = {}

    def measure(pid: Any) -> Storage:
        dtype, key, count = _dtype_and_count(pid, 6)
        if sizes.setdefault(key, (dtype, count)) != (dtype, count):
            raise UserError(f"is damaged: storage {printable(key)} has two sizes; fetch it again")
        return Storage(key, dtype, count, None)

    inert.load(data, measure)
    keys = inert.load(data, _no_storage)
    places = _legacy_places(data, keys, sizes)

    def storage(pid: Any) -> Storage:
        dtype, key, count = _dtype_and_count(pid, 6)
        return Storage(key, dtype, count, places[key])

    data.seek(start)
    return inert.load(data, storage)


def _legacy_places(
    data: mmap.mmap, keys: Any, sizes: Mapping[str, tuple[np.dtype, int]]
) -> dict[str, memoryview]:
    if not isinstance(keys, list) or set(sizes) != {k for k in keys if isinstance(k, str)}:
        raise UserError("is damaged: its storages are not those its tensors use; fetch it again")
    places = {}
    position, whole = data.tell(), memoryview(data)
    for key in keys:
        dtype, count = sizes[key]
        end = position + 8 + count * dtype.itemsize
        if end > len(data):
            raise UserError(
                f"is damaged: storage {printable(key)} needs {end - len(data)} bytes more than the "
                "file has; fetch it again"
            )
        if struct.unpack("<q", whole[position : position + 8]) != (count,):
            raise UserError(f"is damaged: storage {printable(key)} has two sizes; fetch it again")
        places[key] = whole[position + 8 : end]
        position = end
    return places
