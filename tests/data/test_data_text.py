"""Text files to documents, documents to tokens, tokens to blocks."""

import itertools
import logging
import pickle

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data import progress
from d2v_jax.data.builtin import pydocs
from d2v_jax.data.loader import open_batches
from d2v_jax.data.text import corpus
from d2v_jax.data.text.blocks import Blocks
from d2v_jax.data.text.corpus import tokenize
from d2v_jax.data.text.documents import Document
from d2v_jax.data.text.textfiles import TextFiles
from d2v_jax.data.text.tokenizer import Bytes


def spelled(ids) -> str:
    """Bytes as text; | for `</s>`, ^ for `<s>`, _ for `<pad>`."""
    marks = {0: b"^", 1: b"_", 2: b"|"}
    data = b"".join(marks.get(int(i)) or bytes([int(i) - 4]) for i in ids)
    return data.decode(errors="replace")


def blocks_of(documents: list[Document], cfg) -> list[str]:
    source = Blocks(tokenize(documents, Bytes()), cfg.source, cfg.tokens, cfg.blocks)
    return [spelled(source.read(index).data) for index in range(len(source))]


DOCUMENTS = [
    Document("a", ("one.", "two two.", "3.")),
    Document("b", ("fourth sentence.",)),
    Document("empty", ()),
    Document("c", ("v", "vi")),
]
STREAM = "one.|two two.|3.||fourth sentence.||v|vi||"


# -- files


def test_documents_of_files(texts):
    found = list(TextFiles(texts).documents())
    assert [(d.name, d.lines) for d in found] == [
        ("a.txt:1", ("One fine day.", "It rained.")),
        ("a.txt:5", ("Another document, whose second line follows.", "Here.")),
        ("b/c.txt:1", ("Grüße, wörld",)),
    ]
    assert next(TextFiles(texts / "b" / "c.txt").documents()).name == "c.txt:1"


def test_unreadable_files_are_left_out_up_to_a_share(text, texts, caplog):
    (texts / "bad.txt").write_bytes(b"caf\xe9 au lait\n" * 20)
    (texts / "nul.txt").write_bytes(b"some\0text\n")
    (texts / "aa.txt").write_bytes(b"\xef\xbb\xbfmarked\n")
    with caplog.at_level(logging.WARNING, "d2v"):
        source = text(texts, max_bad_share=0.4).records()
    stream = "".join(spelled(source.read(index).data) for index in range(len(source)))
    assert stream.startswith("One fine day.|It rained.||Another") and "Here.||marked||Gr" in stream
    assert "skipped bad.txt: not UTF-8: invalid continuation byte at byte 3" in caplog.text
    assert "skipped nul.txt: not text" in caplog.text
    with pytest.raises(UserError, match=r"2 of 5 files.*max_bad_share=0\.3.*bad\.txt: not UTF-8"):
        text(texts, max_bad_share=0.3).records()


def test_text_errors(text, tmp_path):
    with pytest.raises(UserError, match=r"no such folder.*\.txt.*builtin:python-docs"):
        text(tmp_path / "books-and-wikipedia").records()
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(UserError, match=r"no text file.*as 'a\.md'"):
        text(tmp_path).records()
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"0 tokens, fewer than one block of data\.tokens=16"):
        text(tmp_path).records()
    with pytest.raises(UserError, match=r"0 tokens"):
        text(tmp_path, blocks="documents").records()
    (tmp_path / "a.txt").write_text("thirteen byte")
    with pytest.raises(UserError, match=r"15 tokens, fewer than one block of data\.tokens=17"):
        text(tmp_path, tokens=17).records()
    assert len(text(tmp_path, tokens=16).records()) == 1
    with pytest.raises(
        UserError, match=r"data\.blocks='lines': must be 'contiguous', 'documents' or"
    ):
        text(tmp_path, blocks="lines").records()
    with pytest.raises(UserError, match=r"data\.tokens=1: must be at least 2"):
        text(tmp_path, tokens=1).records()
    with pytest.raises(UserError, match=r"data\.tokenizer='gpt2'"):
        text(tmp_path, tokenizer="gpt2").records()
    with pytest.raises(UserError, match=r"known: builtin:python-docs"):
        text("builtin:docs").records()


# -- blocks


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_the_stream(monkeypatch, chunk):
    monkeypatch.setattr(corpus, "CHUNK", chunk)
    made = tokenize(DOCUMENTS, Bytes())
    assert made.tokens.dtype == np.uint16 and spelled(made.tokens) == STREAM
    spans = [spelled(made.tokens[a:b]) for a, b in zip(made.starts, made.ends)]
    assert spans == ["one.|two two.|3.|", "fourth sentence.|", "v|vi|"]
    assert [made.names[n] for n in range(3)] == ["a", "b", "c"] and len(made.names) == 3


def test_contiguous(text):
    assert blocks_of(DOCUMENTS, text("x", tokens=9)) == [
        "one.|two",
        " two.|3.",
        "||fourth",
        " sentenc",
        "e.||v|vi",
    ]
    source = Blocks(tokenize(DOCUMENTS, Bytes()), "x", 9, "contiguous")
    names = [source.read(index).name for index in range(5)]
    # The border between documents belongs to the one before it.
    assert names == [
        "a from token 0",
        "a from token 8",
        "a from token 16",
        "b from token 6",
        "b from token 14",
    ]


def test_documents(text):
    assert blocks_of(DOCUMENTS, text("x", tokens=18, blocks="documents")) == [
        "one.|two two.|3.|",
        "fourth sentence.|",
        "v|vi|",
    ]
    assert blocks_of(DOCUMENTS, text("x", tokens=17, blocks="documents")) == [
        "one.|two two.|",
        "3.|",
        "fourth ",
        "sentence.|",
        "v|vi|",
    ]
    assert blocks_of(DOCUMENTS, text("x", tokens=8, blocks="documents")) == [
        "one.|",
        "two ",
        "two.|",
        "3.|",
        "fourth ",
        "sentenc",
        "e.|",
        "v|vi|",
    ]
    source = Blocks(tokenize(DOCUMENTS, Bytes()), "x", 8, "documents")
    assert source.read(6).name == "b from token 14"


def test_documents_lose_and_mix_nothing(text):
    rng = np.random.default_rng(0)
    documents = [
        Document(f"{n}", tuple("x" * rng.integers(1, 40) for _ in range(rng.integers(1, 9))), n)
        for n in range(50)
    ]
    cfg = text("x", tokens=24, blocks="documents")
    source = Blocks(tokenize(documents, Bytes()), cfg.source, cfg.tokens, cfg.blocks)
    records = [source.read(index) for index in range(len(source))]
    assert max(len(r.data) for r in records) == 23
    for document in documents:
        mine = [spelled(r.data) for r in records if r.label == document.label]
        assert "".join(mine) == "".join(f"{line}|" for line in document.lines)
        for one, two in itertools.pairwise(mine):  # no line that would have fitted
            if one.endswith("|"):
                first = two.split("|")[0] + "|"
                assert len(one) + len(first) > 23 or len(first) > 23


def test_examples_begin_with_s_and_are_padded(text, texts):
    cfg = text("x", tokens=18, blocks="documents")
    source = Blocks(tokenize(DOCUMENTS, Bytes()), cfg.source, cfg.tokens, cfg.blocks)
    data = text(texts, tokens=18).open()
    out = data.cut(source.read(2), np.random.default_rng(0), 18)
    assert out["inputs"].dtype == np.int32 and spelled(out["inputs"]) == "^v|vi|" + 12 * "_"
    assert spelled(data.cut(source.read(0), None, 18)["inputs"]) == "^one.|two two.|3.|"


def test_large_vocabularies_need_more_bits():
    class Wide(Bytes):
        vocab_size = 70_000

        def encode(self, lines):
            ids = super().encode(lines)
            return np.where(ids > 3, ids + 69_000, ids)

    made = tokenize(DOCUMENTS, Wide())
    assert made.tokens.dtype == np.int32 and made.tokens.max() > 69_000


def test_fingerprint_follows_content(text, texts):
    def of(**changes):
        return text(texts, **changes).records().fingerprint

    one = of()
    assert one == of(threads=3)
    assert len({one, of(tokens=17), of(blocks="documents")}) == 3
    (texts / "a.txt").rename(texts / "0.txt")
    assert of() == one  # the same text in the same order
    (texts / "0.txt").write_text((texts / "0.txt").read_text().replace("rained", "snowed"))
    assert of() != one


def test_batches(text, texts):
    with open_batches(text(texts, blocks="documents", tokens=32), seed=0, batch_size=4) as batches:
        batch = next(batches)
    assert batch.keys() == {"inputs", "example_id"}
    assert batch["inputs"].shape == (4, 32) and batch["inputs"].dtype == np.int32
    assert (batch["inputs"][:, 0] == 0).all()


# -- the documentation inside Python


def test_python_docs(text):
    documents = pydocs.documents()
    names = [document.name for document in documents]
    assert len(set(names)) == len(names) > 250
    assert sum(len(line) for d in documents for line in d.lines) > 800_000
    assert not any("\n" in line or not line.strip() for d in documents for line in d.lines)
    by_name = {document.name: document.lines for document in documents}
    assert by_name["topic if"][0].startswith('The "if" statement')
    assert "Serialize ``obj`` to a JSON formatted ``str``." in by_name["json"]
    assert any("Return a" in line for line in by_name["collections"])
    assert not any(name.startswith(("idlelib", "test", "_")) for name in names)
    assert not any("._" in name or ".tests" in name for name in names)
    modules = [name for name in names if not name.startswith("topic ")]
    assert modules == sorted(modules) and names[-len(modules) :] == modules
    source = text("builtin:python-docs", tokens=64, blocks="documents").records()
    assert source.class_names == tuple(names)
    record = source.read(len(source) // 2)
    assert record.name.startswith(f"{names[record.label]} from token ")
    copy = pickle.loads(pickle.dumps(source))
    assert copy.fingerprint == source.fingerprint and len(copy) == len(source)
    assert np.array_equal(copy.read(7).data, source.read(7).data)


def test_docstrings_are_those_people_see(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('''"""Module."""
import this_would_fail
try:
    def f():
        """F."""
        def inner():
            """No."""
except ImportError:
    pass
class C:
    """C."""
    def method(self):
        """Method."""
    def _private(self):
        """No."""
async def g():
    """G."""
class _D:
    """No."""
    def h(self):
        """No."""
''')
    assert list(pydocs._docstrings(path)) == ["Module.", "F.", "C.", "Method.", "G."]
    path.write_text("def broken(:")
    assert list(pydocs._docstrings(path)) == []


def test_long_work_shows_signs_of_life(monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    with caplog.at_level(logging.INFO, "d2v"):
        assert list(progress.logged("ab", "reading", 2)) == ["a", "b"]
        tokenize(DOCUMENTS, Bytes())
    assert "reading: 2 of 2" in caplog.text and "tokenising documents: 4" in caplog.text
    monkeypatch.setattr(progress, "EVERY_S", 5.0)
    caplog.clear()
    tokenize(DOCUMENTS, Bytes())
    assert not caplog.records
