"""One shard of prepared records: written, read back, and only then there."""

import dataclasses
import hashlib
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import PART, keep, write_whole
from d2v_jax.data.prepare.outfolder import DONE, SHARD, WRITER_OPTIONS, sha256_of
from d2v_jax.data.prepare.processes import Told
from d2v_jax.data.records import BadRecord, Record, Source

ROWS = "prepared-{:05d}.npy"  # int64 [n, 2]: a hash of each record's name, its length
TELL_S = 0.5
# A record as it is written, and its length; raises `BadRecord`. Pickles.
Store = Callable[[Record], tuple[bytes, int]]


@dataclasses.dataclass(frozen=True)
class ShardWriter:
    """Shard k holds the records of `source` from ends[k - 1] to ends[k]. Pickles."""

    source: Source
    store: Store
    out: pathlib.Path
    ends: tuple[int, ...] = ()

    def __call__(self, number: int, told: Told) -> tuple[dict[str, Any], str]:
        """Shard `number`: what is known of it, and whether that was "kept", "new" or "again".

        Its "faults" are reasons by name. `told` learns of records as they are written.
        """
        path = self.out / SHARD.format(number)
        begun = (self.out / DONE.format(number)).exists()
        done = _whole(self.out, number) if begun else None
        if done is not None:
            return done, "kept"
        part = path.with_name(f"{path.name}{PART}")
        try:
            digests, rows, faults = self._write(part, number, told)
            _check(part, digests)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{part} cannot be written: {error}. Check the disk") from error
        keep(part, path)
        size, digest = path.stat().st_size, sha256_of(path)
        with open(self.out / ROWS.format(number), "wb") as file:
            np.save(file, np.array(rows, np.int64).reshape(-1, 2))
        done = {
            "file": path.name,
            "records": len(rows),
            "bytes": size,
            "sha256": digest,
            "faults": faults,
        }
        write_whole(self.out / DONE.format(number), json.dumps(done).encode())
        return done, "again" if begun else "new"

    def stored(self, index: int) -> tuple[bytes, int, str]:
        """Record `index` as it is written, its length, and its name. Raises `BadRecord`."""
        record = self.source.read(index)
        return *self.store(record), record.name

    def _write(
        self, part: pathlib.Path, number: int, told: Told
    ) -> tuple[list[bytes], list[tuple[int, int]], dict[str, str]]:
        digests, rows, faults = [], [], {}
        first = self.ends[number - 1] if number else 0
        untold, last = 0, time.monotonic()
        writer = ArrayRecordWriter(str(part), WRITER_OPTIONS)
        try:
            for index in range(first, self.ends[number]):
                try:
                    data, samples, name = self.stored(index)
                except BadRecord as bad:
                    faults[bad.name or f"record {index}"] = bad.reason
                else:
                    writer.write(data)
                    digests.append(_digest(data))
                    rows.append((_number(name), samples))
                untold += 1
                if time.monotonic() - last >= TELL_S:
                    told(untold)
                    untold, last = 0, time.monotonic()
        finally:
            writer.close()
        told(untold)
        return digests, rows, faults


def _whole(out: pathlib.Path, number: int) -> dict[str, Any] | None:
    """What is known of a shard, None unless it is as it was written."""
    try:
        done = json.loads((out / DONE.format(number)).read_text())
        rows = np.load(out / ROWS.format(number), allow_pickle=False)
        same = sha256_of(out / SHARD.format(number)) == done["sha256"]
    except (OSError, ValueError, EOFError):
        return None
    return done if same and rows.shape == (done["records"], 2) else None


def _check(part: pathlib.Path, digests: list[bytes]) -> None:
    """Raises `UserError` unless the shard holds the records of these digests."""
    if not digests:
        return  # the reader takes no empty files
    reader = ArrayRecordReader(str(part))
    try:
        count = reader.num_records()
        same = count == len(digests) and all(_digest(reader.read()) == one for one in digests)
    finally:
        reader.close()
    if not same:
        raise UserError(f"{part} does not read back as it was written: check the disk")


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _number(name: str) -> int:
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
