"""Several processes of one run, as threads of this one."""

import socket
import threading
from collections.abc import Callable
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.train.hosts import roll_call
from d2v_jax.train.hosts.agreement import Peers
from d2v_jax.train.hosts.answer import RollCall

SECRET = b"the same for all"
PATIENCE_S = 600  # never waited for unless something hangs; a slow machine must not reach it


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def call(port: int, count: int, index: int, **other: Any) -> RollCall:
    """As `RollCall`, with a generous time and the common secret unless `other` says so."""
    fields = {"secret": SECRET, "timeout_s": PATIENCE_S} | other
    return RollCall("localhost", port, count, index, **fields)


def peers(port: int, count: int, index: int, end=None, **other: Any) -> Peers:
    """After the roll call."""
    return Peers(count, index, roll_call.connect(call(port, count, index, **other)), end)


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """`work(index)` in a thread each -> results, or the errors that people are shown."""
    return finish(*(begin(work, index) for index in range(count)))


def begin(work: Callable[..., Any], *args: Any) -> tuple[threading.Thread, list[Any]]:
    """Starts `work(*args)`; `finish` gives what it returned or raised."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(work(*args))
        except UserError as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


def finish(*begun: tuple[threading.Thread, list[Any]]) -> list[Any]:
    for thread, _ in begun:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    return [result[0] if result else "a traceback" for _, result in begun]
