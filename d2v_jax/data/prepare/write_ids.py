"""A corpus to shards of ids. What was interrupted goes on behind its last whole shard."""

import dataclasses
import hashlib
import json
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import PART, keep, write_whole
from d2v_jax.data.prepare.outfolder import (
    DONE,
    MEGABYTE,
    SHARD,
    WRITER_OPTIONS,
    check_plan,
    finish,
    sha256_of,
)
from d2v_jax.data.progress import logged
from d2v_jax.data.stores.prepared import FORMAT
from d2v_jax.data.text.corpus import Flat, chunks, corpus_fingerprint, dtype_of, starts_of
from d2v_jax.data.text.documents import Texts
from d2v_jax.data.text.stored_ids import LABELS, LINE_ENDS, NAME_ENDS, NAMES, RECORD, STARTS, Ids
from d2v_jax.data.text.tokenizer import BYTES, Tokenizer, keep_files

log = logging.getLogger("d2v")

ENDS = "prepared-{:05d}.npy"  # where its lines end


@dataclasses.dataclass(frozen=True)
class Written:
    """What is written: documents, the tokenizer that makes ids of them, and what it is called."""

    texts: Texts
    name: str
    tokenizer: Tokenizer
    max_bad_share: float


def write_tokens(
    what: Written, about: Mapping[str, str], out: pathlib.Path, shard_mb: int
) -> dict[str, Any]:
    """Writes the ids of the documents to the folder `out`.

    `about` names their "source" and how it is read. Tokenising takes all cores. Each shard is read
    back before it counts. Returns what prepared.json holds. Raises `UserError` where something
    else is in `out`.
    """
    texts, tokenizer, source = what.texts, what.tokenizer, about["source"]
    plan = {
        **about,
        "shard_mb": shard_mb,
        "source_fingerprint": texts.fingerprint,
        "tokenizer": tokenizer.fingerprint,
    }
    check_plan(out, plan)
    shards = _Shards(out, tokenizer, shard_mb)
    flat = Flat(logged(texts.documents(), "tokenising documents"))
    for chunk in chunks(flat):
        shards.add(chunk)
    shards.finish()
    texts.check_faults(what.max_bad_share)
    if not len(flat.borders):
        raise UserError(f"data.source={source!r} holds no text")
    line_ends = np.concatenate([np.load(out / ENDS.format(n)) for n in range(shards.count)])
    border_ends = line_ends[np.array(flat.borders, np.int64)]
    arrays = {
        STARTS: starts_of(border_ends),
        LINE_ENDS: line_ends,
        NAMES: flat.names.bytes_c,
        NAME_ENDS: flat.names.ends_n,
    }
    if flat.labels is not None:
        arrays[LABELS] = flat.labels
    for name, values in arrays.items():
        np.save(out / name, values)
    keep_files(tokenizer, out)
    done = [json.loads((out / DONE.format(n)).read_text()) for n in range(shards.count)]
    index = {
        "format": FORMAT,
        "modality": "text",
        "source": source,
        "source_fingerprint": texts.fingerprint,
        "fingerprint": corpus_fingerprint(tokenizer, shards.digest.hexdigest()),
        "records": sum(-(-shard["tokens"] // RECORD) for shard in done),
        "documents": len(flat.borders),
        "lines": len(line_ends) - len(flat.borders),
        "tokens": sum(shard["tokens"] for shard in done),
        "dtype": shards.dtype.str,
        "tokenizer": BYTES if what.name == BYTES else "files",
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "arrays": list(arrays),
        "class_names": texts.class_names if flat.labels is not None else None,
        "faults": dict(texts.faults),
        "shards": done,
    }
    finish(out, index)
    return index


class _Shards:
    """Takes chunks of lines in order; those of shards that are whole already are passed over.

    Attributes:
        count: shards so far.
        digest: of all ids.
    """

    def __init__(self, out: pathlib.Path, tokenizer: Tokenizer, shard_mb: int):
        self._out, self._tokenizer = out, tokenizer
        self.dtype = dtype_of(tokenizer)
        self._size = shard_mb * MEGABYTE // self.dtype.itemsize  # ids
        self.digest = hashlib.sha256()
        self.count = self._tokens = 0  # of shards, and ids in them
        self._begin()
        self._pass = self._reread()

    def _begin(self) -> None:
        self._held: list[np.ndarray] = []
        self._held_tokens = self._chunks = 0

    def add(self, chunk: list[str]) -> None:
        if self._pass:
            self._pass -= 1
            if not self._pass:  # the next shard may be whole too
                self._pass = self._reread()
            return
        ids_t = self._tokenizer.encode(chunk).astype(self.dtype)
        self._held.append(ids_t)
        self._held_tokens += len(ids_t)
        self._chunks += 1
        if self._held_tokens >= self._size:
            self._write()

    def finish(self) -> None:
        """No more chunks come."""
        if self._held:
            self._write()

    def _reread(self) -> int:
        """Counts the next shard if it is whole; returns of how many chunks it was made."""
        try:
            done = json.loads((self._out / DONE.format(self.count)).read_text())
        except (FileNotFoundError, ValueError):
            return 0
        path = self._out / SHARD.format(self.count)
        if not path.is_file() or sha256_of(path) != done["sha256"]:
            log.warning("%s is damaged and written again", path)
            return 0
        self._counted(Ids([str(path)], [done["tokens"]], self.dtype)[:])
        return done["chunks"]

    def _counted(self, ids_t: np.ndarray) -> None:
        self.digest.update(ids_t.astype("<i4").tobytes())
        self._tokens += len(ids_t)
        self.count += 1

    def _write(self) -> None:
        ids_t = np.concatenate(self._held)
        path = self._out / SHARD.format(self.count)
        part = path.with_name(f"{path.name}{PART}")
        writer = ArrayRecordWriter(str(part), WRITER_OPTIONS)
        for first in range(0, len(ids_t), RECORD):
            writer.write(ids_t[first : first + RECORD].tobytes())
        writer.close()
        if not np.array_equal(Ids([str(part)], [len(ids_t)], self.dtype)[:], ids_t):
            raise UserError(f"{part} does not read back as it was written: check the disk")
        keep(part, path)
        np.save(
            self._out / ENDS.format(self.count),
            np.flatnonzero(ids_t == self._tokenizer.ids.eos) + 1 + self._tokens,
        )
        done = {
            "file": path.name,
            "tokens": len(ids_t),
            "chunks": self._chunks,
            "records": -(-len(ids_t) // RECORD),
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        write_whole(self._out / DONE.format(self.count), json.dumps(done).encode())
        self._counted(ids_t)
        self._begin()
