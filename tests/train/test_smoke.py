"""Each system learns in its thirty smoke steps, and goes on exactly where it was left."""

import json
import shutil

import jax
import pytest
import systems

import d2v_jax
from d2v_jax.cli import main
from d2v_jax.data.text import tokenizer
from d2v_jax.train.machine import mesh

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in systems.SIBLINGS]
# wav2vec 2.0 of this size learns its penalties in thirty steps, and says that it finds no entry.
TOLD = {"wav2vec2_base": "no more often than by chance"}


@pytest.mark.parametrize("name", [*systems.NAMES, *SLOW])
def test_learns_and_resumes_exactly(name, tmp_path, monkeypatch, caplog):
    whole = mesh.make_mesh
    monkeypatch.setattr(mesh, "make_mesh", lambda spec, _=None: whole(spec, jax.devices()[:1]))
    first, again = tmp_path / "first", tmp_path / "again"
    assert main.main(["pretrain", "--config", f"{name}:smoke", "--workdir", str(first)]) == 0
    history = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in history] == list(range(1, 31))
    losses = [record["loss"] for record in history]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), losses
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert all(name in TOLD and TOLD[name] in words for words in warned), "it collapses"

    shutil.copytree(first, again)
    shutil.rmtree(again / "checkpoints" / "30")
    assert main.main(["pretrain", "--workdir", str(again)]) == 0
    course = lambda record: {k: v for k, v in record.items() if not k.endswith("_s")}
    resumed = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    assert list(map(course, resumed)) == list(map(course, history))
    assert max(r["step"] for r in resumed) == 30 and "continuing from step 20" in caplog.text


def test_crops_of_several_lengths(tmp_path):
    """One step is compiled for each; a batch of either goes through the same state."""
    argv = [
        "pretrain",
        "--config",
        "v2_audio_base:smoke",
        "--workdir",
        str(tmp_path),
        "--config.data.buckets=(16000,32000)",
        "--config.train.batch_size=16",
        "--config.train.steps=12",
        "--config.optimizer.warmup_steps=2",
        "--config.trunk.depth=1",
        "--config.targets.blocks=(0,)",
        "--config.mask.views=1",
    ]
    assert main.main(argv) == 0
    history = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    examples = [round(r["examples_per_s"] / r["steps_per_s"]) for r in history[1:]]
    assert set(examples) == {16, 8}
    assert all(0 <= record["data_wait_s"] < 100 for record in history)


def test_a_run_of_text_keeps_its_tokenizer(tmp_path):
    """From texts to features through the command line; the run can be moved without its data."""
    books = tmp_path / "books"
    books.mkdir()
    line = json.dumps({"text": "the lower tower lowers the flower. " * 20})
    (books / "a.jsonl").write_text(f"{line}\n" * 20)
    data = [
        main.main(
            ["data", "train-tokenizer", str(books), str(tmp_path / "bpe"), "--vocab-size", "280"]
        ),
        main.main(
            [
                "data",
                "prepare",
                str(books),
                str(tmp_path / "ready"),
                f"--config.data.tokenizer={tmp_path / 'bpe'}",
            ]
        ),
    ]
    assert data == [0, 0]
    size = tokenizer.open_tokenizer(str(tmp_path / "ready")).vocab_size
    argv = [
        "pretrain",
        "--config",
        "v2_text_base:smoke",
        "--workdir",
        str(tmp_path / "run"),
        f"--config.data.source={tmp_path / 'ready'}",
        "--config.data.tokenizer=",
        f"--config.frontend.vocab_size={size}",
        f"--config.frontend.mask_id={size - 1}",
        "--config.train.steps=2",
        "--config.optimizer.warmup_steps=1",
        "--config.trunk.depth=1",
        "--config.targets.blocks=(0,)",
    ]
    assert main.main(argv) == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    for folder in ("books", "bpe", "ready"):
        shutil.rmtree(tmp_path / folder)
    encoder = d2v_jax.load(tmp_path / "moved")
    assert encoder.features(["the lower tower"]).shape == (1, encoder.config.trunk.width)
