"""builtin:python-docs: the documentation that ships inside CPython, no download.

Its help topics, then the docstrings of the standard library's public modules, read from their
sources: importing them would open windows, browsers and worse. What it holds follows the Python
version; its fingerprint tells.
"""

import ast
import functools
import pathlib
import re
import sys
import sysconfig
from collections.abc import Iterator
from pydoc_data import topics

from d2v_jax.common.checks import UserError
from d2v_jax.data.records import fingerprint_of
from d2v_jax.data.text.documents import Document

# Programs, tables and tests that happen to lie in the library.
NOT_DOCUMENTATION = frozenset(
    {
        "antigravity",
        "distutils",
        "encodings",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "this",
        "turtledemo",
        "venv",
    }
)
TESTS = frozenset({"test", "tests"})


class PythonDocs:
    """`documents` as a source of texts."""

    def __init__(self) -> None:
        """Raises `UserError` where the sources are missing."""
        self.class_names = tuple(document.name for document in documents())
        self.faults: dict[str, str] = {}
        self.fingerprint = fingerprint_of(("python-docs", documents()))

    def documents(self) -> tuple[Document, ...]:
        """All of them."""
        return documents()

    def check_faults(self, max_share: float) -> None:
        """There are none."""


@functools.cache  # parsing takes seconds
def documents() -> tuple[Document, ...]:
    """One document per topic and per module, each a class of its own.

    A line is a paragraph, with single spaces. Raises `UserError` where the sources are missing.
    """
    texts = [(f"topic {name}", [text]) for name, text in sorted(topics.topics.items())]
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    modules = [(name, list(_docstrings(path))) for name, path in _public_modules(library)]
    if not modules:
        raise UserError(
            f"builtin:python-docs: this Python keeps no sources of its library in {library}; "
            "use one that does, or give a folder of .txt files"
        )
    found = [(name, tuple(_paragraphs(parts))) for name, parts in texts + modules]
    found = [(name, lines) for name, lines in found if lines]
    return tuple(Document(name, lines, label) for label, (name, lines) in enumerate(found))


def _public_modules(library: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Dotted names and files of modules without underscore, in the order of names."""
    found = {}
    for top in sys.stdlib_module_names - NOT_DOCUMENTATION:
        for path in (library / f"{top}.py", *(library / top).rglob("*.py")):
            parts = path.relative_to(library).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            hidden = any(part.startswith("_") or part in TESTS for part in parts)
            if not hidden and path.is_file():
                found[".".join(parts)] = path
    return sorted(found.items())


def _docstrings(path: pathlib.Path) -> Iterator[str]:
    """Docstrings of a module and of its public classes, functions and methods, in order."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # templates and damaged installations
        return
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if getattr(node, "name", "").startswith("_"):
                continue
            text = ast.get_docstring(node)
            if text:
                yield text
        if isinstance(node, ast.Module | ast.ClassDef | ast.If | ast.Try):
            pending.extend(reversed(list(ast.iter_child_nodes(node))))


def _paragraphs(texts: list[str]) -> Iterator[str]:
    for text in texts:
        for paragraph in re.split(r"\n\s*\n", text):
            line = " ".join(paragraph.split())
            if any(character.isalnum() for character in line):  # not a rule of dashes
                yield line
