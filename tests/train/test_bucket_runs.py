"""A run in a bucket is as one on disk: killed, stopped, continued, of several processes, read."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import jax.numpy as jnp
import numpy as np
import pytest
from rollcalls import free_port

import d2v_jax as d2v
from d2v_jax.cli import main
from d2v_jax.common import buckets
from d2v_jax.train import checkpoint, state
from d2v_jax.train.pretrain import STOPPED

STEPS = 30  # enough that a signal after a few comes before the end
RECIPE = [
    "--config",
    "quickstart_image:smoke",
    "--config.train.checkpoint_every=3",
    "--config.mask.views=1",
    "--config.trunk.depth=1",
    "--config.targets.blocks=(0,)",
    "--config.decoder.layers=1",
]
PATIENCE_S = 3600  # only a hang takes it
CACHE = tempfile.TemporaryDirectory(prefix="d2v-test-cache-")


def start(workdir, *more, recipe=(*RECIPE, f"--config.train.steps={STEPS}")) -> subprocess.Popen:
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": CACHE.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    words = [sys.executable, "-m", "d2v_jax.cli", "pretrain", *recipe, "--workdir", str(workdir)]
    return subprocess.Popen([*words, *more], env=env, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen) -> tuple[int, str]:
    _, words = process.communicate(timeout=PATIENCE_S)
    return process.returncode, words


def losses(workdir: str | pathlib.Path) -> list[tuple[int, float, float]]:
    lines = (buckets.place(workdir) / "metrics.jsonl").read_text().splitlines()
    return [(one["step"], one["loss"], one["grad_norm"]) for one in map(json.loads, lines)]


def wait_for_checkpoint(workdir: str, step: int, *processes: subprocess.Popen) -> None:
    """Until that one or a later is complete, or a process has ended."""
    while all(process.poll() is None for process in processes):
        if (checkpoint.newest(buckets.place(workdir), "student") or 0) >= step:
            return
        time.sleep(0.05)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The losses of the same run, on disk."""
    workdir = tmp_path_factory.mktemp("whole")
    code, words = end(start(workdir))
    assert code == 0, words
    return losses(workdir)


@pytest.mark.slow
def test_killed_stopped_and_continued_is_bit_equal(bucket, uninterrupted):
    workdir = bucket()
    process = start(workdir)
    wait_for_checkpoint(workdir, 3, process)
    process.kill()  # the next checkpoint, too, may be half written
    process.wait()
    process = start(workdir)
    wait_for_checkpoint(workdir, 6, process)
    process.send_signal(signal.SIGTERM)
    code, words = end(process)
    assert code == STOPPED and "continuing from step" in words, words
    assert f"d2v pretrain --workdir {workdir}" in words
    done = losses(workdir)[-1][0]
    assert checkpoint.newest(buckets.place(workdir), "student") == done
    code, words = end(start(workdir, recipe=()))
    assert code == 0 and f"continuing from step {done}" in words, words
    assert losses(workdir) == uninterrupted
    code, words = end(start(workdir, recipe=()))
    assert code == 0 and f"{workdir} is complete at step {STEPS}" in words, words


@pytest.mark.slow
def test_two_processes_stop_together_and_one_goes_on(bucket, uninterrupted):
    workdir = bucket()
    address = ["--coordinator", f"localhost:{free_port()}", "--processes", "2", "--process-id"]
    two = [start(workdir, *address, str(index)) for index in range(2)]
    wait_for_checkpoint(workdir, 3, *two)
    two[1].send_signal(signal.SIGTERM)
    for code, words in map(end, two):
        assert code == STOPPED, words
    code, words = end(start(workdir, recipe=()))
    assert code == 0 and "continuing from step" in words, words
    assert [step for step, *_ in losses(workdir)] == list(range(1, STEPS + 1))
    np.testing.assert_allclose(losses(workdir), uninterrupted, rtol=1e-5)


def test_a_checkpoint_counts_when_it_is_complete(bucket):
    folder = buckets.place(bucket()) / checkpoint.FOLDER
    for step, file in ((3, "commit_success.txt"), (6, "student/part")):
        (folder / str(step) / "_CHECKPOINT_METADATA").write_text("{}")
        (folder / str(step) / file).write_text("")
    assert checkpoint.newest(folder.parent, "student") == 3


def test_checkpoints_that_diverged_are_set_aside(bucket, tmp_path):
    for run in (tmp_path, buckets.place(bucket())):
        checkpoints = checkpoint.Checkpoints(run, ("student", "teacher"), keep=3)
        for step in (1, 2, 3):
            one = state.TrainState(jnp.int32(step), {"w": jnp.ones(2)}, {}, ())
            checkpoints.save(one, {}, {})
        checkpoints.wait()
        assert checkpoint.newest(run, "student") == 3 and checkpoints.good(2) == 1
        assert checkpoints.set_aside(2) == [run / "diverged" / "2", run / "diverged" / "3"]
        assert checkpoint.newest(run, "student") == 1
        for step in ("2", "3"):
            assert (run / "diverged" / step / "_CHECKPOINT_METADATA").exists()
            assert not (run / "checkpoints" / step).exists()
        checkpoints.close()


def test_what_reads_a_run_reads_it_in_a_bucket(bucket, tmp_path, one_device, capsys):
    """One trained in a bucket: the same tree, features and results as its copy on disk."""
    there, here = bucket(), tmp_path / "run"
    recipe = [*RECIPE, "--config.train.steps=3", "--config.optimizer.warmup_steps=1"]
    assert main.main(["pretrain", *recipe, "--workdir", there]) == 0
    names = {path.name for path in buckets.place(there).iterdir()}
    assert {"config.json", "metrics.jsonl", "goodput.json", "tensorboard"} <= names
    copied(buckets.place(there), here)
    capsys.readouterr()
    assert main.main(["inspect", there]) == 0
    said = capsys.readouterr().out
    assert main.main(["inspect", str(here)]) == 0
    assert said == capsys.readouterr().out
    pictures = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 1), dtype=np.uint8)
    features = [d2v.load(path).features(pictures) for path in (there, here)]
    np.testing.assert_array_equal(*features)
    converted = bucket()
    assert main.main(["convert", there, converted]) == 0
    assert main.main(["convert", converted, f"{converted}/weights", "--to", "safetensors"]) == 0
    np.testing.assert_array_equal(d2v.load(f"{converted}/weights").features(pictures), features[0])
    capsys.readouterr()
    again = [*recipe, f"--config.init_from={there}", "--workdir", str(tmp_path / "next")]
    assert main.main(["pretrain", *again]) == 0


def copied(there, here: pathlib.Path) -> None:
    """A folder of a bucket, with all that is below it, onto the disk."""
    for path in there.iterdir():
        if path.is_dir():
            copied(path, here / path.name)
        else:
            here.mkdir(parents=True, exist_ok=True)
            (here / path.name).write_bytes(path.read_bytes())
