"""Names as they can be written, paths as people write them, and the lines of a text."""

import codecs
import os
import pathlib
import re

# Bytes that are no UTF-8 (Python keeps them as lone surrogates), and what would break a line.
UNWRITABLE = re.compile("[\ud800-\udfff\x00-\x1f\x7f\x85\u2028\u2029]")


def writable(name: str) -> str:
    r"""`name` with what no file or screen can show escaped: "caf\xe9.wav", "two\x0alines.wav"."""
    return UNWRITABLE.sub(_escaped, name)


def _escaped(found: re.Match) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # the byte that it stands for
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What an alphabet does not have, by its number; a byte of a name as `writable` has it."""
    words, end = codecs.backslashreplace_errors(error)
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", words), end


ESCAPED = "d2v.escaped"  # the `errors` of whatever writes what people see
codecs.register_error(ESCAPED, _escape)


def place(written: str | os.PathLike) -> pathlib.Path:
    """The path that somebody wrote: `~` is a home folder, also where the shell left it alone."""
    return pathlib.Path(os.path.expanduser(written))


def lines_of(text: str) -> list[str]:
    """Lines end with line feeds, carriage returns or both, as in files; nothing else ends one."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]
