"""Wav files of recorders that were killed, or that count wrongly: a row for each kind."""

import io
import re
import struct

import numpy as np
import pytest
import soundfile
from sounds import tone, wav

from d2v_jax.cli.main import main
from d2v_jax.data.audio.sound_files import header
from d2v_jax.data.audio.waves import decode
from d2v_jax.data.records import BadRecord

WAVE = tone(8_000)
GOOD = wav(WAVE)
FMT = GOOD[12:36]
SAMPLES = GOOD[44:]


def sized(riff: int, data: int, more: bytes = b"") -> bytes:
    """`GOOD` with other sizes in its header, and `more` behind the samples."""
    return b"RIFF" + struct.pack("<I", riff) + GOOD[8:40] + struct.pack("<I", data) + SAMPLES + more


def chunked(*before: bytes, riff: int | None = None) -> bytes:
    """Chunks in front of those of `GOOD`."""
    body = b"WAVE" + b"".join(before) + FMT + GOOD[36:]
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def rf64(riff: int, samples: int) -> bytes:
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, riff, samples, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + FMT + b"data\xff\xff\xff\xff" + SAMPLES


def w64(samples: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, WAVE, 16_000, format="W64", subtype="PCM_16")
    data = bytearray(buffer.getvalue())
    at = data.index(b"data\xf3\xac") + 16
    data[at : at + 8] = struct.pack("<Q", samples)
    return bytes(data)


FULL = len(SAMPLES)
NAMES = ("level", "peak", "mean, std", "largest offset")
READ = {
    "killed": sized(36, 0),
    "killed, RIFF too": sized(0, 0),
    "a stream": sized(0xFFFF_FFFF, 0xFFFF_FFFF),
    "a stream, RIFF 0": sized(0, 0xFFFF_FFFF),
    "a stream of half": sized(0x7FFF_FFFF, 0x7FFF_FFFF),
    "RIFF right, data 0": sized(36 + FULL, 0),
    "RIFF 0": sized(0, FULL),
    "RIFF beyond the end": sized(36 + FULL + 5_000, FULL),
    "data counts the header": sized(36 + FULL, FULL + 44),
    "data counts too few": sized(36 + FULL, 1_000),
    "a tag behind": sized(36 + FULL, FULL, b"TAG" + b"x" * 125),
    "a list behind": sized(36 + FULL + 12, FULL, b"LIST\4\0\0\0INFO"),
    "a list before": chunked(b"LIST\4\0\0\0INFO"),
    "an odd list before": chunked(b"note\5\0\0\0abcde\0"),
    "an odd list before, not padded": chunked(b"note\5\0\0\0abcde"),
    "broadcast": chunked(b"bext" + struct.pack("<I", 602) + b"b" * 602),
    "RF64": rf64(0, FULL),
    "RF64, killed": rf64(0, 0),
    "BW64": b"BW64" + rf64(0, FULL)[4:],
    "W64": w64(24 + FULL),
    "W64, killed": w64(24),
}
BROKEN = {
    "cut": (GOOD[:5_000], "truncated: 4956 of 16000 bytes of samples"),
    "RF64 cut": (rf64(0, FULL)[:5_000], "truncated"),
    "nothing but a beginning": (GOOD[:36], "the header was never finished"),
    "no format": (GOOD[:12] + GOOD[36:], "the header was never finished"),
    "zeros": (bytes(5_000), "the header was never finished"),
    "really empty": (wav(WAVE[:0]), "holds no samples"),
}


@pytest.mark.parametrize("kind", READ)
def test_all_samples_are_read(kind: str, tmp_path):
    np.testing.assert_array_equal(decode(READ[kind]), decode(GOOD))
    path = tmp_path / "a.wav"
    path.write_bytes(READ[kind])
    assert header(path) == header(READ[kind])
    assert header(path)[0] in (None, 8_000) and header(path)[1] == 16_000


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_is_said(kind: str):
    data, reason = BROKEN[kind]
    with pytest.raises(BadRecord, match=reason):
        decode(data)


def test_tags_of_the_file_are_no_samples():
    assert len(decode(READ["a tag behind"])) == 8_000


def test_a_look_at_a_folder_of_them(tmp_path, capsys):
    for kind, data in READ.items():
        (tmp_path / f"{kind}.wav").write_bytes(data)
    for kind, (data, _) in BROKEN.items():
        (tmp_path / f"{kind}.wav").write_bytes(data)
    main(["data", "inspect", str(tmp_path), "--modality", "audio"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["readable", str(len(READ))] for line in lines)
    for kind, (_, reason) in BROKEN.items():
        assert any(f"{kind}.wav: {reason}" in line for line in lines), kind


@pytest.mark.parametrize("value", [3e38, 1e6])
def test_one_wild_sample_is_named_and_rules_nothing(value: float, tmp_path, capsys):
    for number in range(20):
        wave_s = np.random.default_rng(number).normal(0, 0.1, 8_000).astype(np.float32)
        wave_s[100] = value if number == 7 else wave_s[100]
        (tmp_path / f"{number}.wav").write_bytes(wav(wave_s, subtype="FLOAT"))
    main(["data", "inspect", str(tmp_path), "--modality", "audio"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    figures = {name: next(line for line in lines if line.startswith(name)) for name in NAMES}
    most = {name: float(re.findall(r"[-+]?[\d.]+", line)[-1]) for name, line in figures.items()}
    assert most["peak"] < 1 and most["level"] < 0 and most["largest offset"] < 0.01
    assert most["mean, std"] == pytest.approx(0.1, abs=0.01)
    assert any(line.startswith("far beyond full scale") and "7.wav" in line for line in lines)
