"""Tags of sounds and values of pairs of texts, from files to numbers."""

import json

import numpy as np
import pytest
from spoken import manifest

from d2v_jax.cli.main import main

SHORT = [
    "--config.train.steps=2",
    "--config.train.checkpoint_every=2",
    "--config.eval.every=2",
    "--config.optimizer.warmup_steps=1",
]
ONE = ["--config.train.steps=1", "--config.optimizer.warmup_steps=0"]


def last(run):
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def test_tags(tmp_path):
    assert (
        main(
            [
                "pretrain",
                "--config",
                "quickstart_audio:smoke",
                "--workdir",
                str(tmp_path / "a"),
                *ONE,
            ]
        )
        == 0
    )
    sources = {}
    for name, first in (("learn", 0), ("test", 20)):
        sources[name] = manifest(tmp_path / name, 8, first)
        tags = ["low", "low,loud", "high", "high,loud"] * 2
        sources[name].with_suffix(".wrd").write_text("\n".join(tags) + "\n")
    words = [
        f"--config.init_from={tmp_path / 'a'}",
        f"--config.data.source={sources['learn']}",
        f"--config.eval.source={sources['test']}",
        "--config.data.label_names=('low', 'high', 'loud')",
        "--config.data.samples=32000",
        "--config.data.buckets=(32000,)",
        *SHORT,
    ]
    run = tmp_path / "run"
    assert main(["finetune", "--config", "finetune_tags:smoke", "--workdir", str(run), *words]) == 0
    assert 0 < last(run)["eval/mAP"] <= 1 and np.isfinite(last(run)["loss"])
    assert main(["evaluate", "tags", str(run)]) == 0


@pytest.fixture
def tables(tmp_path):
    """Pairs with a value, one row of each file broken."""
    rng = np.random.default_rng(0)
    for name in ("train", "dev"):
        rows = [f"{'a b' * (i % 4 + 1)}\tc d\t{i % 4 + rng.random():.2f}" for i in range(24)]
        text = "\n".join(["sentence1\tsentence2\tscore", *rows, "only one column"]) + "\n"
        (tmp_path / f"{name}.tsv").write_text(text)
    return tmp_path


def test_values(tables, caplog):
    where = ["--workdir", str(tables / "t")]
    assert main(["pretrain", "--config", "quickstart_text:smoke", *where, *ONE]) == 0
    words = [
        f"--config.init_from={tables / 't'}",
        f"--config.data.source={tables / 'train.tsv'}",
        f"--config.eval.source={tables / 'dev.tsv'}",
        "--config.eval.every=2",
        "--config.train.batch_size=8",
        "--config.data.buckets=(32,)",
        "--config.eval.examples=0",
        *SHORT,
    ]
    run = tables / "run"
    assert main(["finetune", "--config", "finetune_glue:stsb", "--workdir", str(run), *words]) == 0
    assert -1 <= last(run)["eval/pearson"] <= 1 and -1 <= last(run)["eval/spearman"] <= 1
    assert any("train.tsv:26" in record.getMessage() for record in caplog.records)
    assert main(["evaluate", "values", str(run)]) == 0
