"""How two processes prove that they belong to one run, without telling anybody its secret.

Process 0 sends a random challenge; the other answers with a hello that holds a challenge of its
own and HMAC-SHA256(secret, both challenges, its number, the count); process 0 proves itself by the
same with another role. What is derived (below) tells runs apart, no more: who wants to keep people
out sets the variable `D2V_RUN_SECRET`.
"""

import dataclasses
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

from d2v_jax.train.hosts.connection import Broken

PROTOCOL = "d2v roll call 1"
VARIABLE = "D2V_RUN_SECRET"
LONGEST = 4096  # bytes of a hello


def run_secret(coordinator: str, environment: Mapping[str, str]) -> bytes:
    """`D2V_RUN_SECRET`, or else what all processes of a run can derive: 32 bytes.

    From the coordinator's HOST:PORT and the job's number where Slurm, Open MPI or SkyPilot gives
    one; on Cloud TPU the address itself comes from the job. The count of processes is left out: it
    is compared openly, so that a wrong one can be named.
    """
    given = environment.get(VARIABLE)
    if given:
        return hashlib.sha256(b"given " + os.fsencode(given)).digest()
    job = [
        environment.get("SLURM_HET_JOB_ID") or environment.get("SLURM_JOB_ID"),
        environment.get("OMPI_MCA_orte_hnp_uri"),
        environment.get("SKYPILOT_TASK_ID"),
    ]
    return hashlib.sha256(json.dumps([coordinator, *job]).encode()).digest()


def new_challenge() -> str:
    """16 random bytes in hexadecimal."""
    return secrets.token_hex(16)


@dataclasses.dataclass(frozen=True)
class Hello:
    """What the other process says of itself; `answer` is its proof, `challenge` for process 0."""

    index: int
    count: int
    host: str
    challenge: str
    answer: str

    def message(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, **dataclasses.asdict(self)}


def hello(secret: bytes, asked: str, index: int, count: int, host: str) -> Hello:
    """The answer to the challenge `asked`."""
    mine = new_challenge()
    return Hello(index, count, host, mine, _proof(secret, "other", asked, mine, index, count))


def is_right(secret: bytes, asked: str, said: Hello) -> bool:
    """Whether the sender of `said` has our secret."""
    ours = _proof(secret, "other", asked, said.challenge, said.index, said.count)
    return hmac.compare_digest(ours.encode(), said.answer.encode())


def proof_of_first(secret: bytes, asked: str, said: Hello) -> str:
    """With what process 0 proves itself to the sender of `said`."""
    return _proof(secret, "first", asked, said.challenge, said.index, said.count)


def is_first(secret: bytes, asked: str, said: Hello, answer: Any) -> bool:
    """Whether `answer` proves that process 0 of this run has sent it."""
    ours = proof_of_first(secret, asked, said)
    return _is_word(answer, 64) and hmac.compare_digest(ours.encode(), answer.encode())


def read_challenge(message: Mapping[str, Any]) -> str:
    """Process 0's first message. Raises `Broken` when it is none."""
    _check(message.get("protocol") == PROTOCOL, "protocol")
    asked = message.get("challenge")
    _check(_is_word(asked, 32), "challenge")
    return asked


def read_hello(message: Mapping[str, Any]) -> Hello:
    """Checks every field. Raises `Broken` naming the first that is wrong."""
    _check(message.get("protocol") == PROTOCOL, "protocol")
    index, count, host = (message.get(name) for name in ("index", "count", "host"))
    _check(type(count) is int and count > 0, "count")
    _check(type(index) is int, "index")
    if not 0 <= index < count:
        raise Broken(f"calls itself process {str(index)[:20]} of {str(count)[:20]}")
    _check(isinstance(host, str) and len(host) < 256 and host.isprintable(), "host")
    mine, answer = message.get("challenge"), message.get("answer")
    _check(_is_word(mine, 32), "challenge")
    _check(_is_word(answer, 64), "answer")
    return Hello(index, count, host, mine, answer)


def _is_word(value: Any, length: int) -> bool:
    return isinstance(value, str) and value.isascii() and len(value) == length


def _check(holds: bool, field: str) -> None:
    if not holds:
        raise Broken(f"sent what is not our protocol: no right {field!r}")


def _proof(secret: bytes, role: str, asked: str, mine: str, index: int, count: int) -> str:
    words = json.dumps([PROTOCOL, role, asked, mine, index, count]).encode()
    return hmac.new(secret, words, hashlib.sha256).hexdigest()
