"""What the numbers of a run do on a disk that takes no more."""

import os
import pathlib
import struct
import subprocess
import sys

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from d2v_jax.train.report import metrics

PATIENCE_S = 600  # only a hang takes it

FULL = """
import pathlib, resource, sys
from d2v_jax.cli.troubles import sentence_of
from d2v_jax.train.report import metrics
history = metrics.History(pathlib.Path(sys.argv[1]), 0)
size = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    for step in range(1, 5000):
        history.write({"step": step, **{f"a/{n}": 0.5 for n in range(int(sys.argv[3]))}})
except OSError as error:
    sys.exit(f"{step} {sentence_of(error).words}")
"""


@pytest.mark.parametrize("each, said", [(0, "metrics.jsonl"), (4, "tensorboard")])
def test_a_disk_that_takes_no_more_ends_it_in_a_sentence(tmp_path, each, said):
    """Whichever of the two files is full first; nobody waits, and nothing is said twice."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), "40000", str(each)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    step, _, words = done.stderr.partition(" ")
    assert done.returncode == 1 and int(step) > 10, done.stderr
    assert words.startswith(f"{tmp_path / said}") and "File too large" in words, words
    assert words.count("\n") == 1 and "Traceback" not in words, words


def events(folder: pathlib.Path) -> list[Event]:
    """All of a folder's, by the format: length, checksum, the event, checksum."""
    found = []
    for path in sorted(folder.iterdir(), key=os.path.getmtime):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_what_tensorboard_is_told(tmp_path):
    """Finite numbers by step; and from which step on an earlier process is to be forgotten."""
    first = metrics.History(tmp_path, 0)
    for step in (1, 2, 3):
        first.write({"step": step, "loss": step / 2, "eval/accuracy": float("nan")})
    first.close()
    second = metrics.History(tmp_path, 2)
    second.write({"step": 3, "loss": 9.0})
    second.close()
    told = events(tmp_path / "tensorboard")
    values = [(e.step, v.tag, v.simple_value) for e in told for v in e.summary.value]
    assert values == [(1, "loss", 0.5), (2, "loss", 1.0), (3, "loss", 1.5), (3, "loss", 9.0)]
    forget = [(e.step, e.session_log.status) for e in told if e.HasField("session_log")]
    assert forget == [(3, SessionLog.START)]
    assert [e.file_version for e in told if e.file_version] == ["brain.Event:2"] * 2


def test_a_whole_file_that_does_not_fit_is_named(tmp_path):
    script = "import pathlib, resource, sys\n"
    script += "from d2v_jax.common.files import write_whole\n"
    script += "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
    script += "write_whole(pathlib.Path(sys.argv[1]), bytes(20000))\n"
    path = tmp_path / "a.json"
    words = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    assert f"File too large: '{path}'" in done.stderr, done.stderr
    assert [*tmp_path.iterdir()] == []
