"""Long recordings are read block by block; what is held does not grow with them."""

import dataclasses
import io
import pathlib

import numpy as np
import pytest
import soundfile
import soxr
from sounds import encoded, tone

from d2v_jax.data.audio import blocks, inputs, opening, waves
from d2v_jax.data.audio.lists.manifest import Manifest
from d2v_jax.data.audio.remembered import Remembered
from d2v_jax.data.audio.sound_files import RATE
from d2v_jax.data.records import BadRecord, Record
from d2v_jax.data.stores import folder

LSB = 1 / 32_768


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_pieces_are_the_whole(monkeypatch, rate: int, channels: int):
    wave = np.stack([tone(3 * rate + 7, 300 + 100 * c, rate) for c in range(channels)], 1)
    data = encoded(wave, "WAV", rate, "FLOAT")
    monkeypatch.setattr(blocks, "BLOCK", 1 << 12)
    whole_s = wave.mean(axis=1) if channels == 2 else wave[:, 0]
    wanted = soxr.resample(whole_s, rate, RATE) if rate != RATE else whole_s
    np.testing.assert_array_equal(waves.decode(data), wanted)


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of two seconds, of which none is held as a whole."""
    for module in (blocks, waves):
        monkeypatch.setattr(module, "BLOCK", 2 * RATE)
    monkeypatch.setattr(blocks, "SECONDS", 2)
    monkeypatch.setattr(waves, "LONG", RATE)


def long(rate: int, channels: int, seconds: float = 9.3) -> np.ndarray:
    rng = np.random.default_rng(rate + channels)
    size = int(seconds * rate)
    return np.stack([tone(size, 200 + 50 * c, rate) for c in range(channels)], 1) / 2 + rng.normal(
        0, 0.01, (size, channels)
    )


ROWS = [  # rate, channels, format and subtype, most difference from the whole
    (16_000, 1, "WAV", "PCM_16", 0),
    (16_000, 2, "WAV", "PCM_16", 0),
    (16_000, 1, "WAV", "FLOAT", 0),
    (16_000, 1, "FLAC", "PCM_16", 0),
    (44_100, 2, "WAV", "PCM_16", LSB),
    (48_000, 1, "FLAC", "PCM_24", LSB),
    (44_099, 1, "WAV", "FLOAT", LSB),
    (8_000, 1, "WAV", "ULAW", LSB),
    (22_050, 9, "WAV", "PCM_16", LSB),
    (16_000, 1, "OGG", "VORBIS", LSB),
    (48_000, 1, "OGG", "OPUS", LSB),
    (44_100, 2, "MP3", "MPEG_LAYER_III", LSB),
]


@pytest.mark.parametrize("rate, channels, kind, subtype, most", ROWS)
def test_a_crop_of_a_long_recording(short_blocks, monkeypatch, rate, channels, kind, subtype, most):
    """That of the whole, whichever blocks it lies in, the first time and later, bytes or file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, long(rate, channels), rate, subtype, format=kind)
    data = buffer.getvalue()
    read, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    plain_s = read.mean(axis=1)
    plain_s = plain_s if rate == RATE else soxr.resample(plain_s, rate, RATE)
    whole_s = waves.decode(data)
    assert len(whole_s) == len(plain_s)
    whole_s = whole_s * LSB if whole_s.dtype == np.int16 else whole_s
    np.testing.assert_allclose(whole_s, plain_s, rtol=0, atol=most)
    learnt = []
    first = Record(data, None, "a", learn=learnt.append)
    known = None
    for seed in range(4):
        rng = [np.random.default_rng(seed) for _ in range(3)]
        crop = waves.random_crop(first, rng[0], 3 * RATE)
        known = dataclasses.replace(first, standard=learnt[-1])
        again = waves.random_crop(known, rng[1], 3 * RATE)
        start = int(rng[2].integers(len(plain_s) - 3 * RATE + 1))
        wanted = np.rint(plain_s[start : start + 3 * RATE].astype(np.float64) / LSB)
        assert np.abs(crop["inputs"] - wanted).max() <= most / LSB
        for key in ("inputs", "offset", "scale"):
            np.testing.assert_array_equal(again[key], crop[key])
    whole = waves.utterance(data)
    assert (whole.offset, whole.scale) == (crop["offset"], crop["scale"])
    scaled = (whole.samples - whole.offset.astype(np.float64)) * whole.scale
    assert abs(scaled.mean()) < 1e-5 and scaled.var() == pytest.approx(1, rel=0.02)


def frames_read(monkeypatch) -> list[int]:
    """How many frames each reading asks for, from now on."""
    seen, real = [], soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda file, frames, *rest: seen.append(frames) or real(file, frames, *rest),
    )
    return seen


def test_no_more_than_blocks_is_read(short_blocks, monkeypatch, tmp_path):
    """Of a large file neither the bytes nor the whole wave."""
    path = tmp_path / "a.wav"
    soundfile.write(path, long(44_100, 2, 30), 44_100, "PCM_16")
    kind = dataclasses.replace(opening.SOUNDS, held=1 << 16)
    source = Remembered(folder.Folder(tmp_path, kind))
    assert isinstance(source.read(0).data, pathlib.Path)
    seen = frames_read(monkeypatch)
    crops = [waves.random_crop(source.read(0), np.random.default_rng(i), RATE) for i in (0, 1)]
    assert max(seen) <= 4 * 44_100
    assert len(seen) <= 15 + 2 + 2, "the second crop reads its own blocks alone"
    assert not np.array_equal(crops[0]["inputs"], crops[1]["inputs"])


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "zip"])
def test_parts_of_long_recordings(short_blocks, monkeypatch, tmp_path, kind):
    """Their crops are those of a file of the part alone, of which no more than blocks is read."""
    whole = np.int16(long(44_100, 2, 20) * 32_767)
    first, length = 50_001, 15 * 44_100
    alone = encoded(whole[first : first + length], "WAV", 44_100, "PCM_16")
    if kind == "zip":
        (tmp_path / "x.zip").write_bytes(b"PK" + alone + b"PK")
        row = f"x.zip:2:{len(alone)}"
    else:
        (tmp_path / "a.wav").write_bytes(encoded(whole, kind, 44_100, "PCM_16"))
        row = f"a.wav:{first}:{length}"
    (tmp_path / "x.tsv").write_text(f".\n{row}\t{length}\n")
    source = Remembered(Manifest(tmp_path / "x.tsv"))
    wanted = Record(alone, None, "a", standard=waves.standard_of(alone))
    seen = frames_read(monkeypatch)
    for seed in range(3):
        found = waves.random_crop(source.read(0), np.random.default_rng(seed), RATE)
        assert max(seen) <= 4 * 44_100
        other = waves.random_crop(wanted, np.random.default_rng(seed), RATE)
        for key in other:
            np.testing.assert_array_equal(found[key], other[key])
    data = source.read(0).data
    assert not isinstance(data, bytes) and 0.1 < source.read(0).size / len(alone) < 1.1
    assert sum(map(len, data.contents())) >= len(alone)
    data.path.unlink()
    for use in (lambda: source.read(0), lambda: list(data.contents())):
        with pytest.raises(BadRecord, match="No such file"):
            use()


def test_features_hold_what_they_use(short_blocks, tmp_path):
    soundfile.write(tmp_path / "a.wav", long(44_100, 2), 44_100, "PCM_16")
    ((_, first_s, whole),) = inputs.folder_waves(tmp_path, RATE)
    ((_, all_s, _),) = inputs.folder_waves(tmp_path)
    assert whole == len(all_s) == int(9.3 * RATE)
    np.testing.assert_array_equal(first_s, all_s[:RATE])


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda file: file[: len(file) // 2], "truncated"),
        (lambda file: b"", "empty"),
        (lambda file: file[:30], "header"),
    ],
)
def test_a_long_recording_that_is_damaged(short_blocks, tmp_path, spoil, reason):
    path = tmp_path / "a.wav"
    soundfile.write(path, long(44_100, 2), 44_100, "PCM_16")
    data = spoil(path.read_bytes())
    path.write_bytes(data)
    for given in (data, path):
        with pytest.raises(BadRecord, match=reason):
            waves.random_crop(Record(given, None, "a"), np.random.default_rng(0), RATE)
    path.unlink()
    with pytest.raises(BadRecord, match="No such file"):
        waves.random_crop(Record(path, None, "a"), np.random.default_rng(0), RATE)


def test_an_unfinished_header_of_a_large_file(short_blocks, tmp_path):
    """It is mended as the file is read: the samples are those of the whole."""
    path = tmp_path / "a.wav"
    soundfile.write(path, long(16_000, 1), 16_000, "PCM_16")
    wanted = waves.decode(path.read_bytes())
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_array_equal(waves.decode(path), wanted)
    np.testing.assert_array_equal(waves.decode(bytes(data)), wanted)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("level", [0.5, 3.0])
def test_sums_of_pieces(monkeypatch, dtype, level: float):
    wave_s = tone(50_000) * level
    if dtype == np.int16:
        wave_s = (wave_s * 8_000).astype(np.int16)
    wanted, standard = waves.utterance(wave_s), waves.standardise(wave_s)
    monkeypatch.setattr(waves, "BLOCK", 1 << 12)
    monkeypatch.setattr(waves, "LONG", 1 << 12)
    found = waves.utterance(wave_s)
    np.testing.assert_array_equal(found.samples, wanted.samples)
    np.testing.assert_allclose(found[1:], wanted[1:], rtol=1e-6)
    np.testing.assert_allclose(waves.standardise(wave_s), standard, rtol=0, atol=1e-6)
    assert len(waves.standardised(wave_s, 700)[0]) == 700


def test_the_run_says_what_is_slow(audio, tmp_path, monkeypatch, caplog):
    (tmp_path / "a.wav").write_bytes(encoded(tone(50_000), "WAV"))
    monkeypatch.setattr(opening, "LONG", 49_999)
    assert len(audio(tmp_path).records()) == 1
    assert "1 of 1 recordings" in caplog.text and "d2v data prepare" in caplog.text
