"""fairseq's HuBERT goes on learning from fairseq's own labels."""

import json
import pathlib

import numpy as np
import pytest
from scipy.io import wavfile

from d2v_jax.cli import main

CHECKPOINT = pathlib.Path(__file__).parents[1] / "golden" / "hubert" / "checkpoint.pt"
CLUSTERS = 11  # of each of its two label sets: 15 rows, four of them special
SHORT = [
    "--config.data.samples=16000",
    "--config.data.min_samples=8000",
    "--config.data.buckets=(16000,)",
    "--config.train.steps=2",
    "--config.train.log_every=1",
    "--config.train.batch_size=4",
    "--config.optimizer.warmup_steps=1",
    "--config.mask.neighbours=1",
]


@pytest.fixture
def lists(tmp_path):
    """A folder with train.tsv, and train.km with its dictionary in a folder for each label set."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        wave = rng.normal(0, 3_000, 20_000 + 320 * number).astype(np.int16)
        wavfile.write(tmp_path / f"{number}.wav", 16_000, wave)
        rows.append(f"{number}.wav\t{len(wave)}")
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        (folder / "train.tsv").write_text("\n".join([str(tmp_path), *rows]) + "\n")
        labels = [rng.integers(CLUSTERS, size=62 + number) for number in range(6)]
        text = "".join(" ".join(map(str, one)) + "\n" for one in labels)
        (folder / "train.km").write_text(text)
        (folder / "dict.km.txt").write_text("".join(f"{i} 1\n" for i in range(CLUSTERS)))
    return tmp_path


def test_a_checkpoint_and_its_labels(lists, one_device, capsys, caplog):
    run = lists / "run"
    assert main.main(["convert", str(CHECKPOINT), str(run)]) == 0
    assert "holds no" not in caplog.text  # it never had a teacher
    recipe = json.loads((run / "config.json").read_text())["recipe"]
    assert recipe["data"]["unit_classes"] == recipe["clusters"]["classes"] == [15, 15]
    assert recipe["data"]["unit_rate"] == recipe["clusters"]["rate"] == 50
    given = [f"--config.init_from={run}", f"--config.data.source={lists / 'one' / 'train.tsv'}"]
    start = ["pretrain", "--config", str(run), *given, *SHORT]
    sets = tuple(str(lists / name / "train.km") for name in ("one", "two"))

    def refused(name, *words):
        assert main.main([*start, "--workdir", str(lists / name), *words]) == 2
        return capsys.readouterr().err

    said = refused("a", f"--config.data.units={sets[:1]!r}")
    assert "data.units" in said and "has 1 label sets" in said
    said = refused("b", f"--config.data.units={sets!r}", "--config.clusters.rate=100.")
    assert "set clusters.rate and data.unit_rate to the same" in said
    assert main.main([*start, "--workdir", str(lists / "go"), f"--config.data.units={sets!r}"]) == 0
    lines = (lists / "go" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line) for line in lines]
    assert len(losses) == 2 and all(
        0 < one["cluster"] < 20 and "cluster_1" in one for one in losses
    )
