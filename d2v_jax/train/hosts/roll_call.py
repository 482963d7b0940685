"""Who is there: process 0 waits for all others, and all learn of it or who is missing.

Plain sockets beside JAX's own service, which ends a process without naming the one that failed.
Process 0 reads all callers side by side, so that one who says nothing delays nobody. A caller has
two seconds to prove that it belongs to this run (handshake.py); what is not ours is dropped and
named in the log. What is ours and wrong (a number given twice, another count) ends the start in
every process. A process that went away may come again.
"""

import dataclasses
import errno
import logging
import selectors
import socket
import time
from typing import Any, NoReturn

from d2v_jax.common.checks import UserError
from d2v_jax.train.hosts import handshake
from d2v_jax.train.hosts.answer import RollCall, answer, greet
from d2v_jax.train.hosts.connection import LONGEST, Broken, Connection
from d2v_jax.train.hosts.errors import Missing, named
from d2v_jax.train.hosts.handshake import Hello

log = logging.getLogger("d2v")

STRANGERS = 128  # callers that have not proven themselves, besides one for each process
NAMED = 50  # strangers in the log
_ONE_NUMBER = "give each process a --process-id of its own, and end those of an earlier start"


def connect(call: RollCall) -> dict[int, Connection]:
    """-> connections by process number: of process 0 to each other one, of those to process 0.

    Raises `Missing` naming those that do not come in time, `UserError` naming what is wrong.
    """
    deadline = time.monotonic() + call.timeout_s
    if call.index:
        return {0: answer(call, deadline)}
    with _listen(call, deadline) as server, selectors.DefaultSelector() as selector:
        return _ProcessZero(call, deadline, server, selector).wait_for_all()


@dataclasses.dataclass(eq=False)
class _Caller:
    """One connection to process 0. `hello` is what it has proven; `until` bounds its answer."""

    connection: Connection
    address: str
    asked: str
    until: float
    hello: Hello | None = None

    @property
    def name(self) -> str:
        return f"{self.hello.host} at {self.address}" if self.hello else self.address


class _ProcessZero:
    """Process 0 during the roll call. A caller is a stranger, present, or second of its number."""

    def __init__(
        self,
        call: RollCall,
        deadline: float,
        server: socket.socket,
        selector: selectors.BaseSelector,
    ):
        self._call, self._deadline = call, deadline
        self._server, self._selector = server, selector
        self._strangers: dict[_Caller, None] = {}  # the oldest first
        self._present: dict[int, _Caller] = {}
        self._seconds: dict[int, _Caller] = {}
        self._refused: dict[tuple[str, str], str] = {}  # by host and reason
        server.setblocking(False)
        selector.register(server, selectors.EVENT_READ)

    def wait_for_all(self) -> dict[int, Connection]:
        while len(self._present) < self._call.count - 1 or self._seconds:
            missing = sorted(set(range(1, self._call.count)) - set(self._present))
            if missing and time.monotonic() > self._deadline:
                self._end_for(missing)
            callers = [*self._strangers, *self._seconds.values()]
            until = min([self._deadline, *(caller.until for caller in callers)])
            for key, _ in self._selector.select(max(until - time.monotonic(), 0.01)):
                if key.data is None:
                    self._accept()
                else:
                    self._hear(key.data)
            self._give_up_on_silent()
        for caller in self._strangers:
            caller.connection.close()
        for caller in self._present.values():
            caller.connection.block(True)
            self._tell(caller, {"here": self._call.count})
        return {index: self._present[index].connection for index in sorted(self._present)}

    def _accept(self) -> None:
        if len(self._strangers) >= STRANGERS + self._call.count:
            self._drop(next(iter(self._strangers)), "made room for newer connections")
        try:
            accepted, address = self._server.accept()
            accepted.setblocking(False)
            connection = Connection(accepted, address[0], handshake.LONGEST)
        except OSError:  # it is gone already, or we have too many files open
            time.sleep(0.01)
            return
        until = time.monotonic() + self._call.hello_s
        name = f"{address[0]}:{address[1]}"
        caller = _Caller(connection, name, handshake.new_challenge(), until)
        self._strangers[caller] = None
        self._selector.register(connection, selectors.EVENT_READ, caller)
        self._tell(caller, {"protocol": handshake.PROTOCOL, "challenge": caller.asked})

    def _hear(self, caller: _Caller) -> None:
        try:
            if caller in self._strangers:
                message = caller.connection.poll()
                if message is not None:
                    self._check(caller, message)
            elif self._is_present(caller):
                message = caller.connection.poll()
                if message == {"pong": True} and caller.hello.index in self._seconds:
                    self._end_for_two(caller.hello.index)
            elif caller in self._seconds.values():
                caller.connection.poll()  # it has nothing to say, but may go away
        except Broken as error:
            self._drop(caller, str(error))

    def _check(self, caller: _Caller, message: dict[str, Any]) -> None:
        """Raises `Broken` unless the hello proves a process of this run."""
        hello = handshake.read_hello(message)
        if not handshake.is_right(self._call.secret, caller.asked, hello):
            self._tell(caller, {"refused": "it has another secret than process 0"})
            raise Broken(f"calls itself process {hello.index} and has the wrong secret")
        caller.hello = hello
        if hello.index == 0:
            words = f"process 0 was started twice, on {hello.host} too; {_ONE_NUMBER}"
            self._tell(caller, {"error": words})
            raise Broken("calls itself process 0, which is this one")
        if hello.index in self._seconds:
            raise Broken(f"calls itself process {hello.index}, as two others do")
        if hello.count != self._call.count:
            words = (
                f"process {hello.index} ({caller.name}) was started with --processes "
                f"{hello.count}, process 0 with --processes {self._call.count}; give all the same"
            )
            self._end(UserError(words), caller)
        del self._strangers[caller]
        if hello.index not in self._present:
            self._welcome(caller)
            return
        # The first may be dead without a farewell: only its answer shows that there are two.
        caller.until = time.monotonic() + self._call.hello_s
        self._seconds[hello.index] = caller
        self._tell(self._present[hello.index], {"ping": True})

    def _welcome(self, caller: _Caller) -> None:
        caller.connection.host, caller.connection.longest = caller.hello.host, LONGEST
        caller.until = self._deadline
        self._present[caller.hello.index] = caller
        self._tell(caller, {})

    def _is_present(self, caller: _Caller) -> bool:
        return caller.hello is not None and self._present.get(caller.hello.index) is caller

    def _give_up_on_silent(self) -> None:
        now = time.monotonic()
        for caller in [one for one in self._strangers if one.until < now]:
            words = "did not finish its hello" if caller.connection.has_begun else "said nothing"
            self._drop(caller, f"{words} in {self._call.hello_s:g} s")
        for index in [index for index, one in self._seconds.items() if one.until < now]:
            self._drop(self._present[index], f"did not answer within {self._call.hello_s:g} s")

    def _drop(self, caller: _Caller, why: str) -> None:
        self._selector.unregister(caller.connection)
        caller.connection.close()
        if caller in self._strangers:
            del self._strangers[caller]
            # Who tries again and again is named once.
            if (caller.connection.host, why) not in self._refused and len(self._refused) < NAMED:
                log.warning("roll call: %s %s; dropped", caller.name, why)
                self._refused[caller.connection.host, why] = f"{caller.name} {why}"
            return
        index = caller.hello.index
        log.warning("roll call: process %d (%s) %s", index, caller.name, why)
        if not self._is_present(caller):
            del self._seconds[index]
            return
        del self._present[index]
        if index in self._seconds:
            self._welcome(self._seconds.pop(index))

    def _tell(self, caller: _Caller, message: dict[str, Any]) -> None:
        """With our proof where the other has given its own."""
        if caller.hello:
            mine = handshake.proof_of_first(self._call.secret, caller.asked, caller.hello)
            message = {"proof": mine, **message}
        try:
            caller.connection.write(message)
        except OSError as error:  # reading from it will say so too
            log.debug("roll call: %s: %s", caller.name, error)

    def _end_for(self, missing: list[int]) -> NoReturn:
        call, refused = self._call, list(self._refused.values())
        words = (
            f"{named(missing)} of {call.count} did not answer within {call.timeout_s:.0f} s. "
            f"Start every process with the same --coordinator, --processes and "
            f"{handshake.VARIABLE}, and let port {call.port} of the first host be reached"
        )
        if refused:
            words += f". Who came instead: {'; '.join(refused[-3:])}"
        if len(refused) > 3:
            words += f"; and {len(refused) - 3} more"
        self._end(Missing(words))

    def _end_for_two(self, index: int) -> NoReturn:
        first, second = self._present[index], self._seconds[index]
        words = f"process {index} came twice, from {first.name} and {second.name}; {_ONE_NUMBER}"
        self._end(UserError(words))

    def _end(self, error: UserError, *more: _Caller) -> NoReturn:
        """Raises `error` here and in every process that has proven itself."""
        message = {"error": str(error), "missing": isinstance(error, Missing)}
        for caller in [*self._present.values(), *self._seconds.values(), *more]:
            self._tell(caller, message)
            caller.connection.close()
        raise error


def _listen(call: RollCall, deadline: float) -> socket.socket:
    """The port, as soon as an earlier run has left it. Raises `UserError` naming what has it."""
    said = False
    while True:
        try:
            return socket.create_server(("", call.port), backlog=call.count + STRANGERS)
        except OSError as error:
            words = f"port {call.port} of this host (beside that of --coordinator)"
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"{words} cannot be opened: {error.strerror}") from None
        try:
            greet(dataclasses.replace(call, host="localhost")).close()
        except (OSError, Broken):
            pass  # not one of this run; that raises `UserError`
        if time.monotonic() > deadline:
            raise UserError(f"{words} is taken by another program; end it, or give another port")
        if not said:
            log.warning("roll call: %s is taken by another program; waiting for it", words)
        said = True
        time.sleep(0.2)
