"""LibriSpeech's own tree: SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac and transcripts.

A chapter's S-C.trans.txt holds a line for each of its utterances: its name and what is said.
"""

import logging
import pathlib
import re
from collections.abc import Sequence

from d2v_jax.common.names import lines_of

log = logging.getLogger("d2v")

NAME = re.compile(r"(\d+)-(\d+)-\d+\.(?:flac|wav)", re.IGNORECASE)


def speakers(names: Sequence[str]) -> list[str] | None:
    """Who speaks in each of the files, or None where they are not named as in LibriSpeech."""
    found = []
    for name in names:
        *folders, file = name.split("/")
        match = NAME.fullmatch(file)
        if not match or folders[-2:] != list(match.groups())[2 - len(folders[-2:]) :]:
            return None
        found.append(match[1])
    return found


def transcripts(root: pathlib.Path, names: Sequence[str]) -> list[str | None]:
    """What is said in each of the files, None where their chapter's transcript is missing."""
    chapters: dict[str, dict[str, str]] = {}
    texts = []
    for name in names:
        folder, _, file = name.rpartition("/")
        utterance = file.rpartition(".")[0]
        path = f"{folder}/{utterance.rpartition('-')[0]}.trans.txt"
        if path not in chapters:
            chapters[path] = _lines(root / path.lstrip("/"))
        texts.append(chapters[path].get(utterance))
    missing = sum(text is None for text in texts)
    if 0 < missing < len(texts):
        log.warning("%s: %d of %d utterances have no transcript", root, missing, len(texts))
    return texts


def _lines(path: pathlib.Path) -> dict[str, str]:
    try:
        lines = lines_of(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}
    pairs = (line.strip().partition(" ") for line in lines)
    return {utterance: text.strip() for utterance, _, text in pairs if text.strip()}
