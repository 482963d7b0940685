"""A checkpoint that cannot be read is told of once."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.train import checkpoint, state

READ = """
import pathlib, sys, threading, time
from d2v_jax.common.checks import UserError
from d2v_jax.train import checkpoint
for _ in range(5):
    try:
        checkpoint.load_trees(pathlib.Path(sys.argv[1]), ("student", "teacher"))
        print("read")
    except UserError:
        pass
time.sleep(1)  # reads end late
class Loud:
    def __del__(self):
        raise RuntimeError("another")
Loud()
"""


def said_of(run) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", READ, str(run)]
    return subprocess.run(words, capture_output=True, text=True)


def test_reads_that_end_late_say_nothing(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, ("student", "teacher"), keep=2)
    rng = np.random.default_rng(0)
    tree = {f"w{number}": rng.normal(size=(80, 80)).astype("f4") for number in range(40)}
    checkpoints.save(state.TrainState(jnp.int32(1), jax.device_put(tree), {}, ()), {}, {})
    checkpoints.wait()
    checkpoints.close()
    assert said_of(tmp_path).stdout == "read\n" * 5
    files = [path for path in (tmp_path / "checkpoints").glob("1/student/**/*") if path.is_file()]
    largest = max(files, key=os.path.getsize)
    os.truncate(largest, largest.stat().st_size // 2)
    done = said_of(tmp_path)
    assert done.returncode == 0 and not done.stdout
    assert (
        done.stderr.startswith("Exception ignored in: <function Loud") and "another" in done.stderr
    )
    assert done.stderr.count("Traceback") == 1, done.stderr
