"""BERT's WordPiece: ids of its files in blocks, pairs, prepared shards and models."""

import json
import logging
import pathlib
import pickle
import shutil

import numpy as np
import pytest
import tokenizers

import d2v_jax
from d2v_jax.common.checks import UserError
from d2v_jax.data.prepare import prepare
from d2v_jax.data.text.tokenizer import open_tokenizer
from d2v_jax.data.text.vocabularies.wordpiece import WordPiece
from d2v_jax.frontends.text import TextFrontend

TYPES = ["[PAD]", "x", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "low", "##er", "##est", "e", ",", "the"]
PAD, UNK, CLS, SEP, MASK = 0, 2, 3, 4, 5
GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture
def vocab(tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(TYPES) + "\n")
    return folder


def stored(folder: pathlib.Path) -> pathlib.Path:
    """The same in one file, as the library of Hugging Face writes it."""
    model = tokenizers.models.WordPiece(dict(zip(TYPES, range(len(TYPES)))), unk_token="[UNK]")
    whole = tokenizers.Tokenizer(model)
    whole.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    whole.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    whole.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ends = [("[CLS]", CLS), ("[SEP]", SEP)]
    whole.post_processor = tokenizers.processors.BertProcessing(ends[1], ends[0])
    folder.mkdir()
    whole.save(str(folder / "tokenizer.json"))
    return folder


def test_pieces(vocab, tmp_path):
    lines = ["Lower, the lowest", "", "[MASK] Thé é"]
    own = [[6, 7, 10, 11, 6, 8], [], [UNK, UNK, UNK, 11, 9]]
    for folder in (vocab, stored(tmp_path / "whole")):
        tokenizer = open_tokenizer(str(folder))
        found = tokenizer.encode(lines)
        assert found.dtype == np.int32
        assert found.tolist() == [i for line in own for i in (*line, SEP)]
        assert (tokenizer.vocab_size, tokenizer.mask_id) == (12, MASK)
        assert tokenizer.ids == (CLS, PAD, SEP, UNK, False)
        again = pickle.loads(pickle.dumps(tokenizer))
        assert again.encode(lines).tolist() == found.tolist()
        assert again.fingerprint == tokenizer.fingerprint


def test_letters_stay_where_the_settings_say_so(vocab):
    lower = open_tokenizer(str(vocab))
    (vocab / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    kept = open_tokenizer(str(vocab))
    assert kept.encode(["The the"]).tolist() == [UNK, 11, SEP]
    assert lower.encode(["The the"]).tolist() == [11, 11, SEP]
    assert kept.fingerprint != lower.fingerprint
    assert [path.name for path in kept.paths] == ["vocab.txt", "tokenizer_config.json"]


@pytest.mark.parametrize("kind", ["texts", "prepared"])
def test_blocks(text, vocab, tmp_path, kind):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("the lower\nthe\n\nlowest\n")
    known = dict(tokenizer=str(vocab), tokens=8, blocks="documents", words=True)
    cfg = text(tmp_path / "in", **known)
    if kind == "prepared":
        prepare.prepare(cfg, tmp_path / "out", 1, 1, None)
        cfg = text(tmp_path / "out", **(known | {"tokenizer": ""}))
        assert cfg.open_tokenizer().vocab_size == 12
    opened = cfg.open()
    examples = [opened.cut(opened.source.read(i), np.random.default_rng(0), 8) for i in range(2)]
    want = [[CLS, 11, 6, 7, SEP, 11, SEP, PAD], [CLS, 6, 8, SEP, PAD, PAD, PAD, PAD]]
    assert [one["inputs"].tolist() for one in examples] == want
    assert [np.flatnonzero(one["goes_on"]).tolist() for one in examples] == [[3], [2]]
    assert cfg.values(np.array(want)) == 7 + 4


def test_pairs_have_one_separator_between_them(text, vocab, tmp_path):
    (tmp_path / "pairs.tsv").write_text("first\tsecond\tlabel\nlow\tthe\tnext\nthe\tlow\trandom\n")
    labels = dict(labels="class", label_names=("next", "random"), columns=("first", "second"))
    cfg = text(tmp_path / "pairs.tsv", tokenizer=str(vocab), tokens=8, **labels)
    found = [one.inputs.tolist() for one in cfg.in_order()]
    assert found == [[CLS, 6, SEP, 11, SEP], [CLS, 11, SEP, 6, SEP]]
    opened = cfg.open()
    example = opened.cut(opened.source.read(1), np.random.default_rng(0), 8)
    assert example["inputs"].tolist() == [CLS, 11, SEP, 6, SEP, PAD, PAD, PAD]


@pytest.mark.parametrize(
    ("drop", "words"),
    [("[SEP]", r"vocab.txt lacks \[SEP\]"), ("[MASK]", r"vocab.txt lacks \[MASK\]")],
)
def test_what_is_no_wordpiece_is_named(vocab, drop, words):
    (vocab / "vocab.txt").write_text("\n".join(t for t in TYPES if t != drop))
    with pytest.raises(UserError, match=words):
        WordPiece(vocab)


def test_a_model_must_hide_and_pad_with_its_ids(text, vocab, tmp_path):
    cfg = text(tmp_path, tokenizer=str(vocab))
    known = dict(vocab_size=12, positions="none", max_tokens=8, types=0, norm_eps=1.0, dropout=0.0)
    cfg.check_frontend(TextFrontend(**known, pad_id=PAD, mask_id=MASK))
    words = r"12 ids, of them 5 \[MASK\], 0 padding, but .*pad_id=1; .* set them to 12 and 5 and 0"
    with pytest.raises(UserError, match=words):
        cfg.check_frontend(TextFrontend(**known, pad_id=1, mask_id=11))


def test_a_folder_of_hugging_face_brings_it(tmp_path, caplog):
    """Its texts, its mask, and what it never hides."""
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / "hf_bert" / "pretrained", folder)
    types = TYPES + [f"[unused{i}]" for i in range(99 - len(TYPES))]
    (folder / "vocab.txt").write_text("\n".join(types) + "\n")
    with caplog.at_level(logging.WARNING, "d2v"):
        encoder = d2v_jax.load(folder)
    cfg = encoder.recipe.objective.cfg
    assert cfg.frontend.mask_id == MASK and cfg.frontend.pad_id == PAD
    assert cfg.corruption.kept == (CLS, SEP) and cfg.corruption.separator == SEP
    ids = np.array([CLS, 6, 7, 11, SEP], np.int32)
    want = encoder.features([ids], pool=None)[0]
    np.testing.assert_array_equal(encoder.features(["lower THE"], pool=None)[0], want)
