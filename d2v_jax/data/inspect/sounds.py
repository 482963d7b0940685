"""Looking at recordings."""

import array
from typing import NamedTuple

import numpy as np

from d2v_jax.data.audio.sound_files import RATE, stored_as
from d2v_jax.data.audio.waves import FULL, pieces
from d2v_jax.data.inspect.findings import Findings, chosen, each, listed, range_of
from d2v_jax.data.records import Record, Source

SILENT_DB = -60.0  # root mean square of the whole, below full scale
LEAST_DB = -200.0  # of nothing but zeros
CLIPPED = 32_767 / FULL
WILD = 8.0  # times full scale, and
WILD_TIMES = 100  # times the median peak: one such recording would rule every figure
WAVES = 4  # shown
SHOWN_S = 10  # of each


class Seen(NamedTuple):
    samples: int
    rate: int
    channels: int
    kind: str
    bytes: int
    sum: float
    squares: float
    peak: float
    clipped: int
    text: bool
    name: str
    begin_s: np.ndarray  # int16


class Sums:
    """What is kept of all recordings: a few numbers of each, names of the few that stand out."""

    def __init__(self, least: int):
        self.least = least
        self.samples, self.clipped_n = array.array("q"), array.array("q")
        self.mean_n, self.square_n, self.peak_n = (array.array("d") for _ in range(3))
        self.bytes = self.texts = 0
        self.rates: dict[int, int] = {}
        self.channels: dict[int, int] = {}
        self.kinds: dict[str, int] = {}
        self.silent: list[str] = []
        self.loud: dict[int, str] = {}  # by place, names of those beyond `WILD`
        self.short: dict[str, str] = {}

    def add(self, one: Seen) -> None:
        self.samples.append(one.samples)
        self.clipped_n.append(one.clipped)
        self.mean_n.append(one.sum / one.samples)
        self.square_n.append(one.squares / one.samples)
        self.peak_n.append(one.peak)
        self.bytes += one.bytes
        self.texts += one.text
        for counts, key in (
            (self.rates, one.rate),
            (self.channels, one.channels),
            (self.kinds, one.kind),
        ):
            counts[key] = counts.get(key, 0) + 1
        if one.peak > WILD:
            self.loud[len(self.peak_n) - 1] = one.name
        if float(_db(np.array(self.square_n[-1]))) < SILENT_DB:
            self.silent.append(one.name)
        if one.samples < self.least:
            seconds = f"{one.samples / RATE:.2f} s, shorter than {self.least / RATE:.2f} s"
            self.short[one.name] = seconds


def look(every: Source, name: str, least: int, sample: int | None) -> Findings:
    """All recordings of `every`, called `name`; those below `least` samples are named as left
    out.
    """
    numbers = chosen(len(every), sample)
    found = Findings(name, every.fingerprint, len(every), len(numbers))
    found.bad.update(getattr(every, "faults", {}))
    found.passed_over = dict(getattr(every, "passed_over", {}))
    shown = set(chosen(len(numbers), WAVES))
    sums = Sums(least)
    for place, one in enumerate(each(every, numbers, _one, found)):
        sums.add(one)
        if place in shown:
            found.waves[one.name] = one.begin_s
    found.bad.update(sums.short)
    _summarise(found, sums)
    return found


def _one(record: Record) -> Seen:
    rate, channels, kind = RATE, 1, "samples"
    if not isinstance(record.data, np.ndarray):
        rate, channels, kind = stored_as(record.data)
    total = squares = peak = 0.0
    samples = clipped = 0
    begin_s = np.zeros(0, np.int16)
    for stored_s in pieces(record.data):
        piece_s = _unit(stored_s)
        if not samples:
            begin_s = np.int16(np.clip(piece_s[: SHOWN_S * RATE], -1, CLIPPED) * FULL)
        samples += len(piece_s)
        size_s = np.abs(piece_s)
        total += float(piece_s.sum())
        squares += float(np.square(piece_s).sum())
        peak = max(peak, float(size_s.max()))
        clipped += int((size_s >= CLIPPED).sum())
    return Seen(
        samples,
        rate,
        channels,
        kind,
        record.size,
        total,
        squares,
        peak,
        clipped,
        record.text is not None,
        record.name,
        begin_s,
    )


def _unit(wave_s: np.ndarray) -> np.ndarray:
    """float64 [s] whose full scale is 1."""
    return wave_s / FULL if wave_s.dtype == np.int16 else wave_s.astype(np.float64)


def _db(square_n: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(square_n, 10 ** (LEAST_DB / 10)))


def _summarise(found: Findings, sums: Sums) -> None:
    samples_n, clipped_n = np.array(sums.samples), np.array(sums.clipped_n)
    mean_n, square_n, peak_n = map(np.array, (sums.mean_n, sums.square_n, sums.peak_n))
    limit = WILD_TIMES * float(np.median(peak_n)) if len(peak_n) else 0.0
    wild = {place: name for place, name in sums.loud.items() if peak_n[place] > limit}
    tame = np.ones(len(samples_n), bool)
    tame[list(wild)] = False
    count, total = len(samples_n), int(samples_n.sum())
    seconds, db_n = samples_n / RATE, _db(square_n)
    clipped = int((clipped_n > 0).sum())
    share = float(clipped_n.sum()) / max(total, 1)
    weight_n = samples_n * tame
    mean = float((mean_n[tame] * weight_n[tame]).sum()) / max(int(weight_n.sum()), 1)
    square = float((square_n[tame] * weight_n[tame]).sum()) / max(int(weight_n.sum()), 1)
    std = max(square - mean**2, 0) ** 0.5
    offset = float(np.abs(mean_n[tame]).max(initial=0))
    peak = float(peak_n[tame].max(initial=0))
    hours = total / RATE / 3600
    rates, channels, kinds = (
        {str(key): n for key, n in sorted(counts.items(), key=lambda item: -item[1])}
        for counts in (sums.rates, sums.channels, sums.kinds)
    )
    looked = (
        f"{found.looked_at:,} of {found.records:,}"
        if found.looked_at < found.records
        else f"{found.records:,}"
    )
    transcripts = f"{sums.texts:,} of {count:,}" if sums.texts else "not known"
    found.facts = {
        "recordings": looked,
        "readable": f"{count:,}",
        "megabytes": f"{sums.bytes / 1e6:,.1f}",
        "hours": f"{hours:,.2f}",
        "seconds": f"{range_of(seconds, 2)} (least / median / most)",
        "sample rates": listed(rates),
        "channels": listed(channels),
        "formats": listed(kinds),
        "transcripts": transcripts,
        "level": f"{range_of(db_n[tame], 1)} dB of full scale",
        "peak": f"{range_of(peak_n[tame], 3)} of full scale",
        "far beyond full scale": _wild(wild, peak_n),
        "silent": f"{len(sums.silent):,} below {SILENT_DB:.0f} dB" + _some(sums.silent),
        "full scale reached": f"{clipped:,} recordings, {share:.3%} of all samples",
        "mean, std": f"{mean:+.5f}, {std:.5f} of all samples",
        "largest offset": f"{offset:.5f} (mean of a recording)",
        "shorter than a crop": f"{len(sums.short):,}, left out" if sums.short else "0",
    }
    found.numbers = {
        "readable": count,
        "bytes": sums.bytes,
        "hours": hours,
        "sample_rates": rates,
        "channels": channels,
        "formats": kinds,
        "transcripts": sums.texts,
        "silent": sums.silent,
        "far_beyond_full_scale": {name: float(peak_n[place]) for place, name in wild.items()},
        "full_scale": clipped,
        "full_scale_share": share,
        "mean": mean,
        "std": std,
        "largest_offset": offset,
        "peak": peak,
        "short": len(sums.short),
    }
    found.histograms = {
        "length, seconds": seconds,
        "level, dB of full scale": db_n[tame & (square_n > 0)],
    }


def _wild(wild: dict[int, str], peak_n: np.ndarray) -> str:
    if not wild:
        return "0"
    named = [f"{name} (peak {peak_n[place]:.3g})" for place, name in wild.items()]
    return f"{len(wild):,}, not in level, peak, mean and std" + _some(named)


def _some(names: list[str]) -> str:
    return f": {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else ""
