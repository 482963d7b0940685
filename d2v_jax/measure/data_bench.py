"""`d2v data bench`: how fast examples come, stage by stage, and beside a plain loop."""

import contextlib
import dataclasses
import itertools
import json
import logging
import pathlib
import time
from collections.abc import Iterator

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.common.files import write_whole
from d2v_jax.data.loader import open_batches
from d2v_jax.data.modality import Data
from d2v_jax.data.opened import Opened
from d2v_jax.data.order import Bucket, Order
from d2v_jax.data.records import BadRecord, Record
from d2v_jax.measure.data_table import Stage, Subject, figures, table
from d2v_jax.measure.plain_loops import compare

log = logging.getLogger("d2v")

BATCH = 32  # examples, of audio as many as so many of `data.samples`
WORKERS = (1, 2)  # processes, each with one thread
KEPT, KEPT_BYTES = 256, 2**26  # records held for the stage of cutting
BAD_IN_A_ROW = 200
Kept = list[tuple[int, Record, int]]  # record numbers, records and lengths


def bench(cfg: Data, seconds: float, out_json: pathlib.Path | None) -> str:
    """Measures each stage of `cfg.source` for about `seconds`; returns a table.

    The figures go to `out_json` too. Unreadable records are left out. Raises `UserError` where
    none is readable.
    """
    data = cfg.open()
    log.info("%s: %d records; reading", cfg.source, len(data.source))
    skipped: dict[str, str] = {}
    kept = _kept(data, skipped)
    size = float(np.mean([record.size for _, record, _ in kept]))
    records = [(record, length) for _, record, length in kept]
    contest = cfg.contest(data.source, records)
    compared = contest.counted if contest else ""
    subject = Subject(cfg, len(data.source), size, skipped, compared)
    stages = [_read(subject, data, seconds)]
    log.info("decoding and cutting")
    if any(one.learn is not None for _, one, _ in kept):
        stages.append(_cut(subject, data, kept, "decode + cut, first time", seconds))
        # What was decoded once is remembered, as in the second epoch.
        kept = [(index, data.source.read(index), length) for index, _, length in kept]
    stages.append(_cut(subject, data, kept, "decode + cut", seconds))
    for count, workers in [(0, 0), (cfg.threads, 0), *((1, n) for n in WORKERS)]:
        log.info("whole batches; threads: %d, worker processes: %d", count, workers)
        stages.append(_batches(subject, data, count, workers, seconds))
    log.info("beside a plain loop")
    besides = compare(contest, seconds)
    if out_json is not None:
        text = json.dumps(figures(subject, stages, besides), indent=1)
        write_whole(out_json.expanduser(), text.encode())
    return table(subject, stages, besides)


def _ids(data: Opened) -> Iterator[tuple[int, int]]:
    """Record numbers and their lengths in an order that training uses, endlessly."""
    buckets = [Bucket(length, BATCH, (ids,)) for length, ids in data.buckets]
    order = Order(buckets, (1.0,), seed=0)
    for number in itertools.count():
        bucket, ids_b = order[number]
        for index in ids_b.tolist():
            yield index, order.buckets[bucket].length


def _rng(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=number))


def _kept(data: Opened, skipped: dict[str, str]) -> Kept:
    """Some records that can be read and cut; what cannot goes to `skipped`."""
    kept: Kept = []
    size = bad = 0
    for tried, (index, length) in enumerate(_ids(data), 1):
        name = f"record {index}"
        try:
            record = data.source.read(index)
            name = record.name
            data.cut(dataclasses.replace(record, learn=None), _rng(0), length)
        except BadRecord as fault:
            skipped[fault.name or name] = fault.reason
            bad += 1
            if not kept and bad >= BAD_IN_A_ROW:
                raise UserError(
                    f"{bad} records in a row are unreadable, the last: {fault.name or name}: "
                    f"{fault.reason}. Check that these are the files you meant"
                ) from fault
        else:
            kept.append((index, record, length))
            size += record.size
        if kept and (len(kept) >= KEPT or size >= KEPT_BYTES or tried >= len(data.source)):
            break
    return kept


def _read(subject: Subject, data: Opened, seconds: float) -> Stage:
    count = size = values = 0
    began = time.perf_counter()
    for index, length in _ids(data):
        with contextlib.suppress(BadRecord):
            record = data.source.read(index)
            count, size = count + 1, size + record.size
            values += subject.cfg.stored_values(record, length)
        spent = time.perf_counter() - began
        if spent >= seconds and count:
            break
    return Stage("read, random order", count / spent, size / spent / 1e6, values / spent)


def _cut(subject: Subject, data: Opened, kept: Kept, name: str, seconds: float) -> Stage:
    """Of one core: processor time of all threads. Each record at least once."""
    values = 0
    began = time.process_time()
    for number in itertools.count():
        _, record, length = kept[number % len(kept)]
        values += subject.cfg.values(data.cut(record, _rng(number), length)["inputs"])
        spent = max(time.process_time() - began, 1e-9)
        if spent >= seconds and number + 1 >= len(kept):
            break
    rate = (number + 1) / spent
    return Stage(f"{name}, one core", rate, rate * subject.record_bytes / 1e6, values / spent)


def _batches(subject: Subject, data: Opened, threads: int, workers: int, seconds: float) -> Stage:
    cfg = dataclasses.replace(subject.cfg, threads=threads, workers=workers, max_bad_share=1.0)
    count = values = 0
    with open_batches(cfg, seed=0, batch_size=BATCH, data=data) as batches:
        # What lies ready when the processes have begun is not speed.
        for _ in range(1 + threads + 3 * workers):
            next(batches)
        began = time.perf_counter()
        for batch in batches:
            count += len(batch["inputs"])
            values += subject.cfg.values(batch["inputs"])
            spent = time.perf_counter() - began
            if spent >= seconds:
                break
    name = f"batches, {threads} thread{'s' * (threads != 1)}"
    if workers:
        name = f"batches, {workers} worker process{'es' * (workers > 1)}"
    rate = count / spent
    return Stage(name, rate, rate * subject.record_bytes / 1e6, values / spent, threads, workers)
