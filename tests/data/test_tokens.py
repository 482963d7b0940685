"""Ids in shards: the same blocks as from the texts themselves, and what can go wrong."""

import json
import logging
import pickle

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data.loader import open_batches
from d2v_jax.data.prepare import write_ids
from d2v_jax.data.records import BadRecord
from d2v_jax.data.text import corpus, stored_ids


@pytest.fixture
def books(tmp_path, monkeypatch):
    """Three files of some thousand words; chunks, records and shards are small."""
    monkeypatch.setattr(corpus, "CHUNK", 600)
    for module in (stored_ids, write_ids):
        monkeypatch.setattr(module, "RECORD", 100)
    monkeypatch.setattr(write_ids, "MEGABYTE", 5_000)
    rng = np.random.default_rng(0)
    words = ["low", "lower", "tower", "on", "a"]
    root = tmp_path / "books"
    root.mkdir()
    for name in "abc":
        lines = [" ".join(rng.choice(words, rng.integers(1, 30))) for _ in range(150)]
        lines[::9] = [""] * len(lines[::9])
        (root / f"{name}.txt").write_text("\n".join(lines))
    return root


@pytest.fixture
def small_bpe(tmp_path, text, books):
    text(books).train_tokenizer(tmp_path / "bpe", 270)
    return tmp_path / "bpe"


def same(one, two) -> None:
    assert len(one) == len(two) > 10 and one.fingerprint == two.fingerprint
    for index in range(len(one)):
        a, b = one.read(index), two.read(index)
        assert (a.name, a.label) == (b.name, b.label) and np.array_equal(a.data, b.data)


@pytest.mark.parametrize("blocks", ["contiguous", "documents"])
@pytest.mark.parametrize("ids", ["bytes", "bpe"])
def test_blocks_are_the_same(text, books, tmp_path, request, ids, blocks):
    tokenizer = "bytes" if ids == "bytes" else str(request.getfixturevalue("small_bpe"))
    plain = text(books, tokenizer=tokenizer, blocks=blocks, tokens=130)
    index = plain.prepare(tmp_path / "out", 1, 1, None)
    assert len(index["shards"]) > 2 and index["documents"] == 51
    assert index["tokens"] == sum(shard["tokens"] for shard in index["shards"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    extra = set() if ids == "bytes" else {"vocab.json", "merges.txt", "dict.txt"}
    shards = {shard["file"] for shard in index["shards"]}
    assert names == shards | {"prepared.json", *index["arrays"]} | extra
    # Its own tokenizer is taken where none is given.
    prepared = text(tmp_path / "out", tokenizer="", blocks=blocks, tokens=130)
    assert prepared.vocab_size() == plain.vocab_size()
    same(plain.records(), prepared.records())
    copy = pickle.dumps(prepared.records())
    same(plain.records(), pickle.loads(copy))
    with (
        open_batches(plain, seed=3, batch_size=4) as one,
        open_batches(prepared, seed=3, batch_size=4) as two,
    ):
        for _ in range(5):
            a, b = next(one), next(two)
            assert all(np.array_equal(a[key], b[key]) for key in a)


def test_labels_and_classes(text, tmp_path):
    plain = text("builtin:python-docs", tokens=500, blocks="documents")
    plain.prepare(tmp_path / "out", 1, 1, None)
    prepared = text(tmp_path / "out", tokens=500, blocks="documents").records()
    assert prepared.class_names == plain.records().class_names
    same(plain.records(), prepared)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("whole", [0, 1, 3])
def test_it_goes_on_where_it_was_interrupted(text, books, tmp_path, monkeypatch, caplog, whole):
    plain = text(books)
    expected = plain.prepare(tmp_path / "straight", 1, 1, None)
    write_whole, written = write_ids.write_whole, []

    def stop(path, data):
        if path.name.endswith(f"{whole:05d}.json"):
            raise Interrupted
        written.append(path.name)
        write_whole(path, data)

    monkeypatch.setattr(write_ids, "write_whole", stop)
    with pytest.raises(Interrupted):
        plain.prepare(tmp_path / "out", 1, 1, None)
    with pytest.raises(UserError, match=r"no prepared\.json.*d2v data prepare"):
        text(tmp_path / "out").records()
    if whole == 3:  # a whole shard that was damaged since is written again, the others are not
        path = tmp_path / "out" / write_ids.SHARD.format(1)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    written.clear()
    monkeypatch.setattr(
        write_ids, "write_whole", lambda p, d: (written.append(p.name), write_whole(p, d))
    )
    with caplog.at_level(logging.WARNING, "d2v"):
        again = plain.prepare(tmp_path / "out", 1, 1, None)
    assert again == expected and {p.name for p in (tmp_path / "out").iterdir()} == {
        p.name for p in (tmp_path / "straight").iterdir()
    }
    done = {write_ids.DONE.format(n) for n in range(len(expected["shards"]))}
    kept = {write_ids.DONE.format(n) for n in range(whole)}
    if whole == 3:
        assert "is damaged and written again" in caplog.text
        kept = {write_ids.DONE.format(0)}
    assert set(written) == done - kept


def test_another_plan_is_refused(text, books, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="not empty; give a new folder"):
        text(books).prepare(tmp_path / "full", 1, 1, None)
    with pytest.raises(UserError, match="holds no text"):
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "a.txt").write_text("\n")
        text(tmp_path / "empty").prepare(tmp_path / "none", 1, 1, None)

    def stop(*args):
        raise Interrupted

    monkeypatch.setattr(write_ids._Shards, "_write", stop)
    with pytest.raises(Interrupted):
        text(books).prepare(tmp_path / "out", 1, 1, None)
    with pytest.raises(UserError, match=r"was begun with shard_mb=1, and now it is 2"):
        text(books).prepare(tmp_path / "out", 1, 2, None)
    (books / "d.txt").write_text("more")
    with pytest.raises(UserError, match=r"was begun with source_fingerprint="):
        text(books).prepare(tmp_path / "out", 1, 1, None)


def test_the_tokenizer_must_be_the_same(text, books, small_bpe, tmp_path):
    text(books, tokenizer=str(small_bpe)).prepare(tmp_path / "out", 1, 1, None)
    with pytest.raises(UserError, match=r"another tokenizer than data\.tokenizer='bytes'; give"):
        text(tmp_path / "out").records()
    with pytest.raises(UserError, match=r"'gpt2'.*was prepared with lies in it: data\.tokenizer="):
        text(tmp_path / "out", tokenizer="gpt2").records()
    assert len(text(tmp_path / "out", tokenizer=str(small_bpe)).records()) > 10


def test_damaged_folders(text, books, tmp_path):
    index = text(books).prepare(tmp_path / "out", 1, 1, None)
    shard = tmp_path / "out" / index["shards"][1]["file"]
    sound = shard.read_bytes()
    shard.write_bytes(sound[:300] + bytes(50) + sound[350:])  # the ids of one record
    source = text(tmp_path / "out").records()
    bad = []
    for number in range(len(source)):
        try:
            source.read(number)
        except BadRecord as error:
            bad.append(error)
    assert 0 < len(bad) < len(source) / 4 and "from token" in bad[0].name
    shard.write_bytes(sound)
    for name, data, match in (
        ("line_ends.npy", b"", "line_ends"),
        ("names.npy", None, "names"),
        (shard.name, sound[:-8], "has .* bytes, not"),
        (shard.name, None, "is missing"),
    ):
        path = tmp_path / "out" / name
        kept = path.read_bytes()
        path.unlink() if data is None else path.write_bytes(data)
        with pytest.raises(UserError, match=f"damaged or was not finished: .*{match}"):
            text(tmp_path / "out", blocks="documents").records()
        path.write_bytes(kept)
    fields = json.loads((tmp_path / "out" / "prepared.json").read_text())
    del fields["dtype"]
    (tmp_path / "out" / "prepared.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match="lacks dtype"):
        text(tmp_path / "out").records()


def test_a_tokenizer_of_ones_own(text, books, tmp_path):
    said = text(books).train_tokenizer(tmp_path / "tok", 280)
    assert (
        "data.tokenizer=" in said
        and f"vocab_size={text('x', tokenizer=str(tmp_path / 'tok')).vocab_size()}" in said
    )
    listed = [line.split() for line in (tmp_path / "tok" / "dict.txt").read_text().splitlines()]
    counts = [int(count) for _, count in listed]
    assert counts == sorted(counts, reverse=True) and counts[0] > 100
    bytes_, ids = (
        text(books, tokenizer=name).records() for name in ("bytes", str(tmp_path / "tok"))
    )
    assert len(ids) < 0.6 * len(bytes_)  # words of its own
    first = ids.read(0).data
    assert np.median(first) < 4 + 10  # the commonest types have the lowest ids
    with pytest.raises(UserError, match="not empty; give a new folder"):
        text(books).train_tokenizer(tmp_path / "tok", 280)
    with pytest.raises(UserError, match=r"--vocab-size 100: at least 261"):
        text(books).train_tokenizer(tmp_path / "tok2", 100)
    assert "too few repeated pairs" in text(books).train_tokenizer(tmp_path / "tok3", 100_000)
