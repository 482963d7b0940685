"""docs/files.md, from the tables that reading goes by: `python -m d2v_jax.data.files_page`."""

import sys

from d2v_jax.data.audio.recordings import SOUNDS
from d2v_jax.data.image.pictures import IMAGES
from d2v_jax.data.stores.folder import SPECIAL, Kind
from d2v_jax.data.text.textfiles import TABLES, TEXTS

TITLE = "# Files we read, and what happens with the others"


def page() -> str:
    """The page in Markdown."""
    parts = [
        TITLE,
        "Written by `python -m d2v_jax.data.files_page`; `d2v data inspect` shows it of yours.",
        *(_section(kind) for kind in (SOUNDS, IMAGES, TEXTS)),
        f"A single file of text may also end in {_listed(TABLES)}: `data.column` names the column. "
        "What a text is packed with, and UTF-16 and UTF-32 with a mark in front, is told by its "
        "first bytes. Plain text that holds JSON records is refused.",
        "## Everything else",
        "Files of other suffixes are passed over and counted by suffix, at the start of a run and "
        "in `d2v data inspect`. Hidden files are not looked at. Left out by name, never opened: "
        f"{', '.join(dict.fromkeys(what for _, what in SPECIAL))}, links that lead nowhere or in a "
        "circle, folders that cannot be listed. A name that is not UTF-8 is written escaped, as "
        "`caf\\xe9.wav`; run folders, prepared data and ArrayRecord files cannot lie below one. "
        "Pictures of more than `data.most_pixels` are left out. Long recordings and parts of them "
        "are read where they lie, block by block. A packed text that is cut off gives the records "
        "before the cut (JSON lines), or none (plain text); either is named.",
    ]
    return "\n\n".join(parts) + "\n"


def _section(kind: Kind) -> str:
    lines = [f"## {kind.noun.capitalize()}s", f"Read: {_listed(kind.suffixes)}."]
    if kind.second:
        lines.append(f"Read where a folder holds none of these: {_listed(kind.second)}.")
    for remedy in dict.fromkeys(kind.unread.values()):
        own = [suffix for suffix, what in kind.unread.items() if what == remedy]
        lines.append(f"Not read: {_listed(own)}; {remedy}.")
    return "\n\n".join(lines)


def _listed(suffixes) -> str:
    return ", ".join(f"`{suffix}`" for suffix in suffixes)


if __name__ == "__main__":
    sys.stdout.write(page())
