"""Which records make batch k: a function of the seed and k, found without looking at the others."""

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np

from d2v_jax.common.checks import UserError

CYCLE = 10_000  # places after which the interleaving of mixed sources repeats


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Records that are cut to one length, and how many make a batch.

    `length` is in the unit of the modality; `parts` are the record numbers int [n] of each of
    the mixed sources, some of which may be empty.
    """

    length: int
    batch_size: int
    parts: tuple[np.ndarray, ...]

    def any_of(self, rng: np.random.Generator) -> int:
        """One of its records."""
        ids = self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)
        return int(ids[rng.integers(len(ids))])


class Order:
    """Endless batches, each from one bucket.

    Every bucket is a stream of its own: each part shuffled anew in each of its rounds, the parts
    interleaved by their weights. A round of batches takes from each bucket what it holds, the
    buckets in random order.
    """

    def __init__(self, buckets: Sequence[Bucket], weights: Sequence[float], seed: int):
        """`weights`: of the parts, above 0 and 1 in sum."""
        self.buckets = [b for b in buckets if sum(map(len, b.parts))]
        totals = [sum(len(b.parts[p]) for b in self.buckets) for p in range(len(weights))]
        self._streams = []
        batches = []  # of each bucket in one round
        for number, bucket in enumerate(self.buckets):
            shares = [w * len(ids) / n for w, ids, n in zip(weights, bucket.parts, totals)]
            self._streams.append(_Stream(bucket.parts, shares, (seed, number)))
            batches.append(max(1, round(sum(shares) * sum(totals) / bucket.batch_size)))
        self._first = np.concatenate([[0], np.cumsum(batches)])
        self._rounds = _Shuffles(int(self._first[-1]), (seed, len(batches)))

    def __getitem__(self, k: int) -> tuple[int, np.ndarray]:
        """Batch k: the number of its bucket and its record numbers int64 [b]."""
        rounds, place = divmod(k, int(self._first[-1]))
        if len(self.buckets) > 1:
            place = int(self._rounds[rounds][place])
        number = int(np.searchsorted(self._first, place, side="right")) - 1
        first, behind = self._first[number : number + 2].tolist()
        start = (rounds * (behind - first) + place - first) * self.buckets[number].batch_size
        positions_b = np.arange(start, start + self.buckets[number].batch_size)
        return number, self._streams[number][positions_b]


class _Stream:
    """Position to record number, endlessly."""

    def __init__(self, parts: Sequence[np.ndarray], shares: Sequence[float], key: tuple[int, ...]):
        self._parts = parts
        self._shuffles = [_Shuffles(len(ids), (*key, p)) for p, ids in enumerate(parts)]
        self._part_c, self._rank_c = _interleaved(np.array(shares) / sum(shares))
        self._per_cycle_p = np.bincount(self._part_c, minlength=len(parts))

    def __getitem__(self, positions_b: np.ndarray) -> np.ndarray:
        cycle_b, place_b = np.divmod(positions_b, len(self._part_c))
        part_b = self._part_c[place_b]
        drawn_b = cycle_b * self._per_cycle_p[part_b] + self._rank_c[place_b]
        ids_b = np.empty(len(positions_b), np.int64)
        for part in np.unique(part_b).tolist():
            of_part_b = part_b == part
            count = len(self._parts[part])
            round_k, place_k = np.divmod(drawn_b[of_part_b], count)
            chosen_k = np.empty(len(round_k), np.int64)
            for rounds in np.unique(round_k).tolist():
                now_k = round_k == rounds
                order = self._shuffles[part][rounds]
                chosen_k[now_k] = self._parts[part][order[place_k[now_k]]]
            ids_b[of_part_b] = chosen_k
        return ids_b


def _interleaved(shares_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part, and rank among the places of that part, of each place of a cycle [c]."""
    cycle = 1 if len(shares_p) == 1 else CYCLE
    counts_p = np.maximum(np.floor(shares_p * cycle), shares_p > 0).astype(int)  # none is forgotten
    counts_p[np.argmax(counts_p)] += cycle - counts_p.sum()
    part_c = np.repeat(np.arange(len(counts_p)), counts_p)
    rank_c = np.concatenate([np.arange(n) for n in counts_p])
    spread_c = np.argsort((rank_c + 0.5) / counts_p[part_c], kind="stable")
    return part_c[spread_c], rank_c[spread_c]


class _Shuffles:
    """Permutations of `count` numbers, one for each round."""

    def __init__(self, count: int, key: tuple[int, ...]):
        self._count, self._key = count, key
        self._held: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __getitem__(self, number: int) -> np.ndarray:
        with self._lock:
            if number not in self._held:
                seed = np.random.SeedSequence([*self._key, number])
                ids = np.arange(self._count, dtype=np.uint32)
                self._held[number] = np.random.Generator(np.random.Philox(seed)).permutation(ids)
                if len(self._held) > 2:  # batches are read ahead across the end of a round
                    del self._held[next(iter(self._held))]
            return self._held[number]

    def __reduce__(self):
        return _Shuffles, (self._count, self._key)


def weights_of(
    weights: tuple[float, ...], temperature: float, sizes: Sequence[int], source: str
) -> tuple[float, ...]:
    """The share of each part of `source`: `weights`, or in proportion to
    size ** (1 / temperature).
    """
    if weights and len(weights) != len(sizes):
        raise UserError(
            f"data.weights={weights} has {len(weights)} entries for the {len(sizes)} "
            f"sources of data.source={source!r}; give one for each"
        )
    raw = weights or [size ** (1 / temperature) for size in sizes]
    return tuple(float(w) / sum(raw) for w in raw)
