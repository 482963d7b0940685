"""Processes call the roll, agree, and name the one that is missing, differs or is lost."""

import socket
import threading
import time

import pytest

from d2v_jax.common.checks import ConfigError, UserError
from d2v_jax.train import launch
from d2v_jax.train.peers import LOST, Peers


@pytest.fixture
def port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def together(count, work):
    """`work(index)` in a thread each -> results or exceptions."""
    results = [None] * count

    def run(index):
        try:
            results[index] = work(index)
        except UserError as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def test_who_does_not_come_is_named(port):
    def work(index):
        if index == 2:
            return None
        peers = Peers("localhost", port, 4, index, 1.0)
        peers.agree("code", "a", 5)

    results = together(4, work)
    assert "process 2 of 4 did not answer within 1 s" in str(results[0])
    assert results[0].code == results[1].code == LOST  # it may come back
    assert "process 2 of 4 did not answer" in str(results[1]) == str(results[3])


def test_nobody_listens(port):
    with pytest.raises(UserError, match=rf"process 0 at localhost:{port} did not answer within 0"):
        Peers("localhost", port, 2, 1, 0.1)


def test_who_differs_is_named(port):
    def work(index):
        peers = Peers("localhost", port, 3, index, 10)
        peers.agree("recipe", {"a": 1}, 10)
        peers.agree("code", "new" if index == 1 else "old", 10)

    for result in together(3, work):
        assert "process 1 of 3 " in str(result)
        assert "has another code than process 0: 'new' instead of 'old'. Give all" in str(result)


def test_who_hangs_is_named(port):
    def work(index):
        peers = Peers("localhost", port, 2, index, 10)
        if index == 0:
            peers.agree("data", 1, 0.5)
        time.sleep(1)

    assert "process 1 did not answer within 0 s about data" in str(together(2, work)[0])


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_who_is_lost_is_named_to_all(port, lost):
    told = {}
    heard = threading.Barrier(3)

    def work(index):
        note = lambda words: told.setdefault(index, words)
        peers = Peers("localhost", port, 3, index, 10, end=note)
        peers.agree("step", 1, 10)
        peers.watch()
        heard.wait(120)
        if index == lost:
            peers._closing = True  # the dead tell nothing
            for line in peers._lines.values():  # what the system does for a killed process
                line._socket.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 10
        while len(set(told) - {lost}) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)

    together(3, work)
    for index in {0, 1, 2} - {lost}:
        assert told[index].startswith(f"process {lost} ") and "was lost" in told[index]


def test_a_farewell_is_no_loss(port):
    told = []

    def work(index):
        peers = Peers("localhost", port, 2, index, 10, end=told.append)
        peers.agree("step", 1, 10)
        peers.watch()
        time.sleep(0.1 * index)
        peers.close()

    together(2, work)
    time.sleep(0.2)
    assert not told


def test_places():
    find = launch.find_place
    assert find(None, None, None, None) is None
    assert find("off", None, None, None) is None
    assert find(None, "a:1", 1, 0) is None
    assert find("auto", "a:1", 4, 3) == launch.Place("a:1", 4, 3)
    for wrong in [("a:1", 2, None), ("a:1", None, 0), (None, 2, 0)]:
        with pytest.raises(ConfigError, match="belong together"):
            find(None, *wrong)
    with pytest.raises(ConfigError, match=r"--process-id 2 must lie between 0 and --processes 2"):
        find(None, "a:1", 2, 2)
    with pytest.raises(ConfigError, match="'a': give HOST:PORT"):
        find(None, "a", 2, 0)
    assert launch._several({"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"})
    assert launch._several({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert not launch._several({"SLURM_NTASKS": "2"})  # sbatch without srun
    assert not launch._several({"TPU_WORKER_HOSTNAMES": "a"})
