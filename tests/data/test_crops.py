"""Crops decoded in part are those of the whole, and cost less."""

import pickle
import time

import numpy as np
import pytest
from sounds import encoded, tone, wav

from d2v_jax.data.audio.remembered import Remembered
from d2v_jax.data.audio.waves import _stored_crop, random_crop
from d2v_jax.data.loader import open_batches
from d2v_jax.data.records import BadRecord, Concatenated, Record, Standard


def noisy(samples: int, seed: int = 0) -> np.ndarray:
    """int16 [s] as hard to compress as speech."""
    rng = np.random.default_rng(seed)
    wave = np.convolve(rng.standard_normal(samples), np.exp(-np.arange(40) / 6), "same")
    return (wave * np.abs(np.sin(np.arange(samples) / 9000)) * 1500).astype(np.int16)


def crop(record: Record, seed: int, samples: int) -> dict[str, np.ndarray]:
    return random_crop(record, np.random.default_rng(seed), samples)


class One:
    """A source of one sound."""

    class_names = None
    fingerprint = "one"

    def __init__(self, data: bytes | np.ndarray):
        self.data = data

    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> Record:
        return Record(self.data, None, "x")


UNKNOWN_FLAC = bytearray(encoded(noisy(50_000), "FLAC", subtype="PCM_16"))
UNKNOWN_FLAC[21] &= 0xF0
UNKNOWN_FLAC[22:26] = bytes(4)
KINDS = {
    "flac": encoded(noisy(50_000), "FLAC", subtype="PCM_16"),
    "wav": wav(noisy(50_000)),
    "samples": noisy(50_000),
    "stereo": encoded(np.stack([noisy(50_000), noisy(50_000, 1)], 1), "FLAC", subtype="PCM_16"),
    "another rate": wav(noisy(50_000), 22_050),
    "24 bits": encoded(noisy(50_000), "FLAC", subtype="PCM_24"),
    "loud": wav(tone(50_000) * 7, subtype="FLOAT"),
    "ogg": encoded(tone(50_000), "OGG"),
    "no length": bytes(UNKNOWN_FLAC),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_whatever_was_decoded_before(kind: str):
    source = Remembered(One(KINDS[kind]))
    for seed in range(30):
        for samples in (1, 4_000, 17_123):
            fresh = crop(One(KINDS[kind]).read(0), seed, samples)
            known = crop(source.read(0), seed, samples)
            for key, value in fresh.items():
                assert np.array_equal(value, known[key]) and value.dtype == known[key].dtype
    assert source.read(0).standard is not None and source.read(0).learn is None


def test_only_16_bit_mono_at_16_khz_is_decoded_in_part():
    for kind, data in KINDS.items():
        if isinstance(data, bytes):
            part = _stored_crop(data, np.random.default_rng(0), 500)
            assert (part is not None) == (kind in ("flac", "wav")), kind


def test_what_is_known_beforehand_is_used():
    standard = Standard(np.float32(3), np.float32(0.25))
    for data in (KINDS["flac"], KINDS["samples"]):
        out = crop(Record(data, None, "x", standard=standard), 0, 4_000)
        assert (out["offset"], out["scale"]) == standard[:2]


def test_copies_begin_empty():
    source = Remembered(One(KINDS["flac"]))
    crop(source.read(0), 0, 100)
    assert source.read(0).standard is not None
    assert pickle.loads(pickle.dumps(source)).read(0).standard is None
    assert len(pickle.dumps(Remembered(One(b"")))) < 300


def test_records_of_one_name_are_kept_apart():
    parts = [Remembered(One(noisy(9_000, seed))) for seed in (1, 2)]
    both = Concatenated(parts)
    first = [crop(both.read(index), 0, 100)["scale"] for index in (0, 1)]
    again = [crop(both.read(index), 0, 100)["scale"] for index in (0, 1)]
    assert first == again and first[0] != first[1]


def test_damage_behind_the_crop_is_noticed_when_decoding_whole():
    source = Remembered(One(KINDS["flac"][:-500]))
    for seed in range(5):
        with pytest.raises(BadRecord, match="not a readable sound file|truncated"):
            crop(source.read(0), seed, 100)
    assert source.read(0).standard is None


def test_too_short_for_the_crop():
    source = Remembered(One(KINDS["wav"]))
    crop(source.read(0), 0, 100)
    with pytest.raises(BadRecord, match="50000 samples, fewer"):
        crop(source.read(0), 0, 50_001)


def test_batches_remember(audio, sounds):
    cfg = audio(sounds)
    data = cfg.open()
    assert data.source.read(0).standard is None
    with open_batches(cfg, seed=0, batch_size=12, data=data) as batches:
        *_, last = (next(batches) for _ in range(4))
    assert all(data.source.read(index).standard is not None for index in range(12))
    with open_batches(cfg, seed=0, batch_size=12, start_step=3) as batches:
        again = next(batches)
    assert all(np.array_equal(last[key], again[key]) for key in last)
    assert cfg.records().fingerprint == data.source.fingerprint


def test_ten_seconds_of_thirty_five_cost_less_than_half():
    data = encoded(noisy(35 * 16_000), "FLAC", subtype="PCM_16")
    source = Remembered(One(data))
    crop(source.read(0), 0, 160_000)
    ratios = []
    for seed in range(7):
        times = []
        for record in (One(data).read(0), source.read(0)):
            began = time.perf_counter()
            crop(record, seed, 160_000)
            times.append(time.perf_counter() - began)
        ratios.append(times[0] / times[1])
    assert np.median(ratios) > 2
