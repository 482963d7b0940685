"""Models fine-tuned here, in the classes of transformers: their answers stay."""

import pathlib

import numpy as np
import pytest
from spoken import manifest

from d2v_jax.cli.main import main
from d2v_jax.common.checks import UserError
from d2v_jax.transfer import convert, encoder

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
SHORT = [
    "--config.train.steps=2",
    "--config.train.checkpoint_every=2",
    "--config.train.batch_size=8",
    "--config.optimizer.warmup_steps=1",
    "--config.eval.every=0",
]


def finetuned(case, recipe, folder, *words):
    start = GOLDEN / case / "pretrained" if isinstance(case, str) else case
    where = ["--workdir", str(folder / "run"), f"--config.init_from={start}"]
    assert main(["finetune", "--config", recipe, *where, *SHORT, *words]) == 0
    convert.convert(folder / "run", folder / "hf", "hf")
    return [encoder.load(folder / name) for name in ("run", "hf")]


def same_answers(ours, theirs, inputs, kind):
    assert theirs.head["kind"] == kind and theirs.head["labels"] == ours.head["labels"]
    for one, other in zip(ours.logits(inputs), theirs.logits(inputs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pictures(tmp_path, one_device):
    source = "--config.data.source=builtin:photos"
    both = finetuned("hf_vision_cls", "finetune_image", tmp_path, source)
    rng = np.random.default_rng(0)
    shape = (3, *both[0].recipe.data.example_shape)
    same_answers(*both, rng.integers(256, size=shape).astype(np.uint8), "image_classes")
    # The command line answers for it, and does not claim to know what it was taught with.
    assert main(["evaluate", "classes", str(tmp_path / "hf"), "--source", "builtin:photos"]) == 0


@pytest.mark.parametrize("case", ["hf_audio_ctc", "hf_hubert"])
def test_speech(tmp_path, one_device, case):
    learn = manifest(tmp_path / "learn", 12)
    words = [
        f"--config.data.source={learn}",
        "--config.data.samples=32000",
        "--config.data.buckets=(32000,)",
        "--config.train.batch_size=4",
    ]
    both = finetuned(case, "finetune_asr:smoke", tmp_path, *words)
    waves = [np.random.default_rng(0).normal(size=s).astype(np.float32) for s in (4_000, 9_000)]
    same_answers(*both, waves, "ctc")
    assert both[1].head["blank"] == both[0].head["blank"]


def test_texts(tmp_path, one_device):
    rows = [f"{'a b' * (i % 4 + 1)}\t{'xy'[i % 2]}" for i in range(24)]
    (tmp_path / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    words = [
        f"--config.data.source={tmp_path / 'train.tsv'}",
        "--config.data.columns=('text',)",
        "--config.data.label_column=label",
        "--config.data.buckets=(16,)",
        "--config.data.tokens=16",
        "--config.head.kind=text_classes",
    ]
    one = ["--config.train.steps=1", "--config.optimizer.warmup_steps=0"]
    where = ["--workdir", str(tmp_path / "pretrained"), "--config.data.source=builtin:python-docs"]
    assert main(["pretrain", "--config", "v1_text_base:smoke", *where, *one]) == 0
    both = finetuned(tmp_path / "pretrained", "finetune_text", tmp_path, *words)
    same_answers(*both, [np.array([0, 9, 8, 2]), np.array([0, 7, 2])], "text_classes")


def test_heads_that_they_do_not_have(tmp_path, one_device):
    where = ["--workdir", str(tmp_path / "run"), "--config.data.source=builtin:photos"]
    start = f"--config.init_from={GOLDEN / 'hf_vision' / 'pretrained'}"
    assert main(["finetune", "--config", "finetune_probe", *where, start, *SHORT]) == 0
    with pytest.raises(UserError, match="no Hugging Face class of data2vec mixes its blocks"):
        convert.convert(tmp_path / "run", tmp_path / "hf", "hf")
