"""Each system learns in its thirty smoke steps, and goes on exactly where it was left."""

import json
import shutil

import jax
import pytest
import systems

from d2v_jax import cli
from d2v_jax.train import mesh


@pytest.mark.parametrize("name", systems.NAMES)
def test_learns_and_resumes_exactly(name, tmp_path, monkeypatch, caplog):
    whole = mesh.make_mesh
    monkeypatch.setattr(mesh, "make_mesh", lambda spec: whole(spec, jax.devices()[:1]))
    first, again = tmp_path / "first", tmp_path / "again"
    assert cli.main(["pretrain", "--config", f"{name}:smoke", "--workdir", str(first)]) == 0
    history = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in history] == list(range(1, 31))
    losses = [record["loss"] for record in history]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), losses
    assert not [r for r in caplog.records if r.levelname == "WARNING"], "it collapses"

    shutil.copytree(first, again)
    shutil.rmtree(again / "checkpoints" / "30")
    assert cli.main(["pretrain", "--workdir", str(again)]) == 0
    course = lambda record: {k: v for k, v in record.items() if not k.endswith("_s")}
    resumed = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    assert list(map(course, resumed)) == list(map(course, history))
    assert max(r["step"] for r in resumed) == 30 and "continuing from step 20" in caplog.text


def test_crops_of_several_lengths(tmp_path):
    """One step is compiled for each; a batch of either goes through the same state."""
    argv = [
        "pretrain", "--config", "v2_audio_base:smoke", "--workdir", str(tmp_path),
        "--config.data.buckets=(16000,32000)", "--config.train.batch_size=16",
        "--config.train.steps=12", "--config.optimizer.warmup_steps=2",
        "--config.trunk.depth=1", "--config.targets.blocks=(0,)", "--config.mask.views=1",
    ]  # fmt: skip
    assert cli.main(argv) == 0
    history = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    examples = [round(r["examples_per_s"] / r["steps_per_s"]) for r in history[1:]]
    assert set(examples) == {16, 8}
    assert all(0 <= record["data_wait_s"] < 100 for record in history)
