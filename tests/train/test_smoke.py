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
    monkeypatch.setattr(mesh, "make_mesh", lambda: whole(jax.devices()[:1]))
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
    course = lambda record: {k: v for k, v in record.items() if not k.endswith("_per_s")}
    resumed = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    assert list(map(course, resumed)) == list(map(course, history))
    assert max(r["step"] for r in resumed) == 30 and "continuing from step 20" in caplog.text
