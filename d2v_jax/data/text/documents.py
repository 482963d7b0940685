"""What texts are made of, and a source of them."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Document:
    """Lines (sentences or paragraphs) that belong together; none is empty.

    A document too long to be held at once comes in parts of the same name, all but the last with
    `more`.
    """

    name: str
    lines: tuple[str, ...]
    label: int | None = None
    more: bool = False


def whole(parts: Iterable[Document]) -> Iterator[Document]:
    """Documents of `parts`, each in one."""
    held: list[str] = []
    for part in parts:
        held.extend(part.lines)
        if not part.more:
            yield dataclasses.replace(part, lines=tuple(held))
            held = []


class Texts(Protocol):
    """A source of documents. Attributes:

    class_names: of the documents' labels.
    faults: reasons by name, of what `documents` could not read.
    fingerprint: equal when the documents are, as far as names and sizes tell.
    """

    class_names: tuple[str, ...] | None
    fingerprint: str

    @property
    def faults(self) -> Mapping[str, str]: ...

    def documents(self) -> Iterable[Document]:
        """All that is readable, long ones in parts; warns of the rest."""
        ...

    def check_faults(self, max_share: float) -> None:
        """Raises `UserError` when more than this share of files or records is unreadable."""
        ...
