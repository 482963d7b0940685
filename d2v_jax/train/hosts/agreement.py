"""Do the processes of one run agree, and who was lost: over the connections of the roll call.

JAX's `multihost_utils` agrees by a collective: where a process is dead, hangs or is at another
place of the program, all others hang too and nobody says for whom. So what a person must be told
(who differs, in what; who does not answer; who was lost) goes this way, and `multihost_utils` only
serves to try the collectives themselves (launch.py).
"""

import contextlib
import os
import selectors
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.train.hosts.connection import Broken, Connection
from d2v_jax.train.hosts.errors import LOST, Missing, error_of, named


class Peers:
    """The other processes of a run, seen from process `index` of `count`.

    `connections` are the roll call's: of process 0 to all others, of those to process 0. `end` is
    called with a sentence when another one is lost.
    """

    def __init__(
        self,
        count: int,
        index: int,
        connections: Mapping[int, Connection],
        end: Callable[[str], None] | None = None,
    ):
        self.count, self.index = count, index
        self._connections = dict(connections)
        self._end = end or _leave
        self._closing = False

    def agree(self, what: str, value: Any, timeout_s: float = 600) -> None:
        """Waits until every process says the same of `what`; `value` is anything JSON can hold.

        Raises `UserError` in every process, naming those that differ; `Missing`, naming those that
        do not answer within `timeout_s` or are gone.
        """
        if self.index:
            self._ask(what, value, time.monotonic() + timeout_s + 30)
            return
        error = None
        try:
            self._compare(what, value, self._hear_all(what, timeout_s))
        except UserError as found:
            error = found
        self._tell({"error": error and str(error), "missing": isinstance(error, Missing)})
        if error:
            raise error

    def _ask(self, what: str, value: Any, deadline: float) -> None:
        first = self._connections[0]
        try:
            first.write({"about": what, "value": value})
            answer = first.read(deadline)
            if "error" not in answer:
                raise Broken("sent what is no answer")
        except (OSError, Broken) as error:
            raise Missing(f"process 0 ({first.host}) {error} while agreeing on {what}") from None
        if answer["error"]:
            raise error_of(answer)

    def _hear_all(self, what: str, timeout_s: float) -> dict[int, Any]:
        """-> the others' values. All are read side by side: who is gone is named at once."""
        deadline = time.monotonic() + timeout_s
        said = {}
        with selectors.DefaultSelector() as selector:
            for index, connection in self._connections.items():
                connection.block(False)
                selector.register(connection, selectors.EVENT_READ, index)
            ready = list(self._connections)  # what they said may lie here already
            while True:
                for index in ready:
                    if (message := self._hear(index, what)) is not None:
                        said[index] = message["value"]
                        selector.unregister(self._connections[index])
                silent = sorted(set(self._connections) - set(said))
                if silent and time.monotonic() > deadline:
                    late = f"{named(silent)} did not answer within {timeout_s:.0f} s about {what}"
                    raise Missing(late)
                if not silent:
                    return said
                left = max(deadline - time.monotonic(), 0.01)
                ready = [key.data for key, _ in selector.select(left)]

    def _hear(self, index: int, what: str) -> dict[str, Any] | None:
        host = self._connections[index].host
        try:
            message = self._connections[index].poll()
            if message is not None and message.keys() != {"about", "value"}:
                raise Broken("sent what is no answer")
        except Broken as error:
            raise Missing(
                f"process {index} ({host}) {error} while agreeing on {what}; its own messages may "
                "say why"
            ) from None
        if message is not None and message["about"] != what:
            raise UserError(
                f"process {index} ({host}) is at {message['about']!r} where process 0 is at "
                f"{what!r}. Give all processes the same command and code"
            )
        return message

    def _compare(self, what: str, value: Any, said: Mapping[int, Any]) -> None:
        other = sorted(index for index, theirs in said.items() if theirs != value)
        if other:
            raise UserError(
                f"{named(other)} of {self.count} ({self._connections[other[0]].host}) has another "
                f"{what} than process 0: {_difference(said[other[0]], value)}. Give all processes "
                "the same command, code and data"
            )

    def watch(self) -> None:
        """From here on a lost process ends this one, within seconds, with a sentence."""
        for index, connection in self._connections.items():
            threading.Thread(target=self._follow, args=(index, connection), daemon=True).start()

    def _follow(self, index: int, connection: Connection) -> None:
        while True:
            try:
                heard = connection.read(None)
            except (OSError, Broken):
                heard = {}
            if self._closing or heard == {"bye": index}:
                return
            if isinstance(heard.get("lost"), str):
                self._end(heard["lost"])
                return
            words = f"process {index} ({connection.host}) was lost"
            self._tell({"lost": words}, but=index)
            self._end(words)
            return

    def _tell(self, message: dict[str, Any], but: int | None = None) -> None:
        for index, connection in self._connections.items():
            if index != but:
                connection.block(True)
                with contextlib.suppress(OSError):
                    connection.write(message)

    def close(self) -> None:
        """Says that this process ends as it should."""
        self._closing = True
        self._tell({"bye": self.index})
        for connection in self._connections.values():
            connection.close()


def _difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = [key for key in sorted(theirs | ours) if theirs.get(key) != ours.get(key)]
        return "; ".join(f"{k} {theirs.get(k)!r} instead of {ours.get(k)!r}" for k in keys[:5])
    return f"{theirs!r} instead of {ours!r}"


def _leave(words: str) -> None:
    """The main thread may hang in a collective for ever: only this ends it."""
    sys.stderr.write(
        f"d2v pretrain: {words}. The run goes on from its last checkpoint when all processes are "
        "started again\n"
    )
    sys.stderr.flush()
    os._exit(LOST)
