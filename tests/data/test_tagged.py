"""Sentences with tags: which token stands for which word, and what is refused."""

import numpy as np
import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled import tagged
from d2v_jax.data.labelled.chosen import share
from d2v_jax.data.text.tokenizer import open_tokenizer

CONLLU = """# text = Don't stop it.
1-2\tDon't\t_\t_\t_
1\tDo\tdo\tAUX\t_
2\tn't\tnot\tPART\t_
3\tstop\tstop\tVERB\t_
3.1\tgone\tgo\tVERB\t_
4\tit\tit\tPRON\t_

1\t1\t1\tNUM\t_
2\t#\t#\tSYM\t_
"""


def words_of(path):
    return list(tagged._sentences(path))


def test_conllu(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(CONLLU)
    first, second = words_of(path)
    assert first == [("Do", "AUX"), ("n't", "PART"), ("stop", "VERB"), ("it", "PRON")]
    assert second == [("1", "NUM"), ("#", "SYM")]


def test_conll(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\n1-2 CD O O\n# NN O B-X\n\n\n! . O O")
    assert words_of(path) == [[("EU", "B-ORG"), ("1-2", "O"), ("#", "B-X")], [("!", "O")]]


@pytest.mark.parametrize("name", ["bytes", "builtin:python-docs"])
def test_a_word_is_its_first_token(name):
    tokenizer = open_tokenizer(name)
    words = [("argument", "N"), ("zzyzxq", "X"), ("é", "E"), ("the", "D"), ("x", "V")]
    sentence = tagged._encoded(words, tokenizer, 100)
    text = " ".join(word for word, _ in words)
    assert np.array_equal(sentence.ids_t, [0, *tokenizer.encode([text])])
    if name == "bytes":
        assert sentence.places == [1, 10, 17, 20, 24]  # an é has two bytes
    opens, _ = tokenizer.breaks
    assert name == "bytes" or opens[sentence.ids_t[sentence.places]].tolist()[3:] == [True, True]
    short = tagged._encoded(words, tokenizer, sentence.places[2] + 1)
    assert short.tags == ["N", "X"] and len(short.ids_t) <= sentence.places[2] + 1


def test_exam(tmp_path):
    path = tmp_path / "a.conll"
    sentences = [[(f"w{n}", "AB"[n % 2]), (f"v{n % 3}", "C")] for n in range(60)]
    path.write_text(
        "\n\n".join("\n".join(f"{word} {tag}" for word, tag in one) for one in sentences)
    )
    exam = tagged.exam(str(path), open_tokenizer("bytes"), 40, 15, 0)
    (task,) = exam.tasks
    assert [len(side) for side in task.labels] == [15, 15] and set(task.labels[0]) == {0, 1, 2}

    def encode(texts, pool):
        assert pool is None
        return [np.stack([ids_t, np.arange(len(ids_t))], 1).astype(np.float32) for ids_t in texts]

    (sides,) = exam.features(encode)
    for side, labels, learnt in zip(sides, task.labels, (True, False)):
        for (byte, place), label in zip(side, labels):
            assert chr(int(byte) - 4) == ("v" if label == 2 else "w") and (place > 1) == (
                label == 2
            )
        texts = [" ".join(word for word, _ in one) for one in sentences]
        assert sum((share(text) < 0.7) == learnt for text in texts) >= 8
    (baseline,) = exam.features(None)
    assert baseline[0].shape == (15, 2) and baseline[1].sum(1).tolist() == [1] * 15
    assert exam.features(encode)[0][0].tolist() == sides[0].tolist()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.conll", "dog NOUN\ncat\n", r"a.conll line 2: 'cat' has 1 columns, and needs 2"),
        ("a.conllu", "1\tdog\tdog\n", r"line 1: .* has 3 columns, and needs 4"),
        ("a.conll", "dog NOUN\n", "too few sentences"),
    ],
)
def test_what_is_no_such_file(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        tagged.exam(str(tmp_path / name), open_tokenizer("bytes"), 40, 15, 0)
    with pytest.raises(UserError, match="there is no file"):
        tagged.exam(str(tmp_path / "b.conll"), open_tokenizer("bytes"), 40, 15, 0)


def test_only_line_feeds_end_lines(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("a\tX\n\u2028\tY\n", encoding="utf-8")
    assert words_of(path) == [[("a", "X"), ("\u2028", "Y")]]
    path.write_bytes(b"caf\xe9 NOUN\n")
    with pytest.raises(UserError, match="must be UTF-8"):
        words_of(path)
