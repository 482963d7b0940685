"""Sound and text whole and by name, for feature extraction. Images: `labelled.folder_images`."""

import logging
import os
from collections.abc import Iterable, Iterator

import numpy as np

from d2v_jax.data.audio.waves import decode, standardise
from d2v_jax.data.records import BadRecord
from d2v_jax.data.stores.folder import SOUNDS, Folder
from d2v_jax.data.text.documents import Document, whole
from d2v_jax.data.text.rows import BOS
from d2v_jax.data.text.textfiles import TextFiles
from d2v_jax.data.text.tokenizer import Tokenizer, open_tokenizer

log = logging.getLogger("d2v")


def folder_waves(
    path: str | os.PathLike, max_samples: int | None = None
) -> Iterator[tuple[str, np.ndarray, int]]:
    """Every readable sound file under `path`: (relative name, wave float32 [s], full length).

    Waves are 16 kHz mono, standardised as a whole and then cut to `max_samples`; the full
    length is the number of samples before that cut. Raises `UserError` at once for a missing or
    empty folder; files that cannot be read are left out with a warning each and their number at
    the end.
    """
    return _waves(Folder(path, SOUNDS), max_samples)


def _waves(folder: Folder, max_samples: int | None) -> Iterator[tuple[str, np.ndarray, int]]:
    skipped = 0
    for index, name in enumerate(folder.names):
        try:
            wave_s = standardise(decode(folder.read(index).data))
        except BadRecord as bad:
            skipped += 1
            log.warning("skipped %s: %s", name, bad.reason)
            continue
        yield name, wave_s[:max_samples], len(wave_s)
    if skipped:
        log.warning("%d of %d files in %s were skipped", skipped, len(folder), folder.root)


def text_documents(
    source: str | os.PathLike | Iterable[str], tokenizer: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Documents as (name, ids int32 [t]): `<s>`, then each line with its `</s>`.

    `source` is the path of a .txt file (an empty line ends a document, which is named FILE:FIRST
    LINE), of JSON lines or Parquet (a document is what a record has in "text"), of a folder of
    such files, or the documents themselves, each a string (named by its number).
    `tokenizer` as in `data.tokenizer`. Raises `UserError` at once for a missing path or
    tokenizer; files that cannot be read are left out with a warning each.
    """
    ids = open_tokenizer(tokenizer)
    if isinstance(source, str | os.PathLike):
        return _encoded(whole(TextFiles(source).documents()), ids)
    return _encoded(_numbered(source), ids)


def _numbered(texts: Iterable[str]) -> Iterator[Document]:
    for number, text in enumerate(texts):
        lines = tuple(line.strip() for line in text.splitlines() if line.strip())
        if lines:
            yield Document(str(number), lines)
        else:
            log.warning("skipped text %d: it is empty", number)


def _encoded(
    documents: Iterable[Document], tokenizer: Tokenizer
) -> Iterator[tuple[str, np.ndarray]]:
    for document in documents:
        ids_t = tokenizer.encode(document.lines)
        yield document.name, np.concatenate([[BOS], ids_t]).astype(np.int32)
