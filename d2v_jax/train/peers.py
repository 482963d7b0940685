"""The processes of one run know each other: roll call, agreement, and who was lost.

Plain sockets beside JAX's own service, which ends a process without naming the one that failed.
Process 0 listens; the others hold a connection to it as long as they live.
"""

import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from d2v_jax.common.checks import UserError

log = logging.getLogger("d2v")

LOST = 76  # exit code of a process whose run lost another one: start all of them again
SILENCE_S = 30  # after which a host that does not acknowledge is gone


class Missing(UserError):
    """Another process does not answer; it may come back."""

    code = LOST


class Peers:
    """One of `count` processes. `end` is called with a sentence when another one is lost."""

    def __init__(
        self, host: str, port: int, count: int, index: int, timeout_s: float,
        end: Callable[[str], None] | None = None,
    ):  # fmt: skip
        """Connects all processes. Raises `Missing` naming those that do not come in time."""
        self.count, self.index = count, index
        self._end = end or _leave
        self._lines: dict[int, _Lines] = {}
        deadline = time.monotonic() + timeout_s
        if index == 0:
            self._accept(port, deadline, timeout_s)
        else:
            self._lines[0] = _connect(host, port, index, deadline, timeout_s)
        self._closing = False

    def _accept(self, port: int, deadline: float, timeout_s: float) -> None:
        with socket.create_server(("", port), backlog=self.count) as server:
            while len(self._lines) < self.count - 1:
                server.settimeout(max(deadline - time.monotonic(), 0.01))
                try:
                    line = _Lines(server.accept()[0])
                    hello = line.read(deadline)
                except (TimeoutError, OSError, ValueError):
                    hello = None
                if hello is not None:
                    line.host = hello["host"]
                    self._lines[int(hello["index"])] = line
                if time.monotonic() > deadline:
                    break
        missing = sorted(set(range(1, self.count)) - set(self._lines))
        if missing:
            words = (
                f"{_named(missing)} of {self.count} did not answer within {timeout_s:.0f} s. "
                f"Start every process with the same --coordinator and --processes, and let port "
                f"{port} of the first host be reached"
            )
            self._tell({"error": words, "missing": True})
            raise Missing(words)

    def agree(self, what: str, value: Any, timeout_s: float = 600) -> None:
        """Waits until every process says the same of `what`; `value` is anything JSON can hold.

        Raises `UserError` in every process, naming those that differ or do not answer.
        """
        deadline = time.monotonic() + timeout_s
        if self.index:
            self._lines[0].write({"index": self.index, "value": value})
            answer = self._lines[0].read(deadline + 30)
            if answer is None:
                raise Missing(f"process 0 did not answer while agreeing on {what}")
            if answer["error"]:
                raise (Missing if answer["missing"] else UserError)(answer["error"])
            return
        error = None
        said = {index: line.read(deadline) for index, line in self._lines.items()}
        silent = sorted(index for index, one in said.items() if one is None)
        other = sorted(i for i, one in said.items() if one is not None and one["value"] != value)
        if silent:
            error = f"{_named(silent)} did not answer within {timeout_s:.0f} s about {what}"
        elif other:
            theirs = said[other[0]]["value"]
            error = (
                f"{_named(other)} of {self.count} ({self._lines[other[0]].host}) has another "
                f"{what} than process 0: {_difference(theirs, value)}. Give all processes the "
                "same command, code and data"
            )
        self._tell({"error": error, "missing": bool(silent)})
        if error:
            raise (Missing if silent else UserError)(error)

    def watch(self) -> None:
        """From here on a lost process ends this one, within seconds, with a sentence."""
        for index, line in self._lines.items():
            threading.Thread(target=self._follow, args=(index, line), daemon=True).start()

    def _follow(self, index: int, line: "_Lines") -> None:
        while True:
            try:
                heard = line.read(None)
            except (OSError, ValueError):
                heard = None
            if self._closing or heard == {"bye": index}:
                return
            if heard is None:
                words = f"{_named([index])} ({line.host}) was lost"
                self._tell({"lost": words}, but=index)
                self._end(words)
                return
            if "lost" in heard:
                self._end(heard["lost"])
                return

    def _tell(self, message: dict[str, Any], but: int | None = None) -> None:
        for index, line in self._lines.items():
            if index != but:
                with contextlib.suppress(OSError):
                    line.write(message)

    def close(self) -> None:
        """Says that this process ends as it should."""
        self._closing = True
        self._tell({"bye": self.index})
        for line in self._lines.values():
            line.close()


class _Lines:
    """JSON objects over a socket, one per line."""

    def __init__(self, connection: socket.socket):
        self.host = connection.getpeername()[0]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 5),
                            ("TCP_USER_TIMEOUT", 1000 * SILENCE_S)):  # fmt: skip
            if hasattr(socket, name):  # not on every system
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._socket = connection
        self._rest = b""

    def write(self, message: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def read(self, deadline: float | None) -> dict[str, Any] | None:
        """The next object; None when the other side is gone or late."""
        while b"\n" not in self._rest:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.01)
            self._socket.settimeout(left)
            try:
                more = self._socket.recv(1 << 16)
            except OSError:  # a time-out is one of them
                return None
            if not more:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        self._socket.close()


def _connect(host: str, port: int, index: int, deadline: float, timeout_s: float) -> _Lines:
    while True:
        try:
            line = _Lines(socket.create_connection((host, port), timeout=5))
            line.write({"index": index, "host": socket.gethostname()})
            return line
        except OSError as error:
            if time.monotonic() > deadline:
                raise Missing(
                    f"process 0 at {host}:{port} did not answer within {timeout_s:.0f} s "
                    f"({error.strerror or error}). Start it, and let that port be reached"
                ) from None
            time.sleep(0.2)


def _difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = [key for key in sorted(theirs | ours) if theirs.get(key) != ours.get(key)]
        return "; ".join(f"{k} {theirs.get(k)!r} instead of {ours.get(k)!r}" for k in keys[:5])
    return f"{theirs!r} instead of {ours!r}"


def _named(indices: list[int]) -> str:
    return ("process " if len(indices) == 1 else "processes ") + ", ".join(map(str, indices))


def _leave(words: str) -> None:
    """The main thread may hang in a collective for ever: only this ends it."""
    sys.stderr.write(
        f"d2v pretrain: {words}. The run goes on from its last checkpoint when all processes are "
        "started again\n"
    )
    sys.stderr.flush()
    os._exit(LOST)
