"""Files, names and folders as people have them, tried at the command line: one row each."""

import bz2
import gzip
import json
import lzma
import os

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image
from pyarrow import parquet

from d2v_jax.cli.main import main
from d2v_jax.common.names import lines_of, place, writable
from d2v_jax.data.text import jsonl

ROWS = "".join(json.dumps({"text": f"Café number {i}.", "id": i}) + "\n" for i in range(20))
ARRAY = json.dumps([json.loads(line) for line in ROWS.splitlines()], indent=1)
TABLE = "id,text\n" + "".join(f'{i},"Café, number {i}."\n' for i in range(20))
PLAIN = "\n\n".join(f"Café number {i}." for i in range(20))


def parquet_of(rows):
    file = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist([json.loads(row) for row in rows.splitlines()]), file)
    return file.getvalue().to_pybytes()


GOOD = {
    "train.json": ROWS.encode(),
    "array.json": ARRAY.encode(),
    "c4.json.gz": gzip.compress(ROWS.encode()),
    "c4.jsonl.xz": lzma.compress(ROWS.encode()),
    "c4.jsonl.zst": pa.compress(ROWS.encode(), "zstd", asbytes=True),
    "caf\udce9.jsonl.zst": pa.compress(ROWS.encode(), "zstd", asbytes=True),
    "caf\udce9.parquet": parquet_of(ROWS),
    "caf\udce9.csv": TABLE.encode(),
    "x.csv": TABLE.encode(),
    "x.tsv": TABLE.replace(",", "\t", 1).replace('"', "").encode()[:8] + b"\n1\tCaf\n" * 20,
    "x.txt.gz": gzip.compress(PLAIN.encode()),
    "x.txt.bz2": bz2.compress(PLAIN.encode()),
    "utf16.txt": PLAIN.encode("utf-16"),
    "utf32.txt": PLAIN.encode("utf-32"),
    "utf16.jsonl": ROWS.encode("utf-16"),
}
BAD = {
    "rows.txt": (ROWS.encode(), "name it .jsonl"),
    "array.txt": (json.dumps(json.loads(ARRAY)).encode(), "name it .jsonl"),
    "indented.txt": (ARRAY.encode(), "name it .jsonl"),
    "paper.txt": (b"%PDF-1.7 text", "it is PDF"),
    "book.docx": (b"PK\x03\x04" + b"x" * 99, "zip"),
    "bare.txt": ("words " * 9).encode("utf-16-le"),
}
BAD["bare.txt"] = (BAD["bare.txt"], "NUL")


def inspected(path, capsys, modality):
    code = main(["data", "inspect", str(path), "--modality", modality])
    return code, "".join(capsys.readouterr())


@pytest.mark.parametrize("name", GOOD)
def test_texts_are_read_as_what_they_are(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(GOOD[name])
    code, said = inspected(tmp_path / name, capsys, "text")
    assert code == 0 and "20" in said.split("documents", 1)[1].split("\n")[0]


@pytest.mark.parametrize("name", BAD)
def test_texts_that_are_none_are_refused_by_what_they_are(name, tmp_path, capsys):
    data, reason = BAD[name]
    (tmp_path / name).write_bytes(data)
    _, said = inspected(tmp_path / name, capsys, "text")
    assert reason in said


@pytest.mark.parametrize("suffix", ["tif", "bmp", "gif", "jfif", "avif", "jp2", "ppm"])
def test_pictures(suffix, tmp_path, capsys):
    Image.new("RGB", (32, 32)).save(
        tmp_path / f"a.{suffix}", format="JPEG" if suffix == "jfif" else None
    )
    (tmp_path / "b.heic").write_bytes(b"x")
    code, said = inspected(tmp_path, capsys, "image")
    assert code == 0 and "readable              1" in said and "1 .heic" in said


@pytest.mark.parametrize("suffix", ["mp3", "aiff", "opus", "oga", "au", "caf"])
def test_sounds_and_special_files(suffix, tmp_path, capsys):
    kinds = {"oga": "OGG", "opus": "OGG", "aiff": "AIFF"}
    wave = np.random.default_rng(0).normal(0, 0.1, 176_000)
    kind = kinds.get(suffix, suffix.upper())
    own = tmp_path / f"a.{suffix}"
    soundfile.write(own, wave, 16_000, format=kind, subtype="OPUS" if suffix == "opus" else None)
    os.link(own, os.fsencode(tmp_path) + b"/caf\xe9." + suffix.encode())
    os.mkfifo(tmp_path / "pipe.wav")
    os.symlink("nowhere", tmp_path / "broken.wav")
    os.symlink("loop.wav", tmp_path / "loop.wav")
    (tmp_path / "b.m4a").write_bytes(b"x")
    code, said = inspected(tmp_path, capsys, "audio")
    assert code == 0 and "readable              2" in said and "1 .m4a" in said
    assert "pipe.wav: a named pipe" in said and "broken.wav: a link that leads nowhere" in said
    assert "loop.wav" in said and r"caf\xe9" in said


def test_a_folder_with_the_joining_sign_in_its_name(tmp_path, capsys):
    (tmp_path / "speech + noise").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "speech + noise/a.png")
    assert inspected(tmp_path / "speech + noise", capsys, "image")[0] == 0


def test_names_paths_and_lines(monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    assert str(place("~/x")) == "/h/x"
    assert writable("caf\udce9\n") == r"caf\xe9\x0a"
    assert lines_of("a\x0cb\u2028c\r\nd\re\n") == ["a\x0cb\u2028c", "d", "e"]


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_an_array_is_read_in_pieces(at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "AT_ONCE", at_once)
    (tmp_path / "a.json").write_text(ARRAY)
    found = list(jsonl.read(tmp_path / "a.json", "text"))
    assert found == [(i + 1, f"Café number {i}.") for i in range(20)]
