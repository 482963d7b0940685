"""Two processes are one run: same losses, stopped together, continued elsewhere, lost by name."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import pytest
from rollcalls import free_port

from d2v_jax.train.hosts.errors import LOST
from d2v_jax.train.pretrain import STOPPED

RECIPE = [
    "--config",
    "quickstart_image:smoke",
    "--config.train.steps=20",
    "--config.train.checkpoint_every=5",
    "--config.mask.views=1",
    "--config.trunk.depth=1",
    "--config.targets.blocks=(0,)",
    "--config.decoder.layers=1",
]
PATIENCE_S = 3600  # in which even a slow machine ends a run; only a hang takes it
CACHE = tempfile.TemporaryDirectory(prefix="d2v-test-cache-")


def start(
    workdir: pathlib.Path, devices: int, *more: str, words: Sequence[str] = ("pretrain", *RECIPE)
) -> subprocess.Popen:
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": CACHE.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [
        sys.executable,
        "-m",
        "d2v_jax.cli",
        *words,
        "--workdir",
        str(workdir),
        *more,
    ]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def start_two(
    workdir: pathlib.Path, devices: int, *more: str, **words: Sequence[str]
) -> list[subprocess.Popen]:
    port = free_port()
    address = ["--coordinator", f"localhost:{port}", "--processes", "2", "--process-id"]
    return [start(workdir, devices, *more, *address, str(index), **words) for index in range(2)]


def end(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """-> (exit code, what it said) of each."""
    said = [process.communicate(timeout=PATIENCE_S)[1] for process in processes]
    return [(process.returncode, words) for process, words in zip(processes, said)]


def losses(workdir: pathlib.Path) -> list[float]:
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
    return [record["loss"] for record in records]


def wait_for(workdir: pathlib.Path, step: int, processes: list[subprocess.Popen]) -> None:
    path = workdir / "metrics.jsonl"
    while all(process.poll() is None for process in processes):
        if path.exists() and path.read_text().count("\n") >= step:
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone_run(tmp_path_factory):
    """The same run on one device of one process."""
    workdir = tmp_path_factory.mktemp("alone")
    ((code, words),) = end([start(workdir, 1)])
    assert code == 0, words
    return workdir


@pytest.fixture(scope="module")
def alone(alone_run):
    """Its losses."""
    return losses(alone_run)


@pytest.mark.slow
def test_stopped_together_and_continued_by_one(alone, tmp_path):
    """SIGTERM to one of 2 x 4; 1 x 4, cut otherwise, ends the run with the losses of 1 x 1."""
    two = start_two(tmp_path, 4, "--config.mesh=data:4,fsdp:2")
    wait_for(tmp_path, 7, two)
    two[1].send_signal(signal.SIGTERM)
    for code, words in end(two):
        assert code == STOPPED, words
    done = len(losses(tmp_path))
    assert 7 <= done < 20
    assert str(done) in {path.name for path in (tmp_path / "checkpoints").iterdir()}
    ((code, words),) = end([start(tmp_path, 4, "--config.mesh=fsdp:4")])
    assert code == 0 and f"continuing from step {done}" in words, words
    assert losses(tmp_path) == pytest.approx(alone, rel=1e-5)


@pytest.mark.slow
def test_two_fine_tune_what_one_has_trained(alone_run, tmp_path):
    """They are joined before the checkpoint is read, and evaluate on the way."""
    words = ["finetune", "--config", "finetune_image:smoke", f"--config.init_from={alone_run}"]
    words += ["--config.data.source=builtin:photos", "--config.train.steps=4"]
    words += ["--config.optimizer.warmup_steps=1", "--config.eval.every=2"]
    words += ["--config.trunk.drop_path_ramp=trunk"]  # the encoder has a single block
    for code, said in end(start_two(tmp_path, 2, words=words)):
        assert code == 0 and "step 4 saved" in said, said
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [one["step"] for one in map(json.loads, lines) if "eval/accuracy" in one] == [2, 4]


@pytest.mark.slow
def test_a_killed_process_is_named_by_the_other(tmp_path):
    two = start_two(tmp_path, 1)
    wait_for(tmp_path, 2, two)
    two[1].kill()
    (code, words), _ = end(two)
    assert code == LOST and "process 1 (" in words and "was lost" in words, words


def test_processes_of_different_recipes_do_not_start(tmp_path):
    port = free_port()
    address = ["--coordinator", f"localhost:{port}", "--processes", "2", "--process-id"]
    two = [start(tmp_path / "run", 1, f"--config.seed={i}", *address, str(i)) for i in range(2)]
    for code, words in end(two):
        assert code == 2 and "process 1 of 2 (" in words, words
        assert "has another recipe than process 0: seed 1 instead of 0. Give all" in words
        assert "Traceback" not in words
    assert not (tmp_path / "run").exists()
