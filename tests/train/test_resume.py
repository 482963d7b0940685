"""Killed anywhere and started again, a run gives the very losses of an uninterrupted one."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.train import pretrain, run
from d2v_jax.train.recipe import resolve
from d2v_jax.train.report import metrics

STEPS = 24
PATIENCE_S = 3600  # only a hang takes it
RECIPE = [
    "--config",
    "quickstart_image:smoke",
    f"--config.train.steps={STEPS}",
    "--config.train.checkpoint_every=3",
]

# Compiled once for all the processes started here.
CACHE = tempfile.TemporaryDirectory(prefix="d2v-test-cache-")
ENV = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": CACHE.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def command(workdir):
    return [sys.executable, "-m", "d2v_jax.cli", "pretrain", *RECIPE, "--workdir", str(workdir)]


def start(workdir):
    return subprocess.Popen(command(workdir), env=ENV, stderr=subprocess.PIPE, text=True)


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [(r["step"], r["loss"], r["grad_norm"], r["position_share"]) for r in records]


def wait_for_step(workdir, step, process):
    path = workdir / "metrics.jsonl"
    while process.poll() is None:
        if path.exists() and path.read_text().count("\n") >= step:
            return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    process = start(workdir)
    assert process.wait(PATIENCE_S) == 0, process.stderr.read()
    result = losses(workdir)
    assert [step for step, *_ in result] == list(range(1, STEPS + 1))
    return result


def test_killed_and_continued_is_bit_equal(tmp_path, uninterrupted):
    workdir = tmp_path / "run"
    chance = random.Random(0)
    for kill_at in (2, 7, 15):
        process = start(workdir)
        wait_for_step(workdir, kill_at, process)
        time.sleep(chance.uniform(0, 0.2))  # anywhere, also in the middle of a save
        process.kill()
        process.wait()
    process = start(workdir)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "continuing from step" in err
    assert losses(workdir) == uninterrupted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_saves_and_says_how_to_go_on(tmp_path, uninterrupted, number):
    workdir = tmp_path / "run"
    process = start(workdir)
    wait_for_step(workdir, 4, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == pretrain.STOPPED, err
    assert f"Stopped by {signal.Signals(number).name}" in err and "Traceback" not in err
    assert f"d2v pretrain --workdir {workdir}" in err
    done = losses(workdir)[-1][0]
    assert (workdir / "checkpoints" / str(done)).is_dir(), "stopped at a step that was not saved"
    again = [sys.executable, "-m", "d2v_jax.cli", "pretrain", "--workdir", str(workdir)]
    finished = subprocess.run(again, env=ENV, capture_output=True, text=True, timeout=PATIENCE_S)
    assert finished.returncode == 0, finished.stderr
    assert losses(workdir) == uninterrupted


def test_history_never_holds_a_step_twice(tmp_path):
    first = metrics.History(tmp_path, 0)
    for step in (1, 2, 3):
        first.write({"step": step, "loss": 1 / 3})
    first.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    second = metrics.History(tmp_path, 2)
    second.write({"step": 3, "loss": 0.5})
    second.close()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [1, 2, 3]
    assert records[0]["loss"] == 1 / 3 and records[2]["loss"] == 0.5


def test_another_recipe_is_refused(tmp_path):
    smoke = resolve.resolve(resolve.load("quickstart_image:smoke"))
    run.write_config(tmp_path, smoke)
    run.continue_or_refuse(tmp_path, smoke)
    free = resolve.load("quickstart_image:smoke", ["--config.train.log_every=7"])
    run.continue_or_refuse(tmp_path, resolve.resolve(free))
    other = resolve.load("quickstart_image:smoke", ["--config.optimizer.learning_rate=0.5"])
    with pytest.raises(UserError, match=r"(?s)another recipe.*learning_rate: 0.01 there, 0.5"):
        run.continue_or_refuse(tmp_path, resolve.resolve(other))


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"recipe": {"seed"')
    with pytest.raises(UserError, match="config.json is damaged"):
        run.read_config(tmp_path)
    with pytest.raises(UserError, match="there is no run folder"):
        run.read_config(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="is not a run folder"):
        run.read_config(pathlib.Path(empty))
