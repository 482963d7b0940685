"""Pickles put together from opcodes and names, most of them nonsense, some of them hostile."""

import struct

from hypothesis import strategies as st

from d2v_jax.interop.allowed import BUILDERS

NAMES = [(name.module, name.name) for name in BUILDERS] + [
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("subprocess", "Popen"),
    ("pathlib", "PosixPath"),
    ("pathlib", "Path.unlink"),
    ("datetime", "timedelta"),
    ("collections", "Counter"),
    ("collections", "OrderedDict.fromkeys"),
    ("omegaconf.dictconfig", "DictConfig"),
    ("numpy", "load"),
    ("mine", "__reduce__"),
]


def _word(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


BARE = st.sampled_from([bytes([code]) for code in b"()]}.0124NRQatubseodlpT\x81\x85\x86\x87\x88"])
MORE = st.sampled_from([bytes([code]) for code in b"\x8f\x90\x91\x92\x93\x94\x89\x97"])
WORDS = st.sampled_from(["", "a", "model", "cfg", "__class__", "storage", "0", "cpu", "latin1"])
OPCODES = st.one_of(
    BARE,
    BARE,
    MORE,
    st.sampled_from(NAMES).map(lambda pair: f"c{pair[0]}\n{pair[1]}\n".encode()),
    st.sampled_from(NAMES).map(lambda pair: f"c{pair[0]}\n{pair[1]}\n".encode() + b")R"),
    st.sampled_from(NAMES).map(lambda pair: _word(pair[0]) + _word(pair[1]) + b"\x93"),
    (WORDS | st.text(max_size=4)).map(_word),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: b"J" + struct.pack("<i", n)),
    st.integers(0, 255).map(lambda n: b"K" + bytes([n])),
    st.integers(0, 5).map(lambda n: b"h" + bytes([n])),
    st.integers(0, 5).map(lambda n: b"q" + bytes([n])),
    st.floats().map(lambda x: b"G" + struct.pack(">d", x)),
    st.binary(max_size=6).map(lambda data: b"C" + bytes([len(data)]) + data),
    st.binary(max_size=3),
)
PROGRAMS = st.lists(OPCODES, max_size=25).map(b"".join)
