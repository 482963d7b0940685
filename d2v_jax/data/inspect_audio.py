"""Looking at recordings."""

import dataclasses
import io
from typing import NamedTuple

import numpy as np
import soundfile

from d2v_jax.data.audio import FULL, RATE, decode
from d2v_jax.data.config import AudioData
from d2v_jax.data.findings import Findings, chosen, each, listed, spread, tally
from d2v_jax.data.records import Record
from d2v_jax.data.sources import open_audio

SILENT_DB = -60.0  # root mean square of the whole, below full scale
CLIPPED = 32_767 / FULL
WAVES = 4  # shown


class Seen(NamedTuple):
    seconds: float
    rate: int
    channels: int
    kind: str
    sum: float
    squares: float
    peak: float
    text: bool
    name: str
    wave_s: np.ndarray | None  # int16, of a few


def look(cfg: AudioData, sample: int | None) -> Findings:
    """All recordings, those too short for `cfg` too, which are named as left out."""
    every = open_audio(dataclasses.replace(cfg, samples=1, min_samples=1, buckets=()))
    numbers = chosen(len(every), sample)
    found = Findings(cfg.source, every.fingerprint, len(every), len(numbers))
    found.bad.update(getattr(every, "faults", {}))
    least = max(cfg.min_samples, min(cfg.buckets or (cfg.samples,)))
    shown = set(chosen(len(numbers), WAVES))
    names: set[str] = set()

    def one(record: Record) -> Seen:
        wave_s = decode(record.data)
        rate, channels, kind = RATE, 1, "samples"
        if isinstance(record.data, bytes):
            info = soundfile.info(io.BytesIO(record.data))
            rate, channels, kind = info.samplerate, info.channels, f"{info.format} {info.subtype}"
        unit_s = wave_s / FULL if wave_s.dtype == np.int16 else wave_s.astype(np.float64)
        return Seen(
            len(wave_s) / RATE, rate, channels, kind, float(unit_s.sum()),
            float(np.square(unit_s).sum()), float(np.abs(unit_s).max()), bool(record.text),
            record.name, np.int16(np.clip(unit_s, -1, CLIPPED) * FULL) if len(names) < WAVES
            else None,
        )  # fmt: skip

    seen = []
    for place, record in enumerate(each(every, numbers, one, found)):
        if place in shown and record.wave_s is not None:
            names.add(record.name)
            found.waves[record.name] = record.wave_s[: 10 * RATE]
        seen.append(record._replace(wave_s=None))
    _summarise(found, seen, least)
    return found


def _summarise(found: Findings, seen: list[Seen], least: int) -> None:
    seconds = np.array([one.seconds for one in seen])
    samples = seconds * RATE
    total = samples.sum()
    rms_n = np.sqrt([one.squares / (one.seconds * RATE) for one in seen])
    db_n = 20 * np.log10(np.maximum(rms_n, 1e-10))
    silent = [one.name for one, db in zip(seen, db_n) if db < SILENT_DB]
    short = {
        one.name: f"{one.seconds:.2f} s, shorter than {least / RATE:.2f} s"
        for one in seen if round(one.seconds * RATE) < least
    }  # fmt: skip
    clipped = sum(one.peak >= CLIPPED for one in seen)
    texts = sum(one.text for one in seen)
    mean = sum(one.sum for one in seen) / max(total, 1)
    variance = sum(one.squares for one in seen) / max(total, 1) - mean**2
    hours = float(seconds.sum()) / 3600
    rates, channels, kinds = (
        tally([getattr(one, name) for one in seen]) for name in ("rate", "channels", "kind")
    )
    looked = f"{found.looked_at:,} of {found.records:,}" if found.looked_at < found.records \
        else f"{found.records:,}"  # fmt: skip
    found.facts = {
        "recordings": looked, "hours": f"{hours:,.2f}",
        "seconds": f"{spread(seconds, 2)} (least / median / most)",
        "sample rates": listed(rates), "channels": listed(channels), "formats": listed(kinds),
        "transcripts": f"{texts:,}",
        "level": f"{spread(db_n, 1)} dB of full scale",
        "silent": f"{len(silent):,} below {SILENT_DB:.0f} dB" + _some(silent),
        "full scale reached": f"{clipped:,}",
        "mean, std": f"{mean:+.5f}, {max(variance, 0) ** 0.5:.5f}",
        "shorter than a crop": f"{len(short):,}, left out" if short else "0",
    }  # fmt: skip
    found.numbers = {
        "hours": hours, "sample_rates": rates, "channels": channels, "formats": kinds,
        "transcripts": texts, "silent": silent, "full_scale": clipped, "mean": mean,
        "std": max(variance, 0) ** 0.5, "short": len(short),
    }  # fmt: skip
    found.bad.update(short)
    found.histograms = {"length, seconds": seconds, "level, dB of full scale": db_n[db_n > -190]}


def _some(names: list[str]) -> str:
    return f": {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else ""
