"""Passages with the document they come from."""

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled import texts
from d2v_jax.data.labelled.texts import LabelledTexts, labelled_texts
from d2v_jax.data.text import opening
from d2v_jax.data.text.documents import Document
from d2v_jax.data.text.rows import BOS, EOS

SOURCE = "builtin:python-docs"


def passages(cfg, count: int, seed: int) -> tuple[LabelledTexts, LabelledTexts]:
    return labelled_texts(cfg.records("documents"), cfg.source, cfg.tokens, count, seed)


@pytest.fixture
def documents(monkeypatch):
    """Replaces the built-in documents by forty of 20 to 59 lines, one too short, one repeating."""
    found = [
        Document(f"m{n:02d}", tuple(f"{n:02d} says {k:03d}" for k in range(20 + n)), n)
        for n in range(40)
    ]
    found.append(Document("short", tuple(f"short {k:04d}" for k in range(8)), 40))
    found.append(Document("echo", ("the echo 77",) * 90, 41))
    monkeypatch.setattr(opening.pydocs, "documents", lambda: tuple(found))


def said(ids_t):
    return bytes((ids_t[ids_t > 3] - 4).astype(np.uint8)).decode()


def test_documents_are_cut_where_learning_ends(text, documents):
    train, test = passages(text(SOURCE, tokens=16), 10_000, 0)  # a line in each passage
    for part in (train, test):
        assert all(
            ids_t[0] == BOS and ids_t[-1] == EOS and len(ids_t) == 13 for ids_t in part.texts
        )
        assert all(
            said(ids_t).startswith(f"{label:02d}")
            for ids_t, label in zip(part.texts, part.labels)
            if label < 41
        )
    # The largest: the echo, and those of 29 to 59 lines; of the echo nothing new is left.
    assert set(train.labels) == {*range(9, 40), 41} and set(test.labels) == set(range(9, 40))
    for label in range(9, 40):
        lines = [
            sorted(
                int(said(ids_t)[-3:]) for ids_t, own in zip(part.texts, part.labels) if own == label
            )
            for part in (train, test)
        ]
        assert lines[0] + lines[1] == list(range(20 + label))  # first those to learn from
        assert len(lines[0]) == round(0.7 * (20 + label))


def test_the_seed_picks(text, documents):
    cfg = text(SOURCE, tokens=16, blocks="contiguous")
    (first, _), (again, _), (other, _) = (passages(cfg, 50, seed) for seed in (0, 0, 1))
    assert len(first.texts) == len(first.labels) == 50
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


def test_real_documentation(text):
    train, test = passages(text(SOURCE, tokens=256), 10_000, 0)
    assert len(train.texts) > 1_000 and len(test.texts) > 300
    assert len(set(train.labels)) == texts.CLASSES
    lines = lambda part: {
        line.tobytes()
        for ids_t in part.texts
        for line in np.split(ids_t[1:], np.flatnonzero(ids_t[1:] == EOS) + 1)
        if len(line)
    }
    assert not lines(train) & lines(test)


def test_what_cannot_be_probed(text, texts, documents):
    with pytest.raises(UserError, match=r"has no labels.*--source builtin:python-docs"):
        passages(text(texts), 10, 0)
    with pytest.raises(UserError, match=r"too small.*data.tokens=1024.*16 passages"):
        passages(text(SOURCE, tokens=1024), 10, 0)
