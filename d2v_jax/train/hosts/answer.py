"""The part of the other processes in the roll call: they and process 0 prove themselves."""

import dataclasses
import logging
import socket
import time
from typing import Any

from d2v_jax.train.hosts import handshake
from d2v_jax.train.hosts.connection import Broken, Connection, Silent
from d2v_jax.train.hosts.errors import Missing, error_of

log = logging.getLogger("d2v")

HELLO_S = 2.0
MOST_NAMED = 10  # reasons in the log


@dataclasses.dataclass(frozen=True)
class RollCall:
    """What a process knows of the roll call: it is `index` of `count`, process 0 is at host:port.

    All have `timeout_s` seconds to come, each `hello_s` to prove that it is one of this run.
    """

    host: str
    port: int
    count: int
    index: int
    secret: bytes
    timeout_s: float
    hello_s: float = HELLO_S


def answer(call: RollCall, deadline: float) -> Connection:
    """Process 0, once all are there. Tries until `deadline` whatever listens in its place."""
    said: list[str] = []
    while True:
        try:
            connection = greet(call)
            try:
                _wait_for_all(call, connection)
            except BaseException:
                connection.close()
                raise
            return connection
        except OSError as error:
            why = error.strerror or str(error)
        except Broken as error:
            why = f"what answers there {error}"
            if why not in said and len(said) < MOST_NAMED:
                log.warning("roll call: process 0 at %s:%d: %s", call.host, call.port, why)
                said.append(why)
        if time.monotonic() > deadline:
            why = "; before that ".join([why, *(other for other in said[-2:] if other != why)])
            raise Missing(
                f"process 0 at {call.host}:{call.port} did not answer within "
                f"{call.timeout_s:.0f} s ({why}). Start it, let that port be reached, and give all "
                f"processes the same --coordinator and {handshake.VARIABLE}. If the others run "
                "without this process, another one has its number"
            )
        time.sleep(0.2)


def greet(call: RollCall) -> Connection:
    """A connection to what has proven to be process 0. Raises `OSError`, `Broken`, `UserError`."""
    # Process 0 takes up to hello_s to see whether an earlier connection of this number is dead.
    patience_s = 3 * call.hello_s
    accepted = socket.create_connection((call.host, call.port), timeout=5)
    connection = Connection(accepted, call.host)
    try:
        asked = handshake.read_challenge(_read(connection, patience_s))
        hello = handshake.hello(call.secret, asked, call.index, call.count, socket.gethostname())
        connection.write(hello.message())
        answer = _read(connection, patience_s)
        if "refused" in answer:
            raise Broken(f"refuses this process: {str(answer['refused'])[:200]}")
        if not handshake.is_first(call.secret, asked, hello, answer.get("proof")):
            raise Broken("does not know the secret of this run")
        if "error" in answer:
            raise error_of(answer)
    except BaseException:
        connection.close()
        raise
    return connection


def _read(connection: Connection, patience_s: float) -> dict[str, Any]:
    try:
        return connection.read(time.monotonic() + patience_s)
    except Silent as error:
        raise Broken(f"{error} in {patience_s:g} s") from None


def _wait_for_all(call: RollCall, connection: Connection) -> None:
    """Returns when process 0 says that all are there. Raises `Broken` when it goes away."""
    deadline = time.monotonic() + call.timeout_s + 30  # its clock started no later than now
    while True:
        try:
            message = connection.read(deadline)
        except Silent:
            raise Missing("process 0 does not say whether all are there") from None
        if "error" in message:
            raise error_of(message)
        if "here" in message:
            return
        if "ping" in message:
            connection.write({"pong": True})
