"""JSON objects over a socket, one a line. What is late, too long or no object raises, in words."""

import contextlib
import json
import socket
import time
from typing import Any

SILENCE_S = 30  # after which a host that does not acknowledge is gone
LONGEST = 1 << 20  # bytes of a message; a resolved recipe has some 10 kB


class Broken(Exception):
    """The other side is gone, late or makes no sense; the text completes "HOST ..."."""


class Silent(Broken):
    """It has not said anything in time, and may still."""


class Connection:
    """One other process. `host` is its name for people; `longest` bounds a message, in bytes."""

    def __init__(self, connection: socket.socket, host: str, longest: int = LONGEST):
        self.host, self.longest = host, longest
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        options = {
            "TCP_KEEPIDLE": 5,
            "TCP_KEEPINTVL": 5,
            "TCP_KEEPCNT": 5,
            "TCP_USER_TIMEOUT": 1000 * SILENCE_S,
        }
        for name, value in options.items():
            if hasattr(socket, name):  # not on every system
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._socket = connection
        self._unread = b""

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    @property
    def has_begun(self) -> bool:
        """Whether a part of a message has come."""
        return bool(self._unread)

    def write(self, message: dict[str, Any]) -> None:
        """Raises `OSError` when the other side is gone."""
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def take(self) -> dict[str, Any] | None:
        """The next message that has come completely, or None. Raises `Broken`."""
        line, end, rest = self._unread.partition(b"\n")
        if len(line) > self.longest:
            raise Broken(f"sent more than {self.longest} bytes without an end")
        if not end:
            return None
        self._unread = rest
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise Broken(f"sent what is not our protocol: {line[:40]!r}")
        return message

    def poll(self) -> dict[str, Any] | None:
        """Receives once; for a socket that a selector called readable. Raises `Broken`."""
        message = self.take()
        if message is not None:
            return message
        try:
            more = self._socket.recv(1 << 16)
        except BlockingIOError:
            return None
        except TimeoutError:
            raise Silent("said nothing") from None
        except OSError as error:
            raise Broken(f"was lost ({error.strerror or error})") from None
        if not more:
            words = " in the middle of a message" if self.has_begun else ""
            raise Broken(f"closed the connection{words}")
        self._unread += more
        return self.take()

    def read(self, deadline: float | None) -> dict[str, Any]:
        """Waits for the next message until `deadline` on the monotonic clock. Raises `Broken`."""
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.01)
            self._socket.settimeout(left)
            message = self.poll()
            if message is not None:
                return message
            if deadline is not None and time.monotonic() > deadline:  # it trickles
                raise Silent("did not finish its message")

    def block(self, blocking: bool) -> None:
        """Whether reading and writing wait."""
        self._socket.setblocking(blocking)

    def close(self) -> None:
        """What was written still arrives; a thread that waits in `read` is woken."""
        with contextlib.suppress(OSError):  # the other side was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
