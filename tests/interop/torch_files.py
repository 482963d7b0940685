"""Writes files as torch.save does, by hand, so that the tests need no torch."""

import argparse
import dataclasses
import pathlib
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

STORAGES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.int16): "ShortStorage",
    np.dtype(np.int8): "CharStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(np.bool_): "BoolStorage",
}


@dataclasses.dataclass(frozen=True)
class View:
    """A tensor as its file describes it; `claimed` is the storage's count in the pickle."""

    storage: np.ndarray
    offset: Any
    shape: Any
    strides: Any
    claimed: Any = None


@dataclasses.dataclass(frozen=True)
class Ops:
    """Opcodes to put in as they are."""

    code: bytes


def text(value: str) -> bytes:
    """A string's opcodes."""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def name(module: str, attribute: str) -> bytes:
    """A global's opcodes."""
    return f"c{module}\n{attribute}\n".encode()


class Writer:
    """Turns a value into opcodes and remembers the storages it met."""

    def __init__(self, legacy: bool = False) -> None:
        self.legacy = legacy
        self.storages: list[np.ndarray] = []

    def pickle(self, value: Any) -> bytes:
        """A whole pickle, protocol 2."""
        return b"\x80\x02" + self.ops(value) + b"."

    def ops(self, value: Any) -> bytes:
        """The opcodes that leave `value` on the stack."""
        match value:
            case Ops():
                return value.code
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int() if -(2**31) <= value < 2**31:
                return b"J" + struct.pack("<i", value)
            case int():
                return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                return text(value)
            case tuple():
                return b"(" + b"".join(map(self.ops, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.ops, value)) + b"e"
            case argparse.Namespace():
                return name("argparse", "Namespace") + b")\x81" + self.ops(vars(value)) + b"b"
            case Mapping():
                items = b"".join(self.ops(k) + self.ops(v) for k, v in value.items())
                return b"}(" + items + b"u"
            case np.ndarray():
                strides = tuple(s // value.itemsize for s in value.strides)
                flat = np.lib.stride_tricks.as_strided(value, (value.size,), (value.itemsize,))
                return self.ops(View(flat, 0, value.shape, strides))
            case View():
                return self.tensor(value)
        raise TypeError(type(value))

    def tensor(self, view: View) -> bytes:
        """A tensor and the persistent id of its storage."""
        keys = [k for k, s in enumerate(self.storages) if s is view.storage]
        if not keys:
            self.storages.append(view.storage)
            keys = [len(self.storages) - 1]
        claimed = view.storage.size if view.claimed is None else view.claimed
        kind = Ops(name("torch", STORAGES[view.storage.dtype]))
        pid = ("storage", kind, str(keys[0]), "cpu", claimed)
        pid = (*pid, None) if self.legacy else pid
        arguments = b"(" + self.ops(pid) + b"Q"
        arguments += b"".join(map(self.ops, (view.offset, view.shape, view.strides, False)))
        arguments += name("collections", "OrderedDict") + b")Rt"
        return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def zip_file(
    path: pathlib.Path,
    value: Any = None,
    pickled: bytes | None = None,
    replace: Mapping[str, bytes] | None = None,
    without: tuple[str, ...] = (),
    compression: int = zipfile.ZIP_STORED,
) -> pathlib.Path:
    """The layout since torch 1.6. `replace` sets members, `without` leaves some out."""
    writer = Writer()
    members = {"x/data.pkl": writer.pickle(value) if pickled is None else pickled}
    members |= {"x/byteorder": b"little", "x/version": b"3\n"}
    members |= {f"x/data/{k}": s.tobytes() for k, s in enumerate(writer.storages)}
    members |= dict(replace or {})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member, content in members.items():
            if member not in without:
                archive.writestr(member, content)
    return path


def legacy_file(path: pathlib.Path, value: Any, facts: Any = None) -> pathlib.Path:
    """The layout before torch 1.6."""
    writer = Writer(legacy=True)
    facts = {"protocol_version": 1001, "little_endian": True} if facts is None else facts
    rows = [0x1950A86A20F9469CFC6C, 1001, facts, value]
    content = b"".join(map(writer.pickle, rows))
    content += writer.pickle([str(k) for k in range(len(writer.storages))])
    for storage in writer.storages:
        content += struct.pack("<q", storage.size) + storage.tobytes()
    path.write_bytes(content)
    return path
