"""Pairs of passages from documents: what follows, and what does not."""

import pickle

import numpy as np
import pytest

from d2v_jax.common.checks import ConfigError, UserError
from d2v_jax.data.loader import open_batches

TOKENS = 24


@pytest.fixture
def folder(tmp_path):
    """Eight documents of lines "aaa bbb ...", each letter of one line of one document."""
    for number in range(8):
        letters = [chr(ord("a") + number), chr(ord("A") + number), str(number)]
        lines = [letter * length for letter, length in zip(letters, (4, 6, 3))]
        (tmp_path / f"{number}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def drawn(cfg, count=400):
    """(first, second, label) of examples as they are cut; ids of `<s>` and the like are gone."""
    opened = cfg.open()
    rng = np.random.default_rng(0)
    for number in range(count):
        example = opened.cut(opened.source.read(number % len(opened.source)), rng, TOKENS)
        ids = example["inputs"].tolist()
        assert ids[0] == 0 and len(ids) == TOKENS
        real = ids[1 : len(ids) - ids[::-1].index(2)]
        ends = [place for place, one in enumerate(real) if one == 2]
        assert len(ends) == 3 and ends[1] == ends[0] + 1 and ends[2] == len(real) - 1
        assert set(ids[len(real) + 1 :]) <= {1}
        words = "".join(chr(one - 4) if one > 3 else "|" for one in real)
        first, _, second, _ = words.split("|")
        yield first, second, int(example["labels"])


def line_of(letter):
    """(document, line) of a letter."""
    if letter.isdigit():
        return int(letter), 2
    return ord(letter.lower()) - ord("a"), int(letter.isupper())


def test_what_follows_and_what_does_not(text, folder):
    cfg = text(folder, tokens=TOKENS, blocks="pairs")
    labels = []
    for first, second, label in drawn(cfg):
        (one, last), (other, begin) = line_of(first[-1]), line_of(second[0])
        assert {line_of(letter)[0] for letter in first} == {one}
        assert {line_of(letter)[0] for letter in second} == {other}
        if label == 0:
            assert one == other and begin == last + 1
        else:
            assert one != other
        labels.append(label)
    assert 0.4 < np.mean(labels) < 0.6


def test_long_ones_lose_their_ends(text, folder):
    (folder / "8.txt").write_text("x" * 15 + "\n" + "y" * 4 + "\n")
    lengths = [len(a) + len(b) for a, b, _ in drawn(text(folder, tokens=TOKENS, blocks="pairs"))]
    assert max(lengths) == TOKENS - 4


def test_batches_carry_the_answers(text, folder):
    cfg = text(folder, tokens=TOKENS, blocks="pairs")
    form = cfg.form((TOKENS,), 4)
    with open_batches(cfg, seed=0, batch_size=4) as batches:
        batch = next(batches)
        assert {name: (a.shape, a.dtype) for name, a in batch.items()} == {
            name: (one.shape, np.dtype(one.dtype)) for name, one in form.items()
        }
        kinds = {batches.fingerprint}
    plain = text(folder, tokens=TOKENS, blocks="documents")
    with open_batches(plain, seed=0, batch_size=4) as batches:
        assert "labels" not in next(batches) and batches.fingerprint not in kinds
    cut = pickle.loads(pickle.dumps(cfg.open().cut))
    assert len(cut.source) == 8


def test_one_document_is_too_few(text, tmp_path):
    (tmp_path / "only.txt").write_text("aaa\nbbb\n")
    cfg = text(tmp_path, tokens=TOKENS, blocks="pairs")
    with pytest.raises(UserError, match="data.blocks='pairs' needs many documents"):
        with open_batches(cfg, seed=0, batch_size=2) as batches:
            for _ in range(20):
                next(batches)


def test_labelled_texts_are_no_documents(text, folder):
    cfg = text(folder, blocks="pairs", labels="class", label_names=("a",), columns=("a", "b"))
    with pytest.raises(ConfigError, match="data.blocks='pairs' .* data.labels='none'"):
        cfg.check()
