"""Searches beside brute force, n-grams beside sums by hand, vocabularies beside their files."""

import gzip
import itertools
import json
import math

import numpy as np
import pytest

from d2v_jax.common import letters
from d2v_jax.common.checks import UserError
from d2v_jax.decoding import beam, ngram
from d2v_jax.decoding.greedy import greedy, log_probability, log_softmax

SMALL = letters.Letters(("<pad>", "A", "B", "|"))
ARPA = """
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0 <unk>
-99 <s> -0.3
-0.7 </s>
-0.5 A -0.2
-0.9 AB -0.1

\\2-grams:
-0.1 <s> AB
-0.4 AB A
-0.2 A </s>

\\end\\
"""


def logits(seed: int, frames: int, outputs: int = 4, sharp: float = 2.0) -> np.ndarray:
    return sharp * np.random.default_rng(seed).normal(size=(frames, outputs))


def collapsed(path, blank: int = 0) -> tuple[int, ...]:
    return tuple(s for s, _ in itertools.groupby(path) if s != blank)


def every_labelling(log_p_tc: np.ndarray) -> dict[tuple[int, ...], float]:
    """ln P of each labelling, summed over all paths one by one."""
    frames, outputs = log_p_tc.shape
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(outputs), repeat=frames):
        p = sum(log_p_tc[t, s] for t, s in enumerate(path))
        labels = collapsed(path)
        found[labels] = np.logaddexp(found.get(labels, -np.inf), p)
    return found


@pytest.fixture
def model(tmp_path) -> ngram.NGrams:
    path = tmp_path / "two.arpa"
    path.write_text(ARPA)
    return ngram.read(path)


@pytest.mark.parametrize("seed", range(5))
def test_probability_is_the_sum_over_paths(seed):
    log_p_tc = log_softmax(logits(seed, 5))
    for labels, expected in every_labelling(log_p_tc).items():
        assert log_probability(log_p_tc, list(labels), 0) == pytest.approx(expected, rel=1e-9)
    assert log_probability(log_p_tc, [1, 1, 1, 1], 0) == -math.inf  # repeats need blanks between


def test_greedy_collapses():
    path = [1, 1, 0, 1, 2, 2, 0, 0, 3]
    assert greedy(np.eye(4)[path], 0) == [1, 1, 2, 3]
    assert greedy(np.zeros((0, 4)), 0) == []


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize("with_words", [False, True])
def test_a_wide_beam_finds_the_best_of_all(seed, with_model, with_words, model):
    words = beam.Words(["A", "AB", "BB"], SMALL) if with_words else None
    settings = beam.Beam(width=10_000, drop=1e9, lm_weight=0.7, word_bonus=0.4)
    search = beam.Search(SMALL, settings, model if with_model else None, words)
    x_tc = logits(seed, 6)
    log_p_tc = log_softmax(x_tc)
    allowed = {"", "A", "AB", "BB"}
    best = -math.inf
    for labels, log_p in every_labelling(log_p_tc).items():
        said = "".join(SMALL.symbols[i] for i in labels).split("|")
        if with_words and not set(said) <= allowed:
            continue
        total, context = log_p, ("<s>",)
        for word in filter(None, said):
            if with_model:
                p, context = model.score(context, word)
                total += 0.7 * p + 0.4
            elif with_words:
                total += 0.4
        if with_model:
            total += 0.7 * model.end(context)
        best = max(best, total)
    found = search.best(x_tc)
    assert found.score == pytest.approx(best, rel=1e-9)
    assert search.score(log_p_tc, found.labels) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_a_narrow_beam_never_scores_below_greedy(seed, model):
    x_tc = logits(seed, 40, sharp=1.0)
    search = beam.Search(SMALL, beam.Beam(width=2, drop=1.0), model)
    log_p_tc = log_softmax(x_tc)
    assert search.best(x_tc).score >= search.score(log_p_tc, greedy(x_tc, 0))


def test_only_words_of_the_list_are_written():
    words = beam.Words(["A", "QQ"], SMALL)
    assert words.lost == 1
    search = beam.Search(SMALL, beam.Beam(), words=words)
    for seed in range(20):
        assert set(search.best(logits(seed, 9)).text.split()) <= {"A"}


def test_ngrams_back_off(model, tmp_path):
    score = lambda context, word: model.score(context, word)[0] / ngram.LN10
    assert score(("<s>",), "AB") == pytest.approx(-0.1)
    assert score(("<s>",), "ab") == pytest.approx(-0.1)  # another case
    assert score(("AB",), "AB") == pytest.approx(-0.1 - 0.9)  # back-off of AB, then AB alone
    assert score(("A",), "what") == pytest.approx(-0.2 - 1.0)  # as <unk>
    assert model.end(("A",)) / ngram.LN10 == pytest.approx(-0.2)
    assert model.score(("<s>",), "AB")[1] == ("AB",)
    packed = tmp_path / "two.arpa.gz"
    packed.write_bytes(gzip.compress(ARPA.encode()))
    assert ngram.read(packed).order == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("\\end\\", ""), "cut off"),
        (("-0.4 AB A", "-0.4 AB"), "line 15"),
        (("-0.4 AB A", "minus AB A"), "a word for a number"),
        (("ngram 2=3", "ngram 2=4"), "4 2-grams are announced, 3 are there"),
        (("ngram 2=3", "bigrams: 3"), "line 4"),
        (("ngram 2=3\n", "\n"), "was not announced"),
    ],
)
def test_broken_models_are_named(tmp_path, change, words):
    path = tmp_path / "broken.arpa"
    path.write_text(ARPA.replace(*change))
    with pytest.raises(UserError, match=r"broken.arpa") as caught:
        ngram.read(path)
    assert words in str(caught.value)


def test_no_model_at_all(tmp_path):
    path = tmp_path / "x.arpa.gz"
    path.write_bytes(b"not gzip")
    with pytest.raises(UserError, match=r"x\.arpa\.gz"):
        ngram.read(path)
    with pytest.raises(UserError, match="missing"):
        ngram.read(tmp_path / "missing.arpa")


def test_letters():
    english = letters.Letters(letters.ENGLISH)
    assert len(english.symbols) == 32 and english.symbols[english.between_words] == "|"
    ids = english.encode("it's  Fine")
    assert english.decode(ids) == "IT'S FINE"
    assert english.decode([0, *ids, 0, 2]) == "IT'S FINE"
    for bad, said in (("Ä", "'Ä'"), ("", "empty"), ("  ", "empty"), ("a.b", "'.'")):
        with pytest.raises(letters.NotInVocabulary, match=said):
            english.encode(bad)
    with pytest.raises(UserError, match="twice"):
        letters.Letters(("a", "a"))
    with pytest.raises(UserError, match="blank=7"):
        letters.Letters(("a", "b"), 7)


def test_vocabularies_of_others(tmp_path):
    fairseq = tmp_path / "dict.ltr.txt"
    fairseq.write_text("".join(f"{s} {n}\n" for n, s in enumerate(letters.ENGLISH[4:])))
    assert letters.read(fairseq) == letters.Letters(letters.ENGLISH)
    hugging = tmp_path / "vocab.json"
    symbols = ("<pad>", "<s>", "</s>", "<unk>", "|", "E")
    hugging.write_text(json.dumps({s: i for i, s in reversed(list(enumerate(symbols)))}))
    assert letters.read(hugging) == letters.Letters(symbols, 0)
    fairseq.write_text("E\n")
    with pytest.raises(UserError, match="line 1"):
        letters.read(fairseq)
    for content in ("[1]", "{", '{"a": 0, "b": 2}', '{"a": "0"}'):
        hugging.write_text(content)
        with pytest.raises(UserError, match=r"vocab\.json"):
            letters.read(hugging)
    with pytest.raises(UserError, match="absent"):
        letters.read(tmp_path / "absent.txt")
