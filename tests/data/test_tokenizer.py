"""Bytes and GPT-2's byte-level BPE: ids as fairseq and Hugging Face count them."""

import json
import logging
import pathlib
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers

from d2v_jax.common.checks import UserError
from d2v_jax.data.text.documents import Document
from d2v_jax.data.text.tokenizer import RESERVED, has_files, keep_files, open_tokenizer
from d2v_jax.data.text.vocabularies import bpe as data_bpe

LINES = ["low lower", "", "é 🙂", "lowest"]


def flat(lines: list[list[int]]) -> list[int]:
    return [number for line in lines for number in line]


def alphabet() -> list[str]:
    """GPT-2's 256 printable stand-ins for bytes, in the order of its vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + n) for n in range(len(hidden))]


@pytest.fixture
def bpe(tmp_path: pathlib.Path) -> pathlib.Path:
    """256 bytes and four merges: l+o, lo+w, e+r, Ġ+low."""
    folder = tmp_path / "gpt2"
    folder.mkdir()
    merges = ["l o", "lo w", "e r", "Ġ low"]
    types = [*alphabet(), *(merge.replace(" ", "") for merge in merges)]
    (folder / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(types)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    return folder


def by_hand(folder: pathlib.Path) -> list[list[int]]:
    """What LINES become, in ids of vocab.json."""
    number = json.loads((folder / "vocab.json").read_text())
    bytes_of = lambda text: [number[alphabet_of[byte]] for byte in text.encode()]
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = shown + [byte for byte in range(256) if byte not in shown]
    alphabet_of = dict(zip(order, alphabet()))
    return [
        [number["low"], number["Ġlow"], number["er"]],
        [],
        bytes_of("é") + bytes_of(" ") + bytes_of("🙂"),
        [number["low"], *bytes_of("est")],
    ]


def test_bytes(text):
    tokenizer = open_tokenizer("bytes")
    expected = [[4 + byte for byte in line.encode()] + [2] for line in LINES]
    ids = tokenizer.encode(LINES)
    assert ids.dtype == np.int32 and ids.tolist() == flat(expected)
    assert tokenizer.vocab_size == text("x").vocab_size() == 261
    assert tokenizer.encode([]).shape == (0,) and tokenizer.encode([""]).tolist() == [2]
    assert tokenizer.encode(["\ud800"]).tolist() == [4 + ord("?"), 2]


def test_rank_order(bpe, text):
    tokenizer = open_tokenizer(str(bpe))
    expected = [[4 + number for number in line] + [2] for line in by_hand(bpe)]
    ids = tokenizer.encode(LINES)
    assert ids.dtype == np.int32 and ids.tolist() == flat(expected)
    assert tokenizer.vocab_size == 4 + 260 + 1 == text("x", tokenizer=str(bpe)).vocab_size()
    assert pickle.loads(pickle.dumps(tokenizer)).encode(LINES).tolist() == ids.tolist()
    assert tokenizer.encode([]).shape == (0,)


def test_fairseq_order(bpe):
    """Lines of dict.txt count from 4, fillers too; types it lacks are unknown."""
    order = [number for number in reversed(range(260)) if number != 259]
    lines = [f"{number} {1000 - place}" for place, number in enumerate(order)]
    lines[100:100] = ["madeupword0000 0"]
    (bpe / "dict.txt").write_text("\n".join([*lines, "madeupword0001 0", ""]))
    tokenizer = open_tokenizer(str(bpe))
    place = {line.split()[0]: 4 + n for n, line in enumerate(lines)}
    expected = [[place.get(str(n), 3) for n in line] + [2] for line in by_hand(bpe)]
    assert tokenizer.encode(LINES).tolist() == flat(expected) and 3 in expected[0]
    assert tokenizer.vocab_size == 4 + 261 + 1


def test_a_vocabulary_with_specials_is_final(bpe):
    plain = json.loads((bpe / "vocab.json").read_text())
    types = RESERVED | {t: n + 4 for t, n in plain.items()}
    (bpe / "vocab.json").write_text(json.dumps(types | {"<mask>": 264}))
    tokenizer = open_tokenizer(str(bpe))
    expected = [[number + 4 for number in line] + [2] for line in alphabet_ids(bpe, plain)]
    assert tokenizer.vocab_size == 265
    assert tokenizer.encode(LINES).tolist() == flat(expected)
    (bpe / "vocab.json").write_text(json.dumps(types))
    with pytest.raises(UserError, match="'<mask>' must be the last id"):
        open_tokenizer(str(bpe))


def whole(folder: pathlib.Path) -> None:
    """Keeps vocab.json and merges.txt as tokenizer.json instead, specials added, as hubs do."""
    pair = [folder / "vocab.json", folder / "merges.txt"]
    made = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*map(str, pair)))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens(["<s>", "<pad>", "</s>", "<mask>"])
    made.save(str(folder / "tokenizer.json"))
    for path in pair:
        path.unlink()


@pytest.mark.parametrize("final", [False, True], ids=["GPT-2", "RoBERTa"])
def test_one_file_says_the_same_as_two(bpe, tmp_path, final):
    if final:
        plain = json.loads((bpe / "vocab.json").read_text())
        types = RESERVED | {t: n + 4 for t, n in plain.items()} | {"<mask>": 264}
        (bpe / "vocab.json").write_text(json.dumps(types))
    two = open_tokenizer(str(bpe))
    whole(bpe)
    one = open_tokenizer(str(bpe))
    lines = [*LINES, "<mask></s><pad>"]
    assert one.encode(lines).tolist() == two.encode(lines).tolist()
    assert (one.vocab_size, one.mask_id) == (two.vocab_size, two.mask_id)
    assert np.array_equal(one.breaks, two.breaks)
    assert pickle.loads(pickle.dumps(one)).encode(lines).tolist() == one.encode(lines).tolist()
    keep_files(one, tmp_path / "moved")
    moved = open_tokenizer(str(tmp_path / "moved"))
    assert moved.fingerprint == one.fingerprint and has_files(tmp_path / "moved")


def test_fairseqs_order_of_one_file(bpe):
    (bpe / "dict.txt").write_text("\n".join(f"{number} 1" for number in range(259, -1, -1)))
    two = open_tokenizer(str(bpe)).encode(LINES).tolist()
    whole(bpe)
    assert open_tokenizer(str(bpe)).encode(LINES).tolist() == two


def test_whole_tokenizers_of_other_kinds_are_named(bpe, tmp_path):
    whole(bpe)
    one = bpe / "tokenizer.json"
    content = json.loads(one.read_text())
    one.write_text(json.dumps(content | {"pre_tokenizer": None}))
    with pytest.raises(UserError, match=r"tokenizer\.json .*'BPE' that does not work on bytes"):
        open_tokenizer(str(bpe))
    vocab = content["model"]["vocab"] | {"far": 999}
    one.write_text(json.dumps(content | {"model": content["model"] | {"vocab": vocab}}))
    with pytest.raises(UserError, match="without gaps"):
        open_tokenizer(str(bpe))
    one.write_text(json.dumps(content | {"model": content["model"] | {"merges": ["no such"]}}))
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read: ."):
        open_tokenizer(str(bpe))
    made = tokenizers.Tokenizer(tokenizers.models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, False))
    made.save(str(one))
    with pytest.raises(UserError, match="'Unigram'"):
        open_tokenizer(str(bpe))


@pytest.mark.parametrize("kind", ["bytes", "rank", "dict", "RoBERTa"])
@pytest.mark.parametrize("more", [0, 3], ids=["its room", "more room"])
def test_others_open_what_is_kept_for_them(bpe, tmp_path, kind, more):
    """In the ids of the model, `<s>` and `</s>` around a text, `<mask>` where it hides."""
    if kind == "dict":
        fillers = ["madeupword0000 0"]
        order = [*(f"{number} 1" for number in range(259, -1, -1)), *fillers]
        (bpe / "dict.txt").write_text("\n".join(order))
    if kind == "RoBERTa":
        plain = json.loads((bpe / "vocab.json").read_text())
        types = RESERVED | {t: n + 4 for t, n in plain.items()} | {"<mask>": 264}
        (bpe / "vocab.json").write_text(json.dumps(types))
    ours = open_tokenizer("bytes" if kind == "bytes" else str(bpe))
    size = ours.vocab_size + more
    model = SimpleNamespace(vocab_size=size, mask_id=size - 1, pad_id=1)
    keep_files(ours, tmp_path / "out", model)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    for line in LINES:
        assert theirs.encode(line).ids == [0, *ours.encode([line]).tolist()]
    assert theirs.encode("low<mask>").ids[-2:] == [size - 1, 2]
    assert theirs.get_vocab_size() == size
    assert theirs.decode(theirs.encode("é lower 🙂").ids) == "é lower 🙂"
    again = open_tokenizer(str(tmp_path / "out"))
    assert again.encode(LINES).tolist() == ours.encode(LINES).tolist()
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert settings["pad_token"] == "<pad>" and settings["mask_token"] == "<mask>"


def test_what_others_cannot_open_is_refused(bpe, tmp_path):
    ours = open_tokenizer(str(bpe))
    with pytest.raises(UserError, match=r"has 265 ids.* but frontend\.vocab_size=99"):
        keep_files(ours, tmp_path / "out", SimpleNamespace(vocab_size=99, mask_id=98, pad_id=1))
    (bpe / "dict.txt").write_text("\n".join(f"{number} 1" for number in range(9, 260)))
    lacks = open_tokenizer(str(bpe))
    fits = SimpleNamespace(vocab_size=lacks.vocab_size, mask_id=lacks.mask_id, pad_id=1)
    with pytest.raises(UserError, match=r"dict\.txt lacks types of vocab\.json"):
        keep_files(lacks, tmp_path / "out", fits)
    assert not (tmp_path / "out").exists()


def alphabet_ids(folder: pathlib.Path, types: dict[str, int]) -> list[list[int]]:
    kept = (folder / "vocab.json").read_text()
    (folder / "vocab.json").write_text(json.dumps(types))
    ids = by_hand(folder)
    (folder / "vocab.json").write_text(kept)
    return ids


def test_text_that_looks_special_is_only_text(bpe):
    for name in ("bytes", str(bpe)):
        ids = open_tokenizer(name).encode(["<mask></s><pad>"])
        assert ids[:-1].min() > 3 and len(ids) == 16


def test_fingerprints_follow_the_files(bpe):
    one = open_tokenizer(str(bpe)).fingerprint
    assert one == open_tokenizer(str(bpe)).fingerprint
    (bpe / "dict.txt").write_text("\n".join(f"{number} 1" for number in range(259, -1, -1)))
    two = open_tokenizer(str(bpe)).fingerprint
    (bpe / "dict.txt").unlink()
    (bpe / "merges.txt").write_text("#version: 0.2\nl o\nlo w\ne r\n")
    assert len({one, two, open_tokenizer(str(bpe)).fingerprint}) == 3


def test_tokenizer_errors(bpe, tmp_path):
    for name in ("gpt2", "", str(tmp_path / "gone")):
        with pytest.raises(UserError, match=r"no such folder\. Give 'bytes', .* path of a .*vocab"):
            open_tokenizer(name)
    with pytest.raises(UserError, match=r"has no vocab\.json"):
        open_tokenizer(str(tmp_path))
    faults = {
        "260 5": "line 1: 260 is beyond the 260 types",
        "7 5\n7 4": "line 2: 7 occurs twice",
        "the 5": "no line such",
    }
    for line, reason in faults.items():
        (bpe / "dict.txt").write_text(line)
        with pytest.raises(UserError, match=reason):
            open_tokenizer(str(bpe))
    (bpe / "dict.txt").unlink()
    (bpe / "merges.txt").write_text("#version: 0.2\nx y z w q\n")
    with pytest.raises(UserError, match=r"data\.tokenizer=.*gpt2'"):
        open_tokenizer(str(bpe))
    (bpe / "vocab.json").write_text('{"a": 0, "b": 2}')
    with pytest.raises(UserError, match="without gaps"):
        open_tokenizer(str(bpe))
    (bpe / "vocab.json").write_text("{")
    with pytest.raises(UserError, match="JSON"):
        open_tokenizer(str(bpe))
    (bpe / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"has no merges\.txt"):
        open_tokenizer(str(bpe))


def test_the_tokenizer_of_pythons_documentation(text, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("D2V_CACHE", str(tmp_path))
    monkeypatch.setattr(data_bpe, "DOCS_SIZE", 400)
    monkeypatch.setattr(
        data_bpe, "documents", lambda: (Document("a", ("one two three four " * 9, "five six")),)
    )
    with caplog.at_level(logging.INFO, "d2v"):
        one = open_tokenizer("builtin:python-docs")
    assert "once, then kept in" in caplog.text and one.vocab_size <= 400
    assert len(one.encode(["one two three four one two"])) < 12
    monkeypatch.setattr(data_bpe, "learn", None)
    assert open_tokenizer("builtin:python-docs").fingerprint == one.fingerprint
    cfg = text("x", tokenizer="builtin:python-docs")
    cfg.keep(tmp_path / "run")
    assert open_tokenizer(str(tmp_path / "run")).fingerprint == one.fingerprint
