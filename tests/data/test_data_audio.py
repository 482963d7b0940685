"""Sound files of every kind become standardised crops; what is no sound is a bad record."""

import logging

import numpy as np
import pytest
from sounds import encoded, tone, wav

from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.audio.waves import decode, random_crop, standardise, utterance
from d2v_jax.data.loader import open_batches
from d2v_jax.data.records import BadRecord, Record


def as_float(wave_s: np.ndarray) -> np.ndarray:
    return wave_s / 32768 if wave_s.dtype == np.int16 else wave_s


# -- decoding


def test_sixteen_bits_at_16_khz_arrive_untouched():
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    for kind in ("WAV", "FLAC"):
        out = decode(encoded(samples, kind, subtype="PCM_16"))
        assert out.dtype == np.int16 and np.array_equal(out, samples)


@pytest.mark.parametrize(
    ("kind", "subtype", "error"),
    [
        ("WAV", "PCM_U8", 8e-3),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "FLOAT", 1e-7),
        ("WAV", "ULAW", 2e-2),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", "VORBIS", 3e-2),
    ],
)
def test_other_encodings(kind: str, subtype: str, error: float):
    wave = tone(8000)
    out = as_float(decode(encoded(wave, kind, subtype=subtype)))
    assert out.shape == wave.shape and np.abs(out - wave).max() < error


def test_channels_are_averaged():
    left, right = tone(3000), tone(3000, 700.0)
    out = decode(encoded(np.stack([left, right], 1), "WAV", subtype="FLOAT"))
    assert np.allclose(out, (left + right) / 2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_other_rates_become_16_khz(rate: int):
    wave = tone(rate // 2, 440.0, rate)
    out = as_float(decode(wav(wave, rate, "FLOAT")))
    assert abs(len(out) - RATE // 2) <= 1
    n = min(len(out), RATE // 2) - 400  # the ends see silence beyond them
    assert np.abs(out[400:n] - tone(RATE // 2)[400:n]).max() < 1e-3


def test_standardised_by_the_whole_utterance(audio):
    """(inputs - offset) * scale is a crop of what REFERENCE §5.7 does to the whole wave."""
    wave = tone(9000) * np.linspace(0.1, 1.0, 9000, dtype=np.float32)
    data = wav(wave)
    w = decode(data).astype(np.float64) / 32768
    whole = (w - w.mean()) / np.sqrt(w.var() + 1e-5)
    assert np.allclose(standardise(decode(data)), whole, rtol=1e-6, atol=1e-6)
    starts = set()
    for seed in range(20):
        out = random_crop(Record(data, None, "x"), np.random.default_rng(seed), 4000)
        assert out["inputs"].dtype == np.int16 and out["offset"].dtype == np.float32
        assert out["offset"].shape == out["scale"].shape == () and out["scale"].dtype == np.float32
        assert np.isclose(out["offset"], 32768 * w.mean(), rtol=1e-6)
        assert np.isclose(out["scale"], 1 / (32768 * np.sqrt(w.var() + 1e-5)), rtol=1e-6)
        crop = (out["inputs"] - out["offset"]) * out["scale"]
        errors = [np.abs(whole[s : s + 4000] - crop).max() for s in range(5001)]
        assert min(errors) < 1e-5
        starts.add(int(np.argmin(errors)))
    assert len(starts) > 10 and min(starts) < 1500 and max(starts) > 3500


def test_crops_reach_both_ends():
    record = Record(np.arange(1, 12, dtype=np.int16), None, "x")
    rng = np.random.default_rng(0)
    first = {int(random_crop(record, rng, 8)["inputs"][0]) for _ in range(100)}
    assert first == {1, 2, 3, 4}


@pytest.mark.parametrize("level", [1.0, 1.7, 900.0])
def test_float_waves_beyond_full_scale_are_not_clipped(level: float):
    wave = (tone(4000) * level * 3).astype(np.float32)
    samples, offset, scale = utterance(decode(wav(wave, subtype="FLOAT")))
    wanted = standardise(wave)
    assert np.abs((samples - offset) * scale - wanted).max() < 2e-4


def test_silence_divides_by_the_root_of_eps():
    samples, offset, scale = utterance(np.zeros(100, np.int16))
    assert offset == 0 and not samples.any()
    assert np.isclose(scale, 1 / (32768 * np.sqrt(1e-5)), rtol=1e-6)
    assert not standardise(np.zeros(100, np.int16)).any()


def flac_of_unknown_length(wave: np.ndarray) -> bytes:
    data = bytearray(encoded(wave, "FLAC", subtype="PCM_16"))
    data[21] &= 0xF0  # STREAMINFO: the low bits of byte 21 and four more are the sample count
    data[22:26] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just some text, named .wav\n" * 20, "not a readable sound file"),
        (wav(tone(0)), "no samples"),
        (wav(np.array([0, np.nan, 0, 0], np.float32), subtype="FLOAT"), "NaN or infinity"),
        (wav(np.full(400, np.inf, np.float32), 44_100, "FLOAT"), "NaN or infinity"),
        (encoded(tone(40_000), "FLAC")[:-100], "not a readable sound file: .*sync"),
        (encoded(tone(40_000), "OGG")[:-100], "no samples"),
        (wav(tone(100), 7), "sample rate of 7 Hz"),
    ],
    ids=["empty", "text", "silent", "nan", "inf", "flac", "ogg", "rate"],
)
def test_what_is_no_sound_is_a_bad_record(data: bytes, reason: str):
    with pytest.raises(BadRecord, match=reason):
        decode(data)


def test_a_header_without_or_with_a_wrong_length():
    wave = tone(9000)
    out = as_float(decode(flac_of_unknown_length(wave)))
    assert out.shape == wave.shape and np.abs(out - wave).max() < 1e-4
    with pytest.raises(BadRecord, match="9000 samples, fewer"):
        random_crop(Record(wav(wave), None, "x"), np.random.default_rng(0), 9001)


# -- folders


def test_folder(audio, sounds, caplog):
    (sounds / "notes.txt").write_text("no sound")
    (sounds / "ann" / "long.FLAC").write_bytes(encoded(tone(60_000, rate=48_000), "FLAC", 48_000))
    (sounds / "bob" / "short.ogg").write_bytes(encoded(tone(3_999), "OGG"))
    with caplog.at_level(logging.INFO, "d2v"):
        source = audio(sounds).records()
    assert len(source) == 13 and source.class_names == ("ann", "bob")
    assert {r.levelname for r in caplog.records} == {"INFO"}
    assert "1 of 14 recordings (7.1%)" in caplog.text and "shorter than 0.25 s" in caplog.text
    names = [source.read(index).name for index in range(13)]
    assert "ann/long.FLAC" in names and "bob/short.ogg" not in names
    assert source.read(12).label == 1
    assert audio(sounds).records().fingerprint == source.fingerprint
    assert audio(sounds, samples=20_000).records().read(0).name == "ann/long.FLAC"
    with pytest.raises(UserError, match="the longest of 14 has 20000 samples at 16 kHz"):
        audio(sounds, samples=20_001).records()


def test_many_short_recordings_are_a_warning(audio, sounds, caplog):
    (sounds / "ann" / "long.wav").write_bytes(wav(tone(20_000)))
    with caplog.at_level(logging.INFO, "d2v"):
        assert len(audio(sounds, samples=20_000).records()) == 1
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "12 of 13 recordings" in caplog.text


def test_nothing_long_enough(audio, sounds):
    message = r"data\.samples=9000 \(0\.56 s\): no recording .* the longest of 12 has 8000 samples"
    with pytest.raises(UserError, match=message):
        audio(sounds, samples=9_000).records()
    with pytest.raises(UserError, match=r"data\.min_samples=9000.*Lower data\.min_samples"):
        audio(sounds, min_samples=9_000).records()
    assert len(audio(sounds, samples=8_000).records()) == 12


def test_folder_errors(audio, tmp_path):
    with pytest.raises(UserError, match=r"no such folder.*wav, flac, ogg.* files.*builtin:tones"):
        audio(tmp_path / "librispeech").records()
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no sound file.*\.wav, \.flac, \.ogg.*as 'a\.mp4'"):
        audio(tmp_path).records()
    (tmp_path / "a.wav").write_bytes(b"text")
    with pytest.raises(UserError, match=r"none of the 1 files.*not a readable sound file"):
        audio(tmp_path).records()
    with pytest.raises(UserError, match=r"data\.source is empty; give a folder of wav"):
        audio("").records()
    with pytest.raises(UserError, match=r"known: builtin:speech and .*mean builtin:tones\?"):
        audio("builtin:tone").records()
    with pytest.raises(UserError, match=r"'builtin:photos' is of another modality.*builtin:tones"):
        audio("builtin:photos").records()
    with pytest.raises(UserError, match=r"'tfds:speech_commands' is not prepared in"):
        audio("tfds:speech_commands").records()
    with pytest.raises(UserError, match=r"data\.split='test'"):
        audio(tmp_path, split="test").records()


def test_broken_files_are_replaced_and_named(audio, sounds):
    broken = {
        "ann/01.wav": b"no sound at all" * 9,
        "ann/02.wav": wav(np.full(8_000, np.nan, np.float32), subtype="FLOAT"),
        "bob/07.wav": b"",
    }
    for name, data in broken.items():
        (sounds / name).write_bytes(data)
    with open_batches(audio(sounds, max_bad_share=0.5), seed=3, batch_size=8) as batches:
        ids = np.concatenate([next(batches)["example_id"] for _ in range(12)])
        assert sorted(batches.faults) == sorted(broken)
        assert batches.skipped == 24  # three of twelve, eight epochs
    assert set(ids) == set(range(12)) - {1, 2, 7}
    with pytest.raises(UserError, match=r"records are unreadable"):
        with open_batches(audio(sounds), seed=3, batch_size=8) as batches:
            for _ in range(30):
                next(batches)
