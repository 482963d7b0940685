"""Pickles that would run something: refused by name, and nothing runs.

Where the standard reader would run a payload, the test lets it, to know that the payload is real.
"""

import copyreg
import os
import pathlib
import pickle
import struct

import numpy as np
import pytest
import torch_files
from torch_files import Ops, legacy_file, name, text, zip_file

from d2v_jax.common.checks import UserError
from d2v_jax.interop.pickles.inert import UnsafeCheckpoint
from d2v_jax.interop.pickles.torch_pickle import read

MARKER = "touch-me-not"  # what a payload would create in the current folder
TOUCH = text(f"touch {MARKER}")
OPEN = text(f"open({MARKER!r}, 'w').close()")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def short(word: str) -> bytes:
    """A protocol-4 string."""
    return b"\x8c" + struct.pack("<B", len(word)) + word.encode()


class Evil:
    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


def body(value, protocol) -> bytes:
    """The opcodes of a real pickle, without PROTO, FRAME and STOP."""
    whole = pickle.dumps(value, protocol)[2:-1]
    return whole[9:] if whole[:1] == b"\x95" else whole


# payload -> what the refusal must name. Each leaves one object on the stack.
RUNS = {
    "global": (name("os", "system") + TOUCH + b"\x85R", r"asks for os\.system"),
    "posix": (name("posix", "system") + TOUCH + b"\x85R", r"asks for posix\.system"),
    "eval": (name("builtins", "eval") + OPEN + b"\x85R", r"asks for builtins\.eval"),
    "exec": (name("builtins", "exec") + OPEN + b"\x85R", r"asks for builtins\.exec"),
    "python 2": (name("__builtin__", "eval") + OPEN + b"\x85R", r"asks for __builtin__\.eval"),
    "subprocess": (
        name("subprocess", "call") + b"](" + text("touch") + text(MARKER) + b"e\x85R",
        r"asks for subprocess\.call",
    ),
    "popen": (
        name("subprocess", "Popen") + b"](" + text("touch") + text(MARKER) + b"e\x85R",
        r"asks for subprocess\.Popen",
    ),
    "new object": (
        name("subprocess", "Popen") + b"](" + text("touch") + text(MARKER) + b"e\x85\x81",
        r"asks for subprocess\.Popen",
    ),
    "getattr chain": (
        name("builtins", "getattr")
        + name("builtins", "__import__")
        + text("os")
        + b"\x85R"
        + text("system")
        + b"\x86R"
        + TOUCH
        + b"\x85R",
        r"asks for builtins\.getattr",
    ),
    "runpy": (name("code", "InteractiveInterpreter") + b")R", r"asks for code\.Interactive"),
    "map": (name("builtins", "map") + name("os", "system") + TOUCH + b"\x85\x86R", "builtins"),
    "stack global": (short("os") + short("system") + b"\x93" + TOUCH + b"\x85R", r"os\.system"),
    "from the memo": (
        b"(" + short("system") + b"\x94" + short("os") + b"\x941h\x01h\x00\x93" + TOUCH + b"\x85R",
        r"os\.system",
    ),
    "dotted": (
        short("collections") + short("OrderedDict.fromkeys") + b"\x93](e\x85R",
        r"collections\.OrderedDict\.fromkeys",
    ),
    "globals of ours": (
        short("collections") + short("OrderedDict.__init__.__globals__") + b"\x93",
        r"OrderedDict\.__init__\.__globals__",
    ),
    "inst": (b"(" + TOUCH + b"ios\nsystem\n", r"asks for os\.system \(opcode INST\)"),
    "obj": (b"(" + name("subprocess", "Popen") + text("true") + b"o", r"subprocess\.Popen"),
    "obj of ours": (b"(" + name("collections", "OrderedDict") + b"o", "uses opcode OBJ"),
    "new object ex": (
        name("collections", "OrderedDict") + b")}\x92",
        "uses opcode NEWOBJ_EX",
    ),
    "reconstructor": (
        name("copy_reg", "_reconstructor") + b"(" + name("os", "system") + b"NNtR",
        r"asks for copy_reg\._reconstructor",
    ),
    "nested load": (
        name("torch.storage", "_load_from_bytes") + TOUCH + b"\x85R",
        r"asks for torch\.storage\._load_from_bytes",
    ),
    "torch.load": (name("torch", "load") + TOUCH + b"\x85R", r"asks for torch\.load"),
    "other type": (
        name("torch._tensor", "_rebuild_from_type_v2") + b")R",
        r"torch\._tensor\._rebuild_from_type_v2",
    ),
    "encode elsewhere": (name("codecs", "encode") + b")R", r"asks for codecs\.encode"),
    "numpy reader": (name("numpy", "load") + b")R", r"asks for numpy\.load"),
    "call a class": (name("builtins", "dict") + b")R", r"calls builtins\.dict"),
    "call an array": (name("numpy", "ndarray") + b")R", r"calls numpy\.ndarray"),
    "state of a tensor's class": (
        name("numpy", "ndarray") + b"}b",
        r"attributes of numpy\.ndarray",
    ),
    "call a storage": (name("torch", "FloatStorage") + b")R", r"calls torch\.FloatStorage"),
    "call a string": (text("os.system") + b")R", "calls a str"),
    "call a result": (name("collections", "OrderedDict") + b")R)R", "calls a dict"),
    "class of a namespace": (
        name("argparse", "Namespace") + b")\x81}" + text("__class__") + text("x") + b"sb",
        "sets attribute __class__",
    ),
    "dunder of a namespace": (
        name("argparse", "Namespace") + b")R}" + text("__reduce__") + text("x") + b"sb",
        "sets attribute __reduce__",
    ),
    "dunder of a dict": (
        name("collections", "OrderedDict") + b")R}" + text("__class__") + text("x") + b"sb",
        "sets attribute __class__",
    ),
    "field that is no name": (
        name("argparse", "Namespace") + b")R}K\x01K\x02sb",
        "sets attribute a int",
    ),
    "slots": (
        name("argparse", "Namespace") + b")RN}" + text("update") + text("x") + b"s\x86b",
        "from a tuple",
    ),
    "defaults of our function": (
        name("torch._utils", "_rebuild_tensor_v2") + b"N}" + text("__defaults__") + b")s\x86b",
        r"sets attributes of torch\._utils\._rebuild_tensor_v2",
    ),
    "attributes of our class": (
        name("collections", "OrderedDict") + b"}" + text("update") + text("x") + b"sb",
        r"sets attributes of collections\.OrderedDict",
    ),
    "state of a list": (b"]}b", "sets attributes of a list"),
    "persistent text": (b"Pos.system\n", "opcode PERSID"),
    "persistent string": (text("os.system") + b"Q", r"unknown shape \(os\.system\)"),
    "persistent module": (
        b"(" + text("module") + name("collections", "OrderedDict") + b"NNtQ",
        r"unknown shape \(module\)",
    ),
    "persistent type": (
        b"(" + text("storage") + text("FloatStorage") + text("0") + text("cpu") + b"K\x01tQ",
        "unknown shape",
    ),
    "buffers": (b"\x97", "opcode NEXT_BUFFER"),
}

REALLY_RUN = (
    "global",
    "posix",
    "eval",
    "exec",
    "subprocess",
    "popen",
    "getattr chain",
    "stack global",
    "from the memo",
    "inst",
)


def refused(path: pathlib.Path, words: str) -> None:
    with pytest.raises(UnsafeCheckpoint, match=words) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: refused: ") and "\n" not in message
    assert "Nothing in it was run" in message
    assert not os.path.exists(MARKER)


@pytest.mark.parametrize("case", RUNS)
def test_refused_by_name(tmp_path, case):
    code, words = RUNS[case]
    legacy = legacy_file(tmp_path / "legacy.pt", {"model": [Ops(code)]})
    refused(zip_file(tmp_path / "f.pt", {"model": [Ops(code)]}), words)
    refused(legacy, words)
    bare = tmp_path / "bare.pt"  # hostile before the magic number
    bare.write_bytes(b"\x80\x04" + code + b".")
    with pytest.raises(UserError):
        read(bare)
    assert not os.path.exists(MARKER)


@pytest.mark.parametrize("case", REALLY_RUN)
def test_the_payloads_are_real(case):
    got = pickle.loads(b"\x80\x04" + RUNS[case][0] + b".")
    if case == "popen":
        got.wait()
    assert os.path.exists(MARKER)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.system, eval, exec, print, os.remove])
def test_reduce_of_real_pickles(tmp_path, protocol, function):
    if protocol < 2:  # the first opcode is GLOBAL
        code = pickle.dumps(Evil(function, MARKER), protocol)[:-1]
    else:
        code = body(Evil(function, MARKER), protocol)
    refused(zip_file(tmp_path / "f.pt", {"x": Ops(code)}), rf"asks for \w+\.{function.__name__}")


@pytest.mark.parametrize("opcode", [b"\x82\xf0", b"\x83\xf0\0", b"\x84\xf0\0\0\0"])
def test_extension_registry(tmp_path, opcode):
    copyreg.add_extension("posix", "system", 0xF0)
    try:
        refused(zip_file(tmp_path / "f.pt", {"x": Ops(opcode + TOUCH + b"\x85R")}), "entry 240 of")
        pickle.loads(b"\x80\x04" + opcode + TOUCH + b"\x85R.")
        assert os.path.exists(MARKER)
    finally:
        copyreg.remove_extension("posix", "system", 0xF0)
        copyreg.clear_extension_cache()


def test_hostile_in_every_row_of_a_legacy_file(tmp_path):
    evil = Ops(name("os", "system") + TOUCH + b"\x85R")
    refused(legacy_file(tmp_path / "facts.pt", {"x": 1}, facts=evil), r"os\.system")
    whole = legacy_file(tmp_path / "keys.pt", {"x": 1}).read_bytes()
    keys = torch_files.Writer().pickle([])
    assert whole.endswith(keys)
    hostile = whole.removesuffix(keys) + torch_files.Writer().pickle([evil])
    (tmp_path / "keys.pt").write_bytes(hostile)
    refused(tmp_path / "keys.pt", r"os\.system")


def test_names_are_shown_without_terminal_codes(tmp_path):
    code = name("os\x1b[2J", "system" + "m" * 5000)
    with pytest.raises(UnsafeCheckpoint) as error:
        read(zip_file(tmp_path / "f.pt", {"x": Ops(code)}))
    assert "\x1b" not in str(error.value) and len(str(error.value)) < 500


def test_our_own_names_stay_inert(tmp_path):
    """Allowed names that nobody calls are records, and calling the machine leaves no trace."""
    names = [("collections", "OrderedDict"), ("argparse", "Namespace"), ("torch", "FloatStorage")]
    ops = [Ops(name(*pair)) for pair in names]
    got = read(zip_file(tmp_path / "f.pt", {"x": [*ops, np.zeros(2, np.float32)]}))
    assert not any(callable(value) for value in got["x"])
