"""What happens to a machine while a run is under way: it goes on, or ends in a sentence; started
again, it gives the very losses of an undisturbed one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

STEPS = 24
PATIENCE_S = 3600  # only a hang takes it
ENV = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": os.environ["D2V_TESTS_CACHE"],
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}

pytestmark = pytest.mark.slow


CLOCK = """
import os, time
real = time.time
time.time = lambda: real() - 3600 * os.path.exists(os.environ["D2V_TEST_JUMP"])
"""


def start(workdir, data):
    place = workdir.parent / "clock"  # Python reads it at every start
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(CLOCK)
    env = ENV | {"PYTHONPATH": str(place), "D2V_TEST_JUMP": str(workdir.parent / "jump")}
    words = [
        *("pretrain", "--config", "quickstart_image:smoke", "--workdir", str(workdir)),
        f"--config.data.source={data}",
        f"--config.train.steps={STEPS}",
        "--config.train.checkpoint_every=3",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "d2v_jax.cli", *words], env=env, stderr=subprocess.PIPE, text=True
    )


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [(r["step"], r["loss"], r["grad_norm"]) for r in map(json.loads, lines)]


def wait_until(process, happened):
    while process.poll() is None and not happened():
        time.sleep(0.005)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty pictures."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(workdir, data)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return losses(workdir)


def sleeps(process, workdir, data):
    process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    process.send_signal(signal.SIGCONT)


def finds_its_clock_set_back(process, workdir, data):
    (workdir.parent / "jump").touch()


def is_killed_in_a_save(process, workdir, data):
    """While what is being saved has no name yet."""
    wait_until(process, lambda: [*workdir.glob("checkpoints/*tmp*")])
    process.kill()


def loses_its_folder(process, workdir, data):
    workdir.rename(workdir.with_name("elsewhere"))


def loses_its_folder_for_good(process, workdir, data):
    shutil.rmtree(workdir, ignore_errors=True)


def loses_its_data(process, workdir, data):
    data.rename(data.with_name("elsewhere"))


def finds_its_data_cut_off(process, workdir, data):
    for path in data.iterdir():
        os.truncate(path, 40)


FAULTS = {  # what happens, the exit codes that may follow, what must be said
    sleeps: ((0,), ""),
    finds_its_clock_set_back: ((0,), ""),
    is_killed_in_a_save: ((-signal.SIGKILL,), ""),
    loses_its_folder: ((2, 74), "run"),
    loses_its_folder_for_good: ((2, 74), "run"),
    loses_its_data: ((2,), "No such file"),
    finds_its_data_cut_off: ((2,), "is cut off there"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_run(fault, data, undisturbed, tmp_path):
    codes, words = FAULTS[fault]
    own, workdir = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data, own)
    process = start(workdir, own)
    history = workdir / "metrics.jsonl"
    wait_until(process, lambda: history.exists() and history.read_text().count("\n") >= 4)
    fault(process, workdir, own)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in codes and words in err and "Traceback" not in err, err
    # Everything is as it was.
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(data, own)
    if (tmp_path / "elsewhere" / "metrics.jsonl").exists():
        shutil.rmtree(workdir, ignore_errors=True)
        (tmp_path / "elsewhere").rename(workdir)
    if not (workdir / "config.json").exists():  # what was written while it went
        shutil.rmtree(workdir, ignore_errors=True)
    process = start(workdir, own)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert losses(workdir) == undisturbed
