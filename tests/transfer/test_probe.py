"""`d2v probe` on sound and text: its tables, and what it refuses."""

import json
import pathlib
import shutil
import types

import numpy as np
import pytest
import soundfile

from d2v_jax.cli import main
from d2v_jax.common.checks import UserError
from d2v_jax.data.labelled.exams import Exam, Task
from d2v_jax.transfer.probes import probe

ENTRANTS = ["random", "student", "teacher"]


def trained(name, workdir):
    args = [
        "pretrain",
        "--config",
        f"{name}:smoke",
        "--config.train.steps=5",
        "--config.optimizer.warmup_steps=2",
    ]
    assert main.main([*args, "--workdir", str(workdir)]) == 0
    return workdir


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A run on sound."""
    return trained("quickstart_audio", tmp_path_factory.mktemp("heard") / "run")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run on text."""
    return trained("quickstart_text", tmp_path_factory.mktemp("written") / "run")


@pytest.fixture
def speakers(tmp_path):
    """Two folders of ten noises, high and low."""
    rng = np.random.default_rng(0)
    for number in range(20):
        wave_s = rng.normal(size=6_000)
        wave_s = np.diff(wave_s) if number % 2 else np.cumsum(wave_s) / 50
        path = tmp_path / "speakers" / "ab"[number % 2] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * wave_s / wave_s.std(), 16_000)
    return tmp_path / "speakers"


def test_sound(heard, capsys):
    assert main.main(["probe", str(heard), "--examples", "40"]) == 0
    said = capsys.readouterr().out
    record = json.loads((heard / "probe.json").read_text())
    assert list(record["tasks"]) == ["voice", "word", "phone"] and record["step"] == 5
    for task in record["tasks"].values():
        assert list(task["linear"]) == list(task["knn"]) == ["log-mel", *ENTRANTS]
        assert task["train"] == task["test"] == 40
        assert f"{task['linear']['student']:.3f}" in said
    assert record["linear"] == record["tasks"]["voice"]["linear"]
    assert record["knn"] == record["tasks"]["voice"]["knn"]
    assert "voice: 14 classes, 40 utterances" in said and "word: " in said


def test_text(written, capsys):
    assert main.main(["probe", str(written), "--examples", "60"]) == 0
    record = json.loads((written / "probe.json").read_text())
    assert list(record["tasks"]) == ["document"]
    assert list(record["linear"]) == ["tokens", *ENTRANTS]
    assert "60 passages to learn from" in capsys.readouterr().out


def test_the_best_block():
    rng = np.random.default_rng(0)
    labels = tuple(rng.integers(3, size=60).astype(np.int32) for _ in range(2))

    def features(encode):
        if encode is None:
            return [tuple(rng.normal(size=(60, 2)) for _ in labels)]
        return [tuple(encode(side, pool="mean") for side in labels)]

    def of_blocks(side, layer, pool):
        """Only the middle one knows the label."""
        assert layer == "all" and pool == "mean"
        noises = [rng.normal(size=(60, 4)) for _ in range(3)]
        noises[1][:, 0] = 5 * side
        noises[1][:, 1] = 5 * (side == 1)
        return np.concatenate(noises, 1)

    one = types.SimpleNamespace(
        config=types.SimpleNamespace(trunk=types.SimpleNamespace(depth=3)),
        features=of_blocks,
        teacher=None,
        untrained=lambda seed: one,
    )
    exam = Exam("noise", (Task("class", "things", labels),), features)
    scores, blocks = probe._scores(exam, one, "search", 0)
    tried = blocks["class"]["linear"]
    assert list(tried) == ["random", "student"] and np.argmax(tried["student"]) == 1
    assert tried["student"][1] > 0.9 > 0.7 > tried["student"][0]
    assert scores["class"]["linear"]["student"] > 0.9 > scores["class"]["linear"]["noise"]
    record = {"source": "a", "layer": "search", "step": 0}
    about = {"classes": 3, "noun": "things", "train": 60, "test": 60, "blocks": blocks["class"]}
    said = probe.table({**record, "tasks": {"class": {**scores["class"], **about}}})
    assert said.splitlines()[4].split()[0] == "linear"
    assert said.splitlines()[5].split() == ["block", "1", "1"]


def test_tags_of_words(written, tmp_path):
    rng = np.random.default_rng(0)
    kinds = {"red": "ADJ", "big": "ADJ", "dog": "NOUN", "cat": "NOUN", "runs": "VERB"}
    sentences = [
        "".join(f"{word}\t{kinds[word]}\n" for word in rng.choice(list(kinds), 6))
        for _ in range(40)
    ]
    (tmp_path / "s.conll").write_text("\n".join(sentences))
    copy = shutil.copytree(written, tmp_path / "copy")
    probe.probe_run(copy, str(tmp_path / "s.conll"), 60, "last")
    record = json.loads((copy / "probe.json").read_text())
    (task,) = record["tasks"].values()
    assert task["noun"] == "words" and task["classes"] == 3 and task["train"] == 60
    assert list(task["linear"]) == ["token", *ENTRANTS] and task["linear"]["token"] > 0.5


def test_folders_of_speakers(heard, speakers, tmp_path):
    copy = shutil.copytree(heard, tmp_path / "copy")
    probe.probe_run(pathlib.Path(copy), str(speakers), 100, "last")
    record = json.loads((copy / "probe.json").read_text())
    assert list(record["tasks"]) == ["class"] and record["tasks"]["class"]["classes"] == 2
    assert record["linear"]["log-mel"] == 1.0


def test_what_cannot_be_probed(heard, written, speakers, tmp_path):
    with pytest.raises(UserError, match="--examples 1: .*at least 2"):
        probe.probe_run(heard, None, 1, "all")
    with pytest.raises(UserError, match="layer='9'"):
        probe.probe_run(heard, None, 10, "9")
    with pytest.raises(UserError, match="another modality"):
        probe.probe_run(heard, "builtin:python-docs", 10, "all")
    (tmp_path / "a.txt").write_text("A line.\n" * 500)
    with pytest.raises(UserError, match=r"has no labels.*builtin:python-docs"):
        probe.probe_run(written, str(tmp_path / "a.txt"), 10, "all")
    shutil.rmtree(speakers / "b")
    with pytest.raises(UserError, match="only one class; a probe needs at least two"):
        probe.probe_run(heard, str(speakers), 10, "all")
    shutil.copy(next(speakers.rglob("*.wav")), speakers)
    with pytest.raises(UserError, match=r"has no labels.*sub-folder per speaker"):
        probe.probe_run(heard, str(speakers), 10, "all")


def test_the_models_own_source_may_be_without_labels(written, tmp_path):
    (tmp_path / "a.txt").write_text("A line.\n" * 500)
    copy = shutil.copytree(written, tmp_path / "copy")
    for path in (copy / "config.json", *copy.glob("checkpoints/*/recipe/metadata")):
        words = path.read_text()
        assert "builtin:python-docs" in words
        path.write_text(words.replace("builtin:python-docs", str(tmp_path / "a.txt")))
    with pytest.raises(UserError, match="Or probe on others: --source builtin:python-docs"):
        probe.probe_run(copy, None, 10, "all")
