"""BERT on a folder of documents, with WordPiece and the question of what follows."""

import json

import numpy as np

import d2v_jax
from d2v_jax.cli import main

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL = [
    "--config.sentences.next=True",
    "--config.data.blocks=pairs",
    "--config.data.tokens=24",
    "--config.data.buckets=(24,)",
    "--config.frontend.max_tokens=24",
    "--config.frontend.mask_id=4",
    "--config.frontend.pad_id=0",
    "--config.frontend.types=2",
    "--config.corruption.kept=(2,3)",
    "--config.corruption.separator=3",
    "--config.corruption.most=6",
    "--config.trunk.depth=1",
    "--config.train.steps=4",
    "--config.train.batch_size=16",
    "--config.optimizer.warmup_steps=1",
]


def test_a_run_from_documents_to_features(tmp_path, one_device, capsys):
    words = [f"{a}{b}" for a in "bdfgk" for b in "aeiou"]
    rng = np.random.default_rng(0)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join([*SPECIALS, *words]) + "\n")
    (tmp_path / "texts").mkdir()
    for number in range(12):
        lines = [" ".join(rng.choice(words, 6)) for _ in range(9)]
        (tmp_path / "texts" / f"{number}.txt").write_text("\n".join(lines))
    given = [
        f"--config.data.source={tmp_path / 'texts'}",
        f"--config.data.tokenizer={tmp_path / 'bert'}",
        f"--config.frontend.vocab_size={len(SPECIALS) + len(words)}",
    ]
    run = tmp_path / "run"
    where = ["pretrain", "--config", "bert_base:smoke", "--workdir", str(run)]
    assert main.main([*where, *SMALL, *given[:2], "--config.frontend.vocab_size=20"]) == 2
    assert "frontend.vocab_size=20" in capsys.readouterr().err
    assert main.main([*where, *SMALL, *given]) == 0
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [one["step"] for one in history] == [1, 2, 3, 4]
    for one in history:
        assert abs(one["loss"] - one["masked"] - one["next"]) < 1e-4
        assert 0.4 < one["next"] < 1.5 and 0 <= one["next_accuracy"] <= 1
    assert (run / "tokenizer" / "vocab.txt").is_file()
    encoder = d2v_jax.load(run)
    ids = np.array([2, 5, 6, 1, 3], np.int32)
    found = encoder.features(["ba BE zz"], pool=None)[0]
    np.testing.assert_array_equal(found, encoder.features([ids], pool=None)[0])
