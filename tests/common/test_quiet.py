"""A checkpoint that cannot be read is told of once."""

import asyncio
import gc
import logging
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.common import quiet
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


class Read:
    """Stands for TensorStore's future of an array that cannot be read."""

    def __await__(self):
        raise ValueError("data loss")
        yield


async def unread() -> None:
    raise ValueError("another")


def end_unasked(awaited) -> None:
    loop = asyncio.new_event_loop()
    task = asyncio.ensure_future(awaited, loop=loop)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del task
    gc.collect()


def test_reads_that_end_unasked_say_nothing(caplog, monkeypatch):
    loops = logging.getLogger("asyncio")
    caplog.set_level(logging.ERROR, "asyncio")  # another test's libraries may have silenced it
    monkeypatch.setattr(loops, "filters", [])
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with quiet.quiet_reads():
        end_unasked(Read())
    assert not loops.filters and not caplog.records  # a sound read leaves no filter
    try:
        with quiet.quiet_reads():
            raise ValueError("data loss")
    except ValueError:
        end_unasked(Read())
    assert not caplog.records
    end_unasked(unread())
    assert [record.exc_info[1].args for record in caplog.records] == [("another",)]
