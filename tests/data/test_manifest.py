"""fairseq's manifests, as they are and as they get broken."""

import logging
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
from sounds import encoded, tone, wav

from d2v_jax.cli.main import main
from d2v_jax.common.checks import UserError
from d2v_jax.data.audio.waves import decode
from d2v_jax.data.loader import open_batches
from d2v_jax.data.records import BadRecord


@pytest.fixture
def manifest(sounds: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """Of the twelve wav files, in reverse order, in a folder of its own."""
    path = tmp_path / "lists" / "train.tsv"
    path.parent.mkdir()
    names = sorted(str(file.relative_to(sounds)) for file in sounds.rglob("*.wav"))[::-1]
    path.write_text("".join(f"{row}\n" for row in [sounds, *(f"{n}\t8000" for n in names)]))
    return path


def changed(path: pathlib.Path, line: int, text: str) -> pathlib.Path:
    lines = path.read_text().split("\n")
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    return path


def test_rows_in_their_order(audio, manifest, sounds):
    source = audio(manifest).records()
    assert len(source) == 12 and source.class_names == ("ann", "bob")
    record = source.read(0)
    assert (record.name, record.label, record.text) == ("bob/11.wav", 1, None)
    assert record.data == (sounds / "bob/11.wav").read_bytes()
    assert source.lengths.tolist() == [8000] * 12
    other = pickle.loads(pickle.dumps(source))
    assert other.read(3) == source.read(3) and other.fingerprint == source.fingerprint
    with open_batches(audio(manifest), seed=0, batch_size=4) as batches:
        assert next(batches)["inputs"].shape == (4, 4_000)


@pytest.mark.parametrize("suffix", [".wrd", ".ltr", ".phn", ".txt"])
def test_labels_beside_it(audio, manifest, suffix: str):
    lines = [f"H I | {number} |" for number in range(11)] + [""]
    manifest.with_suffix(suffix).write_text("".join(f"{line}\n" for line in lines))
    source = audio(manifest).records()
    if suffix == ".ltr":  # letters, words apart by bars
        lines = [f"HI {number}" for number in range(11)] + [""]
    assert [source.read(index).text for index in range(12)] == lines


def test_words_come_before_letters(audio, manifest):
    manifest.with_suffix(".ltr").write_text("H I |\n" * 12)
    manifest.with_suffix(".wrd").write_text("HI\n" * 12)
    assert audio(manifest).records().read(4).text == "HI"


def test_fingerprint_follows_the_rows(audio, manifest):
    first = audio(manifest).records().fingerprint
    assert audio(changed(manifest, 3, "bob/10.wav\t8001")).records().fingerprint != first


def test_windows_line_ends_a_mark_and_blank_lines_at_the_end(audio, manifest):
    text = manifest.read_text().replace("\n", "\r\n")
    manifest.write_bytes(("\ufeff" + text + "\r\n\r\n").encode())
    assert audio(manifest).records().read(0).name == "bob/11.wav"


def test_files_named_as_in_librispeech(audio, tmp_path):
    (tmp_path / "103-1240-0000.flac").write_bytes(encoded(tone(5_000), "FLAC"))
    (tmp_path / "x.tsv").write_text(f"{tmp_path}\n103-1240-0000.flac\t5000\n")
    assert audio(tmp_path / "x.tsv").records().class_names == ("103",)


def test_a_file_of_another_length_is_a_fault_when_read(audio, manifest, sounds):
    (sounds / "ann/03.wav").write_bytes(wav(tone(7_999)))
    source = audio(manifest).records()
    with pytest.raises(BadRecord, match=r"7999 samples, but train\.tsv lists 8000") as bad:
        source.read(8)
    assert bad.value.name == "ann/03.wav"
    (sounds / "ann/03.wav").unlink()
    with pytest.raises(BadRecord, match="No such file") as bad:
        source.read(8)


RATES = {"a.wav": 48_000, "b.wav": 16_000, "c.flac": 44_100, "d.wav": 8_000}


@pytest.mark.parametrize("first", RATES)
def test_each_file_has_its_own_rate(audio, tmp_path, first: str):
    for name, rate in RATES.items():
        kind = pathlib.Path(name).suffix[1:].upper()
        (tmp_path / name).write_bytes(encoded(tone(2 * rate, rate=rate), kind, rate))
    names = [first, *(name for name in RATES if name != first)]
    rows = "".join(f"{name}\t{2 * RATES[name]}\n" for name in names)
    (tmp_path / "x.tsv").write_text(f"{tmp_path}\n{rows}")
    source = audio(tmp_path / "x.tsv").records()
    assert source.lengths.tolist() == [32_000] * 4
    assert [len(decode(source.read(index).data)) for index in range(4)] == [32_000] * 4


@pytest.mark.parametrize("kind", ["PCM_16", "PCM_24", "FLOAT", "FLAC", "zip"])
def test_parts_of_files(audio, tmp_path, kind: str, capsys):
    """As if each had been a file of its own."""
    whole = encoded(tone(32_000), "FLAC") if kind == "FLAC" else None
    whole = whole or wav(tone(32_000), subtype="PCM_16" if kind == "zip" else kind)
    parts = [(0, 16_000), (8_000, 16_000), (16_000, 16_000)]
    if kind == "zip":
        files = [wav(tone(20_000)), wav(tone(16_000, 300))]
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
            for number, data in enumerate(files):
                packed.writestr(f"{number}.wav", data)
        held = (tmp_path / "x.zip").read_bytes()
        rows = [f"x.zip:{held.index(one)}:{len(one)}\t{(len(one) - 44) // 2}" for one in files]
        wanted = [decode(one) for one in files]
    else:
        (tmp_path / "a.wav").write_bytes(whole)
        rows = [f"a.wav:{first}:{count}\t{count}" for first, count in parts]
        wanted = [decode(whole)[first : first + count] for first, count in parts]
    (tmp_path / "x.tsv").write_text("\n".join([str(tmp_path), *rows, ""]))
    source = audio(tmp_path / "x.tsv").records()
    assert source.lengths.tolist() == [len(wave_s) for wave_s in wanted]
    for index, wave_s in enumerate(wanted):
        np.testing.assert_array_equal(decode(source.read(index).data), wave_s)
    assert main(["data", "inspect", str(tmp_path / "x.tsv"), "--config.data.min_samples=0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["readable", str(len(rows))] for line in lines)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.wav:20000:16000", "a.wav ends 4000 samples before the part does"),
        ("a.wav:0:8000", "8000 samples, but x.tsv lists 16000"),
        ("x.zip:0:99999", "bytes before the part does"),
        ("b.wav:0:16000", "No such file"),
    ],
)
def test_parts_that_are_not_there(audio, tmp_path, row: str, reason: str):
    (tmp_path / "a.wav").write_bytes(wav(tone(32_000)))
    (tmp_path / "x.zip").write_bytes(b"PK\3\4")
    (tmp_path / "x.tsv").write_text(f"{tmp_path}\na.wav\t32000\n{row}\t16000\n")
    with pytest.raises(BadRecord, match=reason) as bad:
        audio(tmp_path / "x.tsv").records().read(1)
    assert bad.value.name in (None, row)


def test_colons_of_a_files_own_name(audio, tmp_path):
    (tmp_path / "a.wav:0:16000").write_bytes(wav(tone(8_000)))
    (tmp_path / "x.tsv").write_text(f"{tmp_path}\na.wav:0:16000\t8000\n")
    assert audio(tmp_path / "x.tsv").records().lengths.tolist() == [8_000]


def test_a_root_that_went_away(audio, manifest, sounds, caplog):
    moved = manifest.rename(sounds / "train.tsv")
    changed(moved, 1, "/nowhere/at/all")
    with caplog.at_level(logging.WARNING, "d2v"):
        source = audio(moved).records()
    assert f"no files in /nowhere/at/all; they are read from {sounds}" in caplog.text
    assert source.read(0).name == "bob/11.wav"
    caplog.clear()
    assert len(audio(changed(moved, 1, ".")).records()) == 12  # relative to the manifest
    assert not caplog.text


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "/nowhere", r"line 1: the root folder '/nowhere' does not exist.*line 1"),
        (1, "ann/00.wav\t8000", r"line 1: 'ann/00\.wav\\t8000' has a tab.*Put it in front"),
        (4, "bob/09.wav", r"train\.tsv line 4: 'bob/09\.wav' has 1 columns; each row is PATH"),
        (4, "bob/09.wav\t8000\t1", r"line 4: .* has 3 columns"),
        (4, "", r"line 4: '' has 1 columns"),
        (5, "bob/08.wav\t8000.5", r"line 5: '8000\.5' is not a number of samples"),
        (5, "bob/08.wav\t0", r"line 5: '0' is not a number of samples"),
        (5, "bob/11.wav\t8000", r"line 5: 'bob/11\.wav' is listed already in line 2; remove"),
    ],
)
def test_broken_lines(audio, manifest, line: int, text: str, message: str):
    with pytest.raises(UserError, match=message):
        audio(changed(manifest, line, text)).records()


def test_broken_manifests(audio, manifest, tmp_path):
    with pytest.raises(UserError, match=r"no such manifest\. Give the \.tsv file"):
        audio(tmp_path / "valid.tsv").records()
    empty = tmp_path / "empty.tsv"
    empty.write_text("")
    with pytest.raises(UserError, match=r"is empty; its first line must be the root"):
        audio(empty).records()
    empty.write_text("/data\n\n")
    with pytest.raises(UserError, match="lists no files"):
        audio(empty).records()
    empty.write_bytes("/data\nrésumé.wav\t8000\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 0\)"):
        audio(empty).records()
    changed(manifest, 1, str(tmp_path))
    with pytest.raises(UserError, match=r"line 2: there is no 'bob/11\.wav' in the root folder"):
        audio(manifest).records()


def test_names_that_are_not_utf8(audio, tmp_path, capsys):
    """They are found by their bytes, and written escaped."""
    for number in range(2):
        (tmp_path / os.fsdecode(b"caf\xe9%d.wav" % number)).write_bytes(wav(tone(8_000)))
    path = tmp_path / "train.tsv"
    path.write_bytes(b".\ncaf\xe90.wav\t8000\ncaf\xe91.wav:2000:5000\t5000\n")
    source = audio(path).records()
    records = [source.read(index) for index in range(2)]
    assert [one.name for one in records] == [r"caf\xe90.wav", r"caf\xe91.wav:2000:5000"]
    assert [len(decode(one.data)) for one in records] == [8_000, 5_000]
    assert main(["data", "inspect", str(path), "--modality", "audio"]) == 0
    assert r"caf\xe90.wav" in capsys.readouterr().out
    (tmp_path / os.fsdecode(b"caf\xe91.wav")).unlink()
    with pytest.raises(BadRecord, match="No such file") as bad:
        source.read(1)
    assert bad.value.name == r"caf\xe91.wav:2000:5000"


def test_a_pipe_in_a_manifest_is_not_waited_for(audio, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(tone(8_000)))
    os.mkfifo(tmp_path / "pipe.wav")
    path = tmp_path / "train.tsv"
    path.write_text(".\na.wav\t8000\npipe.wav\t8000\n")
    with pytest.raises(BadRecord, match="it is a named pipe"):
        audio(path).records().read(1)


def test_labels_of_another_length(audio, manifest):
    manifest.with_suffix(".wrd").write_text("HI\n" * 11)
    with pytest.raises(UserError, match=r"train\.wrd has 11 lines for the 12 files of train\.tsv"):
        audio(manifest).records()
