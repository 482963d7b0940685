"""Processes agree, and name the one that differs, hangs, makes no sense or is lost."""

import socket
import threading

import pytest
from rollcalls import PATIENCE_S, free_port, peers, together

from d2v_jax.train.hosts.errors import LOST


@pytest.fixture
def port():
    return free_port()


def test_who_differs_is_named(port):
    def work(index):
        others = peers(port, 3, index)
        others.agree("recipe", {"a": 1})
        others.agree("code", "new" if index == 1 else "old")

    for result in together(3, work):
        assert "process 1 of 3 (" in str(result)
        assert "has another code than process 0: 'new' instead of 'old'. Give all" in str(result)


def test_who_hangs_is_named(port):
    done = threading.Event()

    def work(index):
        others = peers(port, 2, index)
        if index == 1:
            done.wait(PATIENCE_S)
            return
        try:
            others.agree("data", 1, 0.5)
        finally:
            done.set()

    assert "process 1 did not answer within 0 s about data" in str(together(2, work)[0])


def test_who_is_elsewhere_is_named(port):
    def work(index):
        peers(port, 2, index).agree("step" if index else "data", 1)

    for result in together(2, work):
        assert "is at 'step' where process 0 is at 'data'" in str(result)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"rubbish\n", "sent what is not our protocol: b'rubbish'"),
        (b"[1]\n", "sent what is not our protocol: b'[1]'"),
        (b"[" * 100_000 + b"\n", "sent what is not our protocol: b'[[["),
        (b'{"index": 1}\n', "sent what is no answer"),
        (b"\xff\n", "sent what is not our protocol"),
        (b"x" * (1 << 21), "sent more than 1048576 bytes without an end"),
        (b"", "closed the connection"),
        (b'{"about"', "closed the connection in the middle of a message"),
    ],
)
@pytest.mark.parametrize("strange", [1, 0])
def test_who_makes_no_sense_is_named(port, strange, words, why):
    """The process `strange` of three says `words` where it should answer, and ends."""

    def work(index):
        others = peers(port, 3, index)
        if index != strange:
            others.agree("data", 1)
            return
        for connection in others._connections.values():
            try:
                connection._socket.sendall(words)
            except OSError:  # the other side has heard enough
                pass
            connection._socket.shutdown(socket.SHUT_WR)
        if strange == 0:  # what the others have sent is read, or closing would be a reset
            for connection in others._connections.values():
                connection.read(None)
        elif words:
            others._connections[0].read(None)

    results = together(3, work)
    for index in {0, 1, 2} - {strange}:
        assert f"process {strange} (" in str(results[index]), results
        assert results[index].code == LOST
        if "than" not in why:  # a reset may overtake it
            assert why in str(results[index]) and "agreeing on data" in str(results[index])


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("last", [b"", b"rubbish\n", b"[]\n", b'{"lost": 3}\n'])
def test_who_is_lost_is_named_to_all(port, lost, last):
    told = {}
    noticed = threading.Semaphore(0)
    heard = threading.Barrier(3)

    def work(index):
        def note(words):
            told.setdefault(index, words)
            noticed.release()

        others = peers(port, 3, index, end=note)
        others.agree("step", 1)
        others.watch()
        heard.wait(PATIENCE_S)
        if index == lost:
            others._closing = True  # the dead tell nothing
            for connection in others._connections.values():
                connection._socket.sendall(last)
                connection._socket.shutdown(socket.SHUT_RDWR)  # as the system does for it
            for _ in range(2):
                assert noticed.acquire(timeout=PATIENCE_S)
            noticed.release(2)
        else:
            assert noticed.acquire(timeout=PATIENCE_S)
            noticed.release()
        heard.wait(PATIENCE_S)  # nobody ends, and is lost, before the others have noticed

    together(3, work)
    for index in {0, 1, 2} - {lost}:
        assert told[index].startswith(f"process {lost} ") and "was lost" in told[index]


def test_a_farewell_is_no_loss(port):
    told = []
    followed = []

    def work(index):
        others = peers(port, 2, index, end=told.append)
        others.agree("step", 1)
        before = set(threading.enumerate())
        others.watch()
        begun = [thread for thread in threading.enumerate() if thread.ident is not None]
        followed.extend(set(begun) - before)
        if index == 0:
            others.close()
        for thread in followed:  # also those of the one that closes
            thread.join(PATIENCE_S)
        return [thread for thread in followed if thread.is_alive()]

    assert together(2, work) == [[], []]
    assert followed and not told
