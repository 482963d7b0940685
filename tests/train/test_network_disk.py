"""A file system behind a network: it pauses and the run waits; it is lost and the run says so.

Played by bindfs, whose process stands for the server (Debian: `apt-get install bindfs`).
"""

import os
import shutil
import signal
import subprocess
import time

import pytest
from test_faults_while_running import PATIENCE_S, data, losses, start, undisturbed, wait_until

__all__ = ["data", "undisturbed"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("bindfs") and os.access("/dev/fuse", os.W_OK)), reason="needs bindfs"
    ),
]

PAUSE_S = float(os.environ.get("D2V_TEST_PAUSE_S", 5))
WAIT_S = 240  # to see that the disk is lost; Orbax has waits of five minutes


class Server:
    """Shows the folder `behind` as the folder `front`."""

    def __init__(self, behind, front):
        self.behind, self.front = behind, front
        behind.mkdir(exist_ok=True)
        front.mkdir(exist_ok=True)
        self.start()

    def start(self):
        self.process = subprocess.Popen(["bindfs", "-f", self.behind, self.front])
        while not os.path.ismount(self.front):
            assert self.process.poll() is None, "bindfs cannot mount here"
            time.sleep(0.01)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(PAUSE_S)
        self.process.send_signal(signal.SIGCONT)

    def is_lost(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "--lazy", self.front], check=True)

    def comes_back(self):
        self.stop()
        self.start()


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path / "behind", tmp_path / "front")
    yield made
    made.stop()


def listed(folder):
    return os.listdir(folder) if folder.exists() else ()


def disturb(process, workdir, fault):
    wait_until(process, lambda: any(map(str.isdigit, listed(workdir / "checkpoints"))))
    fault()
    _, err = process.communicate(timeout=WAIT_S)
    assert "Traceback" not in err, err
    return process.returncode, err


def test_the_run_waits_for_its_folder(server, data, undisturbed):
    workdir = server.front / "run"
    code, err = disturb(start(workdir, data), workdir, server.pause)
    assert code == 0, err
    assert losses(workdir) == undisturbed


def test_the_run_waits_for_its_data(server, data, undisturbed, tmp_path):
    shutil.copytree(data, server.behind / "data")
    workdir = tmp_path / "run"
    code, err = disturb(start(workdir, server.front / "data"), workdir, server.pause)
    assert code == 0, err
    assert losses(workdir) == undisturbed


def test_a_lost_folder_is_named_and_the_run_goes_on_when_it_is_back(server, data, undisturbed):
    workdir = server.front / "run"
    code, err = disturb(start(workdir, data), workdir, server.is_lost)
    assert code == 74 and str(server.front) in err, err
    server.comes_back()
    process = start(workdir, data)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and "continuing from step" in err, err
    assert losses(workdir) == undisturbed


def test_lost_data_are_named_and_the_run_goes_on_when_they_are_back(
    server, data, undisturbed, tmp_path
):
    shutil.copytree(data, server.behind / "data")
    workdir = tmp_path / "run"
    code, err = disturb(start(workdir, server.front / "data"), workdir, server.is_lost)
    assert code in (2, 74) and str(server.front / "data") in err, err
    server.comes_back()
    process = start(workdir, server.front / "data")
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and "continuing from step" in err, err
    assert losses(workdir) == undisturbed
