"""All come, or those who do not are named; strangers delay nobody and break nothing.

`LONG_S` stands for the two seconds of a hello wherever a stranger must not be waited for: had
anybody waited, the test would take as long.
"""

import json
import logging
import socket
import threading
import time

import pytest
from rollcalls import PATIENCE_S, begin, call, finish, free_port, peers, together

from d2v_jax.common.checks import UserError
from d2v_jax.train.hosts import handshake, roll_call
from d2v_jax.train.hosts.answer import greet
from d2v_jax.train.hosts.connection import Broken
from d2v_jax.train.hosts.errors import LOST

LONG_S = PATIENCE_S / 2


@pytest.fixture
def port():
    return free_port()


def enter(port, asked=True):
    """A connection to process 0; with `asked` after its challenge has come."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            one = socket.create_connection(("localhost", port), timeout=PATIENCE_S)
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    if not asked:
        return one
    return one, json.loads(one.makefile().readline())["challenge"]


def greeted(one):
    """A connection that has proven itself and says nothing more."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return greet(one)
        except (OSError, Broken):  # process 0 does not listen yet, or we were too slow for it
            assert time.monotonic() < deadline
            time.sleep(0.01)


def is_dropped(one):
    """Waits until process 0 has closed this connection."""
    try:
        while one.recv(4096):
            pass
    except ConnectionResetError:
        pass


def first(port, count=2, **other):
    return begin(roll_call.connect, call(port, count, 0, **other))


def others(port, count=2, **other):
    return [begin(roll_call.connect, call(port, count, i, **other)) for i in range(1, count)]


def all_came(results):
    return [len(result) for result in results] == [len(results) - 1] + [1] * (len(results) - 1)


def said_of(caplog):
    return [record.getMessage() for record in caplog.records if "roll call" in record.getMessage()]


def test_all_come(port):
    assert all_came(together(5, lambda i: roll_call.connect(call(port, 5, i))))


def test_who_does_not_come_is_named(port):
    def work(index):
        return None if index == 2 else roll_call.connect(call(port, 4, index, timeout_s=3.0))

    results = together(4, work)
    assert "process 2 of 4 did not answer within 3 s" in str(results[0])
    assert results[0].code == results[1].code == LOST  # it may come back
    assert "process 2 of 4 did not answer" in str(results[1]) == str(results[3])


def test_nobody_listens(port):
    with pytest.raises(UserError, match=rf"process 0 at localhost:{port} did not answer within 0"):
        roll_call.connect(call(port, 2, 1, timeout_s=0.1))


@pytest.mark.parametrize("number", [5, 300])
def test_silent_strangers_delay_nobody(port, number):
    """Also when they are more than process 0 keeps waiting."""
    began = time.monotonic()
    zero = first(port, 3, hello_s=LONG_S)
    strangers = [enter(port, asked=False) for _ in range(number)]
    assert all_came(finish(zero, *others(port, 3, hello_s=LONG_S)))
    assert time.monotonic() - began < LONG_S
    for one in strangers:
        one.close()


def test_silent_stranger_is_named(port, caplog):
    zero = first(port, hello_s=0.2)
    stranger, _ = enter(port)
    is_dropped(stranger)
    address = "{}:{}".format(*stranger.getsockname())
    assert all_came(finish(zero, *others(port)))
    assert f"roll call: {address} said nothing in 0.2 s; dropped" in said_of(caplog)


def test_port_scan(port, caplog):
    zero = first(port, hello_s=LONG_S)
    for _ in range(50):
        enter(port, asked=False).close()
    enter(port)[0].close()
    assert all_came(finish(zero, *others(port, hello_s=LONG_S)))
    assert any("closed the connection; dropped" in line for line in said_of(caplog))


GOOD = {
    "protocol": handshake.PROTOCOL,
    "index": 1,
    "count": 2,
    "host": "stranger",
    "challenge": "0" * 32,
    "answer": "0" * 64,
}
NO_HELLO = {
    "garbage": (b"\x00\xff\x13garbage\n", "sent what is not our protocol: b'\\x00\\xff"),
    "http": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "not our protocol: b'GET / HTTP/1.1"),
    "no fields": (b"{}\n", "not our protocol: no right 'protocol'"),
    "old hello": (b'{"index": 1, "host": "a"}\n', "not our protocol: no right 'protocol'"),
    "list": (b"[1, 2]\n", "not our protocol: b'[1, 2]'"),
    "number": (b"1\n", "not our protocol: b'1'"),
    "deep": (b"[" * 4000 + b"\n", "not our protocol: b'[[["),
    "huge": (b"x" * 5000, "sent more than 4096 bytes without an end"),
    "huge line": (b'{"a": "' + b"x" * 5000 + b'"}\n', "sent more than 4096 bytes without an end"),
    "wrong secret": (GOOD, "calls itself process 1 and has the wrong secret"),
    **{
        f"{name} {value!r}"[:20]: (GOOD | {name: value}, words)
        for name, value, words in [
            ("index", 2, "calls itself process 2 of 2"),
            ("index", -1, "calls itself process -1 of 2"),
            ("index", int("9" * 3000), "calls itself process 99999999999999999999 of 2"),
            ("index", 1.0, "no right 'index'"),
            ("index", True, "no right 'index'"),
            ("index", "1", "no right 'index'"),
            ("index", None, "no right 'index'"),
            ("count", 0, "no right 'count'"),
            ("count", [2], "no right 'count'"),
            ("host", {}, "no right 'host'"),
            ("host", "a\nb", "no right 'host'"),
            ("challenge", 7, "no right 'challenge'"),
            ("answer", "0", "no right 'answer'"),
            ("answer", "\ud800" * 64, "no right 'answer'"),
        ]
    },
}


@pytest.mark.parametrize("name", NO_HELLO)
def test_no_hello_is_dropped_and_named(port, caplog, name):
    """At once: `hello_s` is never waited for."""
    words, why = NO_HELLO[name]
    zero = first(port, hello_s=LONG_S)
    stranger, _ = enter(port)
    stranger.sendall(words if isinstance(words, bytes) else json.dumps(words).encode() + b"\n")
    is_dropped(stranger)
    assert all_came(finish(zero, *others(port, hello_s=LONG_S)))
    assert any(why in line and line.endswith("; dropped") for line in said_of(caplog)), why


def test_hello_in_pieces(port):
    zero = first(port, hello_s=LONG_S)
    one, asked = enter(port)
    hello = handshake.hello(call(port, 2, 1).secret, asked, 1, 2, "pieces").message()
    for byte in json.dumps(hello).encode() + b"\n":
        one.sendall(bytes([byte]))
    (connections,) = finish(zero)
    assert connections[1].host == "pieces"


def test_unfinished_hello_is_named(port, caplog):
    zero = first(port, hello_s=1.0)
    one, _ = enter(port)
    one.sendall(b'{"index"')
    is_dropped(one)
    assert all_came(finish(zero, *others(port)))
    assert any("did not finish its hello in 1 s" in line for line in said_of(caplog))


def test_wrong_secret_is_named_on_both_sides(port, caplog):
    zero = first(port, timeout_s=3.0)
    (other,) = others(port, secret=b"another", timeout_s=3.0)
    zero, other = finish(zero, other)
    assert "process 1 of 2 did not answer within 3 s" in str(zero)
    assert "calls itself process 1 and has the wrong secret" in str(zero)
    assert "refuses this process: it has another secret than process 0" in str(other)
    assert "D2V_RUN_SECRET" in str(other)


def test_secret_is_not_sent(port):
    """Nor does a hello serve twice: every connection has its own challenge."""
    zero = first(port)
    one, asked = enter(port)
    hello = handshake.hello(call(port, 2, 1).secret, asked, 1, 2, "one").message()
    another, again = enter(port)
    assert asked != again
    another.sendall(json.dumps(hello).encode() + b"\n")
    assert b"refused" in another.recv(4096)
    assert call(port, 2, 1).secret.hex() not in json.dumps(hello)
    one.close()
    assert all_came(finish(zero, *others(port)))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"", "said nothing in 0.3 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "sent what is not our protocol: b'HTTP/1.1 400"),
        (b"{}\n", "sent what is not our protocol: no right 'protocol'"),
        (
            json.dumps({"protocol": handshake.PROTOCOL, "challenge": "0" * 32}).encode()
            + b'\n{"here": 2}\n',
            "does not know the secret of this run",
        ),
    ],
)
def test_stranger_in_place_of_process_0_is_noticed(port, caplog, words, why):
    """The others go on trying, and find process 0 when it comes."""
    noticed = threading.Event()

    def listen():
        with socket.create_server(("localhost", port)) as server:
            accepted = []
            while not noticed.is_set():
                accepted.append(server.accept()[0])
                accepted[-1].sendall(words)
            for one in accepted:
                one.close()

    stranger = begin(listen)
    enter(port, asked=False).close()
    other = begin(roll_call.connect, call(port, 2, 1, hello_s=0.1))
    deadline = time.monotonic() + PATIENCE_S
    while not any(why in line for line in said_of(caplog)):
        assert time.monotonic() < deadline, said_of(caplog)
        time.sleep(0.01)
    zero = first(port)  # waits for the port
    noticed.set()
    enter(port, asked=False).close()  # wakes the stranger
    finish(stranger)
    assert all_came(finish(zero, other))


def test_port_in_use_is_named(port):
    with socket.create_server(("", port)):
        with pytest.raises(UserError, match=rf"port {port} of this host .* is taken by another"):
            roll_call.connect(call(port, 2, 0, timeout_s=0.5, hello_s=0.1))


def test_second_process_0_is_named(port, caplog):
    zero = first(port)
    enter(port)[0].close()
    (second,) = finish(first(port))
    assert "process 0 was started twice, on " in str(second) and "--process-id" in str(second)
    assert all_came(finish(zero, *others(port)))


def test_a_number_that_comes_twice_ends_the_start_of_all(port):
    zero = first(port, 3)
    twins = [begin(roll_call.connect, call(port, 3, 1)) for _ in range(2)]
    for result in finish(zero, *twins):
        words = f"process 1 came twice, from {socket.gethostname()} at 127.0.0.1:"
        assert words in str(result) and str(result).count(" at 127.0.0.1:") == 2
        assert "--process-id of its own" in str(result) and result.code == 2


def test_another_count_ends_the_start_of_all(port):
    results = finish(first(port, 3), begin(roll_call.connect, call(port, 4, 3)))
    for result in results:
        assert "was started with --processes 4, process 0 with --processes 3" in str(result)


def test_who_went_away_may_come_again(port, caplog):
    """With a farewell from the system or without: then the first does not answer any more."""
    zero = first(port, 4, hello_s=0.5)
    greeted(call(port, 4, 1)).close()
    silent = greeted(call(port, 4, 2))  # never answers
    again = [begin(roll_call.connect, call(port, 4, index)) for index in (1, 2)]
    deadline = time.monotonic() + PATIENCE_S
    while not any("did not answer within 0.5 s" in line for line in said_of(caplog)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert all_came(finish(zero, *again, begin(roll_call.connect, call(port, 4, 3))))
    assert any("process 1 (" in line and "closed the conn" in line for line in said_of(caplog))
    assert any("process 2 (" in line and "did not ans" in line for line in said_of(caplog))
    silent.close()


def test_process_0_may_come_again(port, caplog):
    """The others wait for it until the deadline, though it had answered."""
    server = socket.create_server(("", port))
    other = begin(roll_call.connect, call(port, 2, 1))
    accepted, _ = server.accept()
    challenge = "1" * 32
    hello_line = accepted.makefile()
    message = {"protocol": handshake.PROTOCOL, "challenge": challenge}
    accepted.sendall(json.dumps(message).encode() + b"\n")
    hello = handshake.read_hello(json.loads(hello_line.readline()))
    proof = handshake.proof_of_first(call(port, 2, 1).secret, challenge, hello)
    accepted.sendall(json.dumps({"proof": proof}).encode() + b"\n")
    server.close()
    hello_line.close()
    accepted.close()
    assert all_came(finish(first(port), other))


def test_run_secret():
    derive = handshake.run_secret
    assert derive("a:1", {}) == derive("a:1", {"HOME": "x"}) != derive("b:1", {})
    assert derive("a:1", {"SLURM_JOB_ID": "7"}) not in (derive("a:1", {}), b"")
    assert derive("a:1", {"SLURM_JOB_ID": "7"}) != derive("a:1", {"SLURM_JOB_ID": "8"})
    given = {"D2V_RUN_SECRET": "s", "SLURM_JOB_ID": "7"}
    assert derive("a:1", given) == derive("b:1", {"D2V_RUN_SECRET": "s"}) != derive("a:1", {})


def test_strangers_among_processes_that_agree(port, caplog):
    """All at once, and the run agrees and begins."""
    caplog.set_level(logging.WARNING)
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            try:
                with socket.create_connection(("localhost", port), timeout=1) as one:
                    one.sendall(b"GET / HTTP/1.1\r\n\r\n")
            except OSError:
                time.sleep(0.01)

    strangers = [begin(disturb) for _ in range(3)]
    assert together(4, lambda index: peers(port, 4, index).agree("code", "a")) == [None] * 4
    stop.set()
    finish(*strangers)
