"""All shards of a prepared folder of pictures, sounds or anything else that comes in files."""

import contextlib
import dataclasses
import logging
import pathlib
import time
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.prepare.outfolder import MEGABYTE, check_plan, finish
from d2v_jax.data.prepare.processes import in_processes
from d2v_jax.data.prepare.shard import ROWS, ShardWriter, Store
from d2v_jax.data.progress import EVERY_S
from d2v_jax.data.records import BadRecord, Source, fingerprint_of
from d2v_jax.data.stores.prepared import FORMAT, LENGTHS

log = logging.getLogger("d2v")

SAMPLED = 32  # records whose sizes tell how many make a shard


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a folder is about: a `source` of a modality, in shards of about `shard_mb` megabytes.

    `max_side` of pictures; None where it was not asked for.
    """

    modality: str
    source: str
    split: str
    shard_mb: int
    max_side: int | None
    max_bad_share: float


def no_pictures(source: str, max_side: int | None) -> None:
    """Raises `UserError` where the size of pictures was asked for."""
    if max_side is not None:
        raise UserError(f"--max-side {max_side}: {source!r} holds no pictures; leave it out")


def write(
    source: Source, store: Store, asked: Asked, out: pathlib.Path, workers: int
) -> dict[str, Any]:
    """Writes every record as `store` gives it; -> what prepared.json holds.

    Raises `UserError` where `out` is about something else, and for more unreadable records than
    `asked.max_bad_share`.
    """
    writer = ShardWriter(source, store, out)
    plan = check_plan(
        out,
        {
            "format": FORMAT,
            "modality": asked.modality,
            "source": asked.source,
            "split": asked.split,
            "source_fingerprint": source.fingerprint,
            "shard_mb": asked.shard_mb,
            "max_side": asked.max_side,
        },
        lambda: {"ends": _ends(writer, asked.shard_mb * MEGABYTE)},
    )
    writer = dataclasses.replace(writer, ends=tuple(plan["ends"]))
    done = _shards(writer, workers, asked.source)
    faults = {name: reason for shard in done for name, reason in shard.pop("faults").items()}
    _check_faults(asked, out, faults, len(source))
    rows = [np.load(out / ROWS.format(number)) for number in range(len(done))]
    names_n, lengths_n = np.concatenate(rows).T
    if len(np.unique(names_n)) < len(names_n):
        raise UserError(
            f"{asked.source!r}: {len(names_n) - len(np.unique(names_n))} records have the name of "
            "another one, so that faults could not be told apart; name them differently"
        )
    if hasattr(source, "lengths"):
        np.save(out / LENGTHS, lengths_n)
    done = [shard for shard in done if shard["records"]]
    sums = (shard["sha256"] for shard in done)
    index = {
        "format": FORMAT,
        "modality": asked.modality,
        "source": asked.source,
        "source_fingerprint": source.fingerprint,
        "fingerprint": fingerprint_of(("prepared", asked.modality, source.class_names, *sums)),
        "records": len(names_n),
        "class_names": source.class_names,
        "max_side": asked.max_side,
        "faults": {**getattr(source, "faults", {}), **faults},
        "shards": done,
    }
    finish(out, index)
    return index


def _ends(writer: ShardWriter, size: int) -> list[int]:
    """Behind the last record of each shard of about `size` bytes."""
    count = len(writer.source)
    sizes = []
    for index in np.linspace(0, count - 1, min(SAMPLED, count)).astype(int).tolist():
        with contextlib.suppress(BadRecord):
            sizes.append(len(writer.stored(index)[0]))
    shards = min(count, max(1, round(count * np.mean(sizes or [0]) / size)))
    # Sounds differ in length; what is unknown counts as nothing.
    weights_n = np.maximum(getattr(writer.source, "lengths", np.ones(count)), 0) + 1e-3
    sums_n = np.cumsum(weights_n)
    ends_k = np.searchsorted(sums_n, sums_n[-1] * np.arange(1, shards) / shards) + 1
    return np.unique([*ends_k.clip(1, count), count]).tolist()


def _shards(writer: ShardWriter, workers: int, source: str) -> list[dict[str, Any]]:
    """Has all shards written; returns what is known of each."""
    done: dict[int, dict[str, Any]] = {}
    total = len(writer.source)
    written = kept = 0
    began = last = time.monotonic()
    with contextlib.closing(in_processes(writer, range(len(writer.ends)), workers)) as told:
        for said in told:
            if isinstance(said, int):
                written += said
            else:
                number, (done[number], state) = said
                if state == "again":
                    log.warning("%s is damaged and written again", done[number]["file"])
                elif state == "kept":
                    kept += writer.ends[number] - (writer.ends[number - 1] if number else 0)
            if time.monotonic() - last >= EVERY_S or len(done) == len(writer.ends):
                last = time.monotonic()
                log.info("%s", _progress(source, kept, written, total, last - began))
    return [done[number] for number in sorted(done)]


def _progress(source: str, kept: int, written: int, total: int, seconds: float) -> str:
    rate = written / max(seconds, 1e-3)
    text = f"preparing {source}: {kept + written:,} of {total:,} records"
    if not rate:
        return text
    left = (total - kept - written) / rate
    return f"{text}, {rate:,.1f} a second, {left // 60:.0f} min {left % 60:.0f} s left"


def _check_faults(asked: Asked, out: pathlib.Path, faults: dict[str, str], records: int) -> None:
    for name, reason in list(faults.items())[:20]:
        log.warning("left out %s: %s", name, reason)
    if len(faults) > asked.max_bad_share * records or len(faults) == records:
        name, reason = next(iter(faults.items()))
        raise UserError(
            f"data.source={asked.source!r}: {len(faults)} of {records} records are unreadable "
            f"({len(faults) / records:.1%}), more than data.max_bad_share={asked.max_bad_share} "
            f"allows, for example {name}: {reason}. {out} is not complete: repair the records and "
            "prepare a new folder, or go on here with a higher --config.data.max_bad_share"
        )
