"""`d2v data prepare`: a source to shards that are read fast and in any order."""

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.data.config import AudioData, DataConfig, ImageData, TextData
from d2v_jax.data.prepare.outfolder import MEGABYTE, check_plan, finish
from d2v_jax.data.prepare.processes import spread
from d2v_jax.data.prepare.write_ids import write_tokens
from d2v_jax.data.prepare.write_shard import ROWS, ShardWriter
from d2v_jax.data.progress import EVERY_S
from d2v_jax.data.records import BadRecord, Source, fingerprint_of
from d2v_jax.data.sources import JOIN, open_audio, open_images
from d2v_jax.data.stores.prepared import FORMAT, LENGTHS

log = logging.getLogger("d2v")

SAMPLED = 32  # records whose sizes tell how many make a shard


def prepare(
    cfg: DataConfig, out: pathlib.Path, workers: int, shard_mb: int, max_side: int | None
) -> str:
    """Writes the records of `cfg.source` to the folder `out`, which `data.source` then may name.

    What was interrupted goes on: whole shards are checked and stay. The shards do not depend on
    `workers`, the processes that write them. Sounds of any length are written; which are long
    enough is asked when they are read. Unreadable records are left out and listed in prepared.json.
    Returns what to tell the user. Raises `UserError` where `out` is about something else, and for
    more unreadable records than `cfg.max_bad_share`.
    """
    out = out.expanduser()
    if JOIN in cfg.source:
        raise UserError(
            f"{cfg.source!r} are several sources; prepare each into a folder of its own, and join "
            "those: data.source='A + B'"
        )
    if max_side is not None and not isinstance(cfg, ImageData):
        raise UserError(f"--max-side {max_side}: {cfg.source!r} holds no pictures; leave it out")
    match cfg:
        case TextData():
            return _said(write_tokens(cfg, out, shard_mb), out)
        case AudioData():
            every = dataclasses.replace(cfg, samples=1, min_samples=1, buckets=())
            return _said(_write(cfg, "audio", open_audio(every), out, workers, shard_mb, None), out)
        case ImageData():
            source = open_images(cfg)
            return _said(_write(cfg, "image", source, out, workers, shard_mb, max_side), out)


def _write(
    cfg: DataConfig, modality: str, source: Source, out: pathlib.Path, workers: int, shard_mb: int,
    max_side: int | None,
) -> dict[str, Any]:  # fmt: skip
    """-> what prepared.json holds."""
    writer = ShardWriter(source, modality, out, max_side)
    plan = check_plan(
        out,
        {
            "format": FORMAT, "modality": modality, "source": cfg.source, "split": cfg.split,
            "source_fingerprint": source.fingerprint, "shard_mb": shard_mb, "max_side": max_side,
        },
        lambda: {"ends": _ends(writer, shard_mb * MEGABYTE)},
    )  # fmt: skip
    writer = dataclasses.replace(writer, ends=tuple(plan["ends"]))
    done = _shards(writer, workers, cfg.source)
    faults = {name: reason for shard in done for name, reason in shard.pop("faults").items()}
    _check_faults(cfg, out, faults, len(source))
    rows = [np.load(out / ROWS.format(number)) for number in range(len(done))]
    names_n, lengths_n = np.concatenate(rows).T
    if len(np.unique(names_n)) < len(names_n):
        raise UserError(
            f"{cfg.source!r}: {len(names_n) - len(np.unique(names_n))} records have the name of "
            "another one, so that faults could not be told apart; name them differently"
        )
    if modality == "audio":
        np.save(out / LENGTHS, lengths_n)
    done = [shard for shard in done if shard["records"]]
    sums = (shard["sha256"] for shard in done)
    index = {
        "format": FORMAT, "modality": modality, "source": cfg.source,
        "source_fingerprint": source.fingerprint,
        "fingerprint": fingerprint_of(("prepared", modality, source.class_names, *sums)),
        "records": len(names_n), "class_names": source.class_names, "max_side": max_side,
        "faults": {**getattr(source, "faults", {}), **faults}, "shards": done,
    }  # fmt: skip
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
    with contextlib.closing(spread(writer, range(len(writer.ends)), workers)) as told:
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


def _check_faults(cfg: DataConfig, out: pathlib.Path, faults: dict[str, str], records: int) -> None:
    for name, reason in list(faults.items())[:20]:
        log.warning("left out %s: %s", name, reason)
    if len(faults) > cfg.max_bad_share * records or len(faults) == records:
        name, reason = next(iter(faults.items()))
        raise UserError(
            f"data.source={cfg.source!r}: {len(faults)} of {records} records are unreadable "
            f"({len(faults) / records:.1%}), more than data.max_bad_share={cfg.max_bad_share} "
            f"allows, for example {name}: {reason}. {out} is not complete: repair the records and "
            "prepare a new folder, or go on here with a higher --config.data.max_bad_share"
        )


def _said(index: dict[str, Any], out: pathlib.Path) -> str:
    shards: Sequence[dict[str, Any]] = index["shards"]
    size = sum(shard["bytes"] for shard in shards)
    tokens = f", {index['tokens']:,} tokens," if "tokens" in index else ""
    text = (
        f"{out}: {index['records']:,} records{tokens} in {len(shards)} "
        f"shard{'s' * (len(shards) > 1)} of {size / MEGABYTE:,.1f} MB in all\n"
        f"use it with --config.data.source={out}"
    )
    if index["faults"]:
        text += f"\n{len(index['faults'])} left out, listed in {out / 'prepared.json'}"
    return text
