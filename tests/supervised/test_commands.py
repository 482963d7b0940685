"""From a pretrained run to a fine-tuned one, its answers, and what is wrong on the way."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from labelled_files import idx_folder

from d2v_jax.cli.main import main
from d2v_jax.transfer import encoder
from d2v_jax.transfer import finetune as finetuning

TINY = [
    "--config.train.steps=4",
    "--config.train.checkpoint_every=2",
    "--config.eval.every=2",
    "--config.optimizer.warmup_steps=1",
]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A run of pictures that has hardly begun, on idx files of three classes."""
    folder = tmp_path_factory.mktemp("pretrained")
    data = idx_folder(folder / "data")
    words = [
        f"--config.data.source={data}",
        "--config.train.steps=1",
        "--config.optimizer.warmup_steps=0",
        "--config.data.threads=1",
    ]
    config = ["--config", "quickstart_image:smoke", "--workdir", str(folder / "run")]
    assert main(["pretrain", *config, *words]) == 0
    return folder / "run", data


def finetune(pretrained, workdir, *more):
    run, data = pretrained
    words = [f"--config.init_from={run}", f"--config.data.source={data}", *TINY, *more]
    return main(["finetune", "--config", "finetune_image:smoke", "--workdir", str(workdir), *words])


@pytest.fixture(scope="module")
def finetuned(pretrained, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finetuned") / "run"
    assert finetune(pretrained, workdir) == 0
    return workdir


def records(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return {one["step"]: one for one in map(json.loads, lines)}


def test_it_is_evaluated_on_the_way(finetuned):
    found = records(finetuned)
    assert [step for step, one in found.items() if "eval/accuracy" in one] == [2, 4]
    spent = json.loads((finetuned / "goodput.json").read_text())[-1]["seconds"]
    assert spent["evaluation"] > 0


def test_it_goes_on_where_it_stopped(pretrained, finetuned, tmp_path):
    """Continued from step 2, it ends with the numbers of a run that was never stopped."""
    again = tmp_path / "again"
    shutil.copytree(finetuned, again)
    shutil.rmtree(again / "checkpoints" / "4")
    assert main(["finetune", "--workdir", str(again)]) == 0
    a, b = records(finetuned), records(again)
    for step in (3, 4):
        assert all(a[step][name] == b[step][name] for name in ("loss", "grad_norm", "accuracy"))
    assert a[4]["eval/accuracy"] == b[4]["eval/accuracy"]


def test_results_side_by_side(finetuned, tmp_path, capsys):
    assert main(["evaluate", "classes", str(finetuned), "--metrics", "accuracy,top5"]) == 0
    (kept,) = (finetuned / "results").glob("*.json")
    one = json.loads(kept.read_text())
    assert one["split"] == "test" and one["learnt"]["split"] == "train" and one["examples"] == 30
    low, high = one["intervals"]["accuracy"]
    assert low <= one["numbers"]["accuracy"] <= high and one["numbers"]["top5"] == 1
    assert len(one["checkpoint"]) == 16 and one["versions"]["jax"]
    capsys.readouterr()
    assert main(["results", str(finetuned), str(kept), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("accuracy") == 2
    assert (tmp_path / "results.png").stat().st_size > 1000
    assert "data:image/png;base64," in (tmp_path / "results.html").read_text()


def test_answers_do_not_depend_on_neighbours(finetuned):
    model = encoder.load(finetuned)
    pictures = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 1), np.uint8)
    whole = model.logits(pictures)
    np.testing.assert_array_equal(whole[[7]], model.logits(pictures[[7]]))
    assert whole.shape == (11, 3)


def test_it_is_looked_at_converted_and_loaded_again(finetuned, tmp_path, capsys):
    assert main(["inspect", str(finetuned)]) == 0
    said = capsys.readouterr().out
    assert "head/out/kernel" in said and "mean_classes, 3 outputs" in said
    for form in ("safetensors", "run"):
        out = tmp_path / form
        assert main(["convert", str(finetuned), str(out), "--to", form]) == 0
        pictures = np.zeros((2, 32, 32, 1), np.uint8)
        again = encoder.load(out)
        np.testing.assert_array_equal(
            again.logits(pictures), encoder.load(finetuned).logits(pictures)
        )
        assert again.head["labels"] == ("0", "1", "2")


def test_an_untrained_encoder(pretrained, tmp_path):
    """The architecture of the checkpoint, other numbers."""
    workdir = tmp_path / "run"
    assert finetune(pretrained, workdir, "--config.start.encoder=untrained") == 0
    a, b = encoder.load(pretrained[0]), encoder.load(workdir)
    assert a.params["trunk"].keys() == b.params["trunk"].keys()


def said(capsys, code=2):
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


def test_what_cannot_be_finetuned(pretrained, finetuned, tmp_path, capsys):
    run, data = pretrained
    where = ["--workdir", str(tmp_path / "new")]
    cases = [
        (["--config", "quickstart_image"], "takes those with labels, such as finetune_image"),
        (["--config", "finetune_image"], "name a checkpoint with --config.init_from=RUN"),
        (["--config", "finetune_text", f"--config.init_from={run}"], "of image, but the recipe"),
        (
            [
                "--config",
                "finetune_image",
                f"--config.init_from={finetuned}",
                f"--config.data.source={data}",
                "--config.start.head=checkpoint",
                "--config.head.kind=text_classes",
            ],
            "needs a head of kind 'text_classes'",
        ),
        (
            [
                "--config",
                "finetune_image",
                f"--config.init_from={run}",
                f"--config.data.source={data}",
                "--config.eval.split=train",
            ],
            "is what was learnt from",
        ),
    ]
    for words, expected in cases:
        assert main(["finetune", *words, *where]) == 2
        assert expected in said(capsys)
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_evaluated(pretrained, finetuned, tmp_path, capsys):
    few = idx_folder(tmp_path / "few", classes=5)
    cases = [
        (["classes", str(pretrained[0])], "has no head"),
        (["asr", str(finetuned)], "which is not for 'asr'"),
        (["values", str(finetuned)], "was fine-tuned for 'class', not for 'values'"),
        (["classes", str(finetuned), "--source", str(few)], "2 classes that the model does not"),
        (["classes", str(finetuned), "--metrics", "accurcy"], "is not one of accuracy"),
    ]
    for words, expected in cases:
        assert main(["evaluate", *words]) == 2
        assert expected in said(capsys)
    assert main(["results", str(pathlib.Path(tmp_path))]) == 2
    assert "holds no results" in said(capsys)


def test_a_test_is_never_balanced(finetuned):
    """Rare classes are drawn more often to learn from, never to be counted more often."""
    config = encoder.load(finetuned).recipe
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, balance=True))
    assert len(finetuning.tested(config).data.labelled_source()) == 30
