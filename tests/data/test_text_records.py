"""Documents from JSON lines, Parquet and TFDS, and what is wrong with some of them."""

import gzip
import json
import logging
import pathlib

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_datasets as tfds
from pyarrow import parquet

from d2v_jax.common.checks import UserError
from d2v_jax.data.text import textfiles
from d2v_jax.data.text.documents import Document, whole

ROWS = ["First line.\nSecond line.", "Another one.", "", "Grüße\r\n\r\nwörld"]
FOUND = [("First line.", "Second line."), ("Another one.",), (), ("Grüße", "wörld")]


def lines_of(rows: list[object]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def found(source) -> list[tuple[str, tuple[str, ...]]]:
    return [(document.name, document.lines) for document in source.documents()]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet"])
def test_one_file_and_a_folder(text, tmp_path, kind):
    folder = tmp_path / "records"
    folder.mkdir()
    path = folder / f"a.{kind}"
    if kind == "parquet":
        table = pa.table({"id": range(len(ROWS)), "body": ROWS})
        parquet.write_table(table, path, row_group_size=3)
    else:
        data = lines_of([{"id": n, "body": row} for n, row in enumerate(ROWS)])
        path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    (folder / "b.txt").write_text("Plain.\n")
    expected = [(f"a.{kind}:{n}", lines) for n, lines in enumerate(FOUND, 1)]
    assert found(text(path, column="body").documents()) == expected
    mixed = text(folder, column="body").documents()
    assert found(mixed) == [*expected, ("b.txt:1", ("Plain.",))] and not mixed.faults
    assert mixed.fingerprint != text(folder, column="id").documents().fingerprint
    assert len(text(folder, column="body").records()) == 4


def test_what_is_wrong_with_a_line(text, tmp_path, caplog):
    good = [{"text": f"fine {n}"} for n in range(40)]
    bad = {
        b"{": "not JSON",
        b"[1]": "not a JSON object but list",
        b'{"text": 3}': "is not a string",
        b'{"txt": "a"}': "no column 'text' (it has: txt)",
        b'{"text": "\xff"}': "not UTF-8",
        b'{"text": "\\ud800"}': "half a character",
        b"[" * 100_000: "not readable as JSON",
    }
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines_of(good) + b"\n\n".join(bad) + b"\n")
    source = text(path).documents()
    with caplog.at_level(logging.WARNING, "d2v"):
        assert len(list(source.documents())) == 40
    assert len(source.faults) == len(bad)
    for (name, reason), (number, expected) in zip(source.faults.items(), enumerate(bad.values())):
        assert name == f"a.jsonl:{41 + 2 * number}" and expected in reason
        assert f"skipped {name}: {reason}" in caplog.text
    source.check_faults(0.2)
    with pytest.raises(UserError, match=r"7 of 47 records.*data\.max_bad_share=0\.1.*a\.jsonl:41"):
        source.check_faults(0.1)


def test_columns_that_are_not_there(text, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines_of([{"body": "x", "title": "y"}] * 5))
    with pytest.raises(UserError, match=r"no column 'bodi' .*body, title\. Did you mean 'body'\?"):
        text(path, column="bodi").records()
    path.write_bytes(lines_of([{"body": "x"}] * 2 * textfiles.TRIED))
    with pytest.raises(UserError, match="no column 'text'"):  # without reading all of it
        list(text(path).documents().documents())
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"body": ["x"], "id": [1]}), path)
    with pytest.raises(UserError, match=r"no column 'text' .*body, id"):
        text(path).records()
    with pytest.raises(UserError, match=r"1 of 1 files.*column 'id' holds int64, not text"):
        text(path, column="id").records()


def test_damaged_files(text, tmp_path):
    rows = [{"text": f"row {n} of many"} for n in range(2_000)]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines_of(rows))[:-200])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "c.jsonl").write_bytes(lines_of(rows))
    parquet.write_table(
        pa.table({"text": pa.array([b"ok", b"\xff", None])}), tmp_path / "d.parquet"
    )
    source = text(tmp_path).documents()
    names = {document.name for document in source.documents()}
    assert {"c.jsonl:2000", "d.parquet:1"} <= names and "a.jsonl.gz:1000" in names
    reasons = source.faults
    assert reasons.keys() == {"a.jsonl.gz", "b.parquet", "d.parquet:2", "d.parquet:3"}
    assert "damaged behind line" in reasons["a.jsonl.gz"]
    assert "not readable as Parquet" in reasons["b.parquet"]
    assert reasons["d.parquet:3"] == "column 'text' is null"
    with pytest.raises(UserError, match=r"2 of 4 files"):
        text(tmp_path, max_bad_share=0.4).records()


def test_long_documents_come_in_parts(text, tmp_path, monkeypatch):
    monkeypatch.setattr(textfiles, "AT_ONCE", 10)
    path = tmp_path / "a.txt"
    path.write_text("one two\nthree four\nfive\n\nsix\n")
    parts = list(text(path).documents().documents())
    assert [(p.name, p.lines, p.more) for p in parts] == [
        ("a.txt:1", ("one two", "three four"), True),
        ("a.txt:1", ("five",), False),
        ("a.txt:5", ("six",), False),
    ]
    assert list(whole(parts)) == [
        Document("a.txt:1", ("one two", "three four", "five")),
        Document("a.txt:5", ("six",)),
    ]
    source = text(path, blocks="documents", tokens=40).records()
    assert [source.read(n).name for n in range(2)] == [
        "a.txt:1 from token 0",
        "a.txt:5 from token 0",
    ]


# -- TFDS


class Letters(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "text": tfds.features.Text(),
            "kind": tfds.features.ClassLabel(names=["a", "b"]),
            "parts": tfds.features.FeaturesDict({"title": tfds.features.Text(), "n": np.int64}),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(70), "test": self._generate_examples(3)}

    def _generate_examples(self, count: int):
        for number in range(count):
            yield (
                number,
                {
                    "text": f"Letter {number}.\nYours",
                    "kind": 0,
                    "parts": {"title": f"Title {number}", "n": number},
                },
            )


@pytest.fixture(scope="module")
def letters(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("letters")
    Letters(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


def test_tfds(text, letters, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(letters))
    source = text("tfds:letters").documents()
    documents = list(source.documents())
    assert len(documents) == 70 and not source.faults
    assert {d.lines for d in documents} == {(f"Letter {n}.", "Yours") for n in range(70)}
    assert documents[69].name == "tfds:letters train record 69"
    titles = text("tfds:letters", column="parts/title", split="test").documents()
    assert {d.lines for d in titles.documents()} == {(f"Title {n}",) for n in range(3)}
    assert titles.fingerprint != source.fingerprint
    characters = sum(len(f"Letter {n}.|Yours||") for n in range(70))
    assert len(text("tfds:letters").records()) == characters // 15
    with pytest.raises(UserError, match=r"no feature 'title'.*in parts/title, text\. Did you"):
        text("tfds:letters", column="title").documents()
    with pytest.raises(UserError, match=r"feature 'kind' .*no text but ClassLabel.*parts/title"):
        text("tfds:letters", column="kind").documents()
    with pytest.raises(UserError, match="is not prepared"):
        text("tfds:no_such_set").documents()
