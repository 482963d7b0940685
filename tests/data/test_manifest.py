"""fairseq's manifests, as they are and as they get broken."""

import logging
import pathlib
import pickle

import pytest
from sounds import encoded, tone, wav

from d2v_jax.common.checks import UserError
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


def test_another_rate(audio, tmp_path, caplog):
    (tmp_path / "a.wav").write_bytes(wav(tone(16_000, rate=32_000), 32_000))
    (tmp_path / "x.tsv").write_text(f"{tmp_path}\na.wav\t16000\n")
    with caplog.at_level(logging.INFO, "d2v"):
        source = audio(tmp_path / "x.tsv").records()
    assert "32000 Hz" in caplog.text and source.lengths.tolist() == [8000]
    assert source.read(0).label is None


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
    empty.write_bytes(b"/data\nr\xe9sum\xe9.wav\t8000\n")
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 7\)"):
        audio(empty).records()
    changed(manifest, 1, str(tmp_path))
    with pytest.raises(UserError, match=r"line 2: there is no 'bob/11\.wav' in the root folder"):
        audio(manifest).records()


def test_labels_of_another_length(audio, manifest):
    manifest.with_suffix(".wrd").write_text("HI\n" * 11)
    with pytest.raises(UserError, match=r"train\.wrd has 11 lines for the 12 files of train\.tsv"):
        audio(manifest).records()
