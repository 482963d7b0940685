"""Ways to spoil bytes, JSON and folders, as Hypothesis draws them and shrinks them."""

import pathlib
import shutil
from typing import Any

from hypothesis import strategies as st

PLACE = st.integers(0, 2**20)
TELLING = st.sampled_from(  # what lengths, counts and ends are mistaken for
    [b"\0", b"\xff", b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 8]
)
CHANGE = st.one_of(
    st.tuples(st.just("flip"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("set"), PLACE, st.binary(min_size=1, max_size=8) | TELLING),
    st.tuples(st.just("insert"), PLACE, st.binary(min_size=1, max_size=16) | TELLING),
    st.tuples(st.just("cut"), PLACE, st.just(0)),
    st.tuples(st.just("drop"), PLACE, st.integers(1, 64)),
    st.tuples(st.just("repeat"), PLACE, st.integers(1, 64)),
)
CHANGES = st.lists(CHANGE, min_size=1, max_size=6)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30, 1e308, -1e308, float("nan"), float("inf")]),
    st.floats(),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
# Where to (a way down by numbers), what becomes of it, with what.
EDIT = st.tuples(
    st.lists(st.integers(0, 99), min_size=1, max_size=5),
    st.sampled_from(["set", "drop", "add"]),
    VALUES,
)
EDITS = st.lists(EDIT, min_size=1, max_size=3)


def spoilt(data: bytes, changes: list[tuple[str, int, Any]]) -> bytes:
    """`data` with the changes one after the other; places wrap around its length."""
    for kind, place, more in changes:
        if not data:
            break
        at = place % len(data)
        match kind:
            case "flip":
                data = data[:at] + bytes([data[at] ^ 1 << more]) + data[at + 1 :]
            case "set":
                data = data[:at] + more + data[at + len(more) :]
            case "insert":
                data = data[:at] + more + data[at:]
            case "cut":
                data = data[:at]
            case "drop":
                data = data[:at] + data[at + more :]
            case _:
                data = data[:at] + data[at : at + more] * 2 + data[at + more :]
    return data


def edited(content: Any, edits: list[tuple[list[int], str, Any]]) -> Any:
    """JSON with some of its values replaced, left out or joined by others."""
    for way, kind, value in edits:
        content = _edited(content, way, kind, value)
    return content


def _edited(node: Any, way: list[int], kind: str, value: Any) -> Any:
    if not isinstance(node, dict | list) or not node:
        return value
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    key = keys[way[0] % len(keys)]
    copy = dict(node) if isinstance(node, dict) else list(node)
    if len(way) > 1 and isinstance(node[key], dict | list) and node[key]:
        copy[key] = _edited(node[key], way[1:], kind, value)
    elif kind == "set":
        copy[key] = value
    elif kind == "drop":
        copy.pop(key)
    elif isinstance(copy, dict):
        copy[f"{key}x"] = value
    else:
        copy.insert(key, value)
    return copy


# In a folder: which file, what, with which other file, or which changes of its bytes.
ACTION = st.tuples(
    PLACE, st.sampled_from(["bytes", "bytes", "remove", "swap", "empty", "twice"]), PLACE, CHANGES
)
ACTIONS = st.lists(ACTION, min_size=1, max_size=3)


def spoil_folder(folder: pathlib.Path, actions: list[tuple[int, str, int, Any]]) -> None:
    """Changes files of a folder in place."""
    for place, kind, other, changes in actions:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            return
        path, second = files[place % len(files)], files[other % len(files)]
        match kind:
            case "bytes":
                path.write_bytes(spoilt(path.read_bytes(), changes))
            case "remove":
                path.unlink()
            case "empty":
                path.write_bytes(b"")
            case "twice":
                if second != path:
                    shutil.copyfile(path, second)
            case _:
                one, two = path.read_bytes(), second.read_bytes()
                path.write_bytes(two)
                second.write_bytes(one)
