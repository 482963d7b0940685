"""Batches for pretraining: batch k is a function of the source, the seed and k, nothing else."""

import concurrent.futures
import dataclasses
import functools
import json
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from d2v_jax.common.checks import UserError, require
from d2v_jax.data.modality import Data
from d2v_jax.data.opened import Opened
from d2v_jax.data.order import Bucket, Order, weights_of
from d2v_jax.data.records import BadRecord, Example, Source, fingerprint_of

log = logging.getLogger("d2v")

AHEAD = 4  # batches that are read before they are asked for
PIPELINE = 2  # raised whenever the same seed would give other examples
ENDLESS = 2**62  # batches
SUBSTITUTES = 20  # tried in a row in place of one unreadable record
MIN_SEEN = 100  # records before the share of unreadable ones is judged
FAULTS = "faults"  # host-only field of a batch: per example "", or JSON [[name, reason], ...]


def open_batches(
    cfg: Data,
    *,
    seed: int,
    batch_size: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    data: Opened | None = None,
    on_fault: Callable[[str, str], None] | None = None,
) -> "Batches":
    """Opens the endless stream of batches from batch `start_step` on.

    Args:
        cfg: where examples come from and how they are cut.
        seed: of order, crops, flips and colours, in [0, 2**32).
        batch_size: examples per batch over all processes (`Data.batch_sizes`); each process
            gets an equal share, the rows that follow each other.
        start_step: batches to leave out; costs nothing.
        process_index: which share this is.
        process_count: how many shares there are.
        data: `cfg.open()` where that is at hand; opening large sources takes a while.
        on_fault: called with name and reason of every record that is left out, once.

    Raises:
        UserError: the source cannot be opened, or the sizes do not fit.
    """
    require(0 <= seed < 2**32, f"seed={seed}: must be at least 0 and below 2**32")
    require(batch_size > 0, f"train.batch_size={batch_size}: must be positive")
    sizes = cfg.batch_sizes(batch_size)
    require(
        all(size % process_count == 0 for size in sizes),
        f"train.batch_size={batch_size} makes batches of {_listed(sizes)} examples, which "
        f"{process_count} processes cannot share evenly; use a multiple of {process_count}, such "
        f"as {math.ceil(batch_size / process_count) * process_count}",
    )
    data = data or cfg.open()
    if len(data.source) >= 2**31:
        raise UserError(
            f"data.source={cfg.source!r} has {len(data.source)} records; example ids hold fewer "
            f"than {2**31}. Split it"
        )
    parts, weights = _mixed(cfg, data)
    buckets = [
        Bucket(length, size, tuple(np.intersect1d(ids, part, True) for part in parts))
        for (length, ids), size in zip(data.buckets, sizes)
    ]
    order = Order(buckets, weights, seed)
    read = _Batch(data, order, seed, cfg.source, process_index, process_count, cfg.threads)
    # An element is a whole batch: neither threads nor worker processes change its contents. All
    # threads read the rows of the same one or two, so that the first is there soon.
    stream = grain.MapDataset.range(start_step, ENDLESS).map(read)
    ahead = min(2, cfg.threads)
    batches = stream.to_iter_dataset(grain.ReadOptions(ahead, AHEAD if ahead else 0))
    if cfg.workers:
        if not flags.FLAGS.is_parsed():  # Grain reads a flag of its own, parsed or not
            flags.FLAGS.mark_as_parsed()
        batches = batches.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=cfg.workers, per_worker_buffer_size=2),
            worker_init_fn=_prepare_worker,
        )
    fingerprint = fingerprint_of(
        (PIPELINE, data.source.fingerprint, seed, sizes, weights, *data.follows)
    )
    return Batches(batches, cfg, data.source, fingerprint, on_fault)


def _mixed(cfg: Data, data: Opened) -> tuple[list[np.ndarray], tuple[float, ...]]:
    """Record numbers of each mixed source, and their shares; one part where all are alike."""
    if not cfg.weights and cfg.temperature == 1:
        return [np.arange(len(data.source), dtype=np.int32)], (1.0,)
    ends = np.cumsum(data.sizes)
    parts = [np.arange(end - size, end, dtype=np.int32) for end, size in zip(ends, data.sizes)]
    return parts, weights_of(cfg.weights, cfg.temperature, data.sizes, cfg.source)


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Number of a batch in, this process's share of it out."""

    data: Opened
    order: Order
    seed: int
    source: str  # as the user wrote it
    process_index: int
    process_count: int
    threads: int

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        number, ids_b = self.order[step]
        bucket = self.order.buckets[number]
        share = len(ids_b) // self.process_count
        first = self.process_index * share

        def row(number: int) -> tuple[Example, int, str]:
            return self._row(int(ids_b[number]), self._generator(step, number), bucket)

        every = range(first, first + share)
        if self.threads < 2:
            return _stack([row(number) for number in every])
        return _stack(list(_readers(self.threads).map(row, every)))

    def _generator(self, step: int, row: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed, 0], counter=[0, 0, row, step]))

    def _row(
        self, index: int, rng: np.random.Generator, bucket: Bucket
    ) -> tuple[Example, int, str]:
        """-> (example, id, faults) of record `index`, or of one that stands in for it."""
        faults: list[tuple[str, str]] = []
        while True:
            name = f"record {index}"
            try:
                record = self.data.source.read(index)
                name = record.name
                example = self.data.cut(record, rng, bucket.length)
            except BadRecord as bad:
                faults.append((bad.name or name, bad.reason))
            else:
                return example, index, json.dumps(faults) if faults else ""
            if len(faults) > SUBSTITUTES:
                raise UserError(
                    f"data.source={self.source!r}: {len(faults)} records in a row are "
                    f"unreadable, for example {_list(faults[:3])}. Check that these are the "
                    "files you meant and that they were copied completely"
                )
            index = bucket.any_of(rng)


@functools.cache
def _readers(threads: int) -> concurrent.futures.ThreadPoolExecutor:
    """Those of this process, for all its batches."""
    return concurrent.futures.ThreadPoolExecutor(threads, "read")


def _prepare_worker(worker: int, workers: int) -> None:
    """Leaves Ctrl-C to the main process, and ends this one with it, however that dies."""
    del worker, workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _stack(rows: Sequence[tuple[Example, int, str]]) -> dict[str, np.ndarray]:
    examples, ids, faults = zip(*rows)
    return {
        **{key: np.stack([example[key] for example in examples]) for key in examples[0]},
        "example_id": np.array(ids, np.int32),
        FAULTS: np.array(faults),
    }


class Batches:
    """Iterator and context manager over batches, dicts of arrays.

    Always "example_id" int32 [b], and
        of images "inputs" uint8 [b, y, x, c];
        of audio "inputs" int16 [b, s], "offset" and "scale" float32 [b]: (inputs - offset) *
            scale is a crop of the utterance after that was given mean 0 and variance 1;
        of text "inputs" int32 [b, t], token ids, 1 where there is none.

    Attributes:
        seen: examples delivered.
        skipped: those whose own record was unreadable, so that another stands in for it.
        faults: reason by name, for every record that was left out.
        wait_s: seconds the consumer has waited for batches.
        fingerprint: equal when batch k is the same, for every k.
    """

    def __init__(
        self,
        batches: grain.IterDataset,
        cfg: Data,
        source: Source,
        fingerprint: str,
        on_fault: Callable[[str, str], None] | None,
    ):
        self._cfg = cfg
        self._records = len(source)
        self._on_fault = on_fault
        self.fingerprint = fingerprint
        self.seen = 0
        self.skipped = 0
        self.wait_s = 0.0
        self.faults: dict[str, str] = {}
        for name, reason in getattr(source, "faults", {}).items():
            self._note(name, reason)
        self._iterator: Any = iter(batches)
        self._iterator.start_prefetch()

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            raise ValueError("these batches are closed")
        began = time.monotonic()
        try:
            batch = dict(next(self._iterator))
            self.wait_s += time.monotonic() - began
            self._account(batch.pop(FAULTS))
        except BaseException:  # an interrupted iterator may have lost a batch: never go on
            self.close()
            raise
        return batch

    def _note(self, name: str, reason: str) -> None:
        self.faults[name] = reason
        if self._on_fault:
            self._on_fault(name, reason)

    def _account(self, faults_b: np.ndarray) -> None:
        """Counts and reports unreadable records; raises `UserError` when there are too many."""
        self.seen += len(faults_b)
        for text in faults_b[faults_b != ""]:
            self.skipped += 1
            for name, reason in json.loads(str(text)):
                if name not in self.faults:
                    self._note(name, reason)
                    log.warning("skipped %s: %s", name, reason)
        if self.seen < min(MIN_SEEN, self._records):
            return
        limit = self._cfg.max_bad_share
        # Two standard deviations of a sample of this size, so that bad luck in the first
        # batches does not end a run whose source is within the limit.
        slack = 2 * math.sqrt(limit * (1 - limit) * self.seen)
        if self.skipped > limit * self.seen + slack:
            examples = _list(list(self.faults.items())[:3])
            raise UserError(
                f"data.source={self._cfg.source!r}: {self.skipped} of {self.seen} records are "
                f"unreadable ({self.skipped / self.seen:.1%}), more than data.max_bad_share="
                f"{limit} allows, for example {examples}. Repair or remove them, or raise "
                "data.max_bad_share"
            )

    def close(self) -> None:
        """Stops threads and worker processes. Closing twice does no harm."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _list(faults: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in faults)


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))
