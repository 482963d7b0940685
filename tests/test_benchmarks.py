"""Contestants of `benchmarks/peers.py`: ours against ours, and one that fails."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def peers(*words):
    argv = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_ours_beside_ours(tmp_path):
    out = tmp_path / "out.json"
    words = ("--rounds", "2", "--before", str(ROOT), "--json", str(out))
    done = peers("quickstart_text:smoke", *words)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    ours, before = (record["contestants"][name] for name in ("ours", "before"))
    assert len(ours["seconds"]) == len(before["seconds"]) == 2
    assert ours["times_ours"] == [1, 1, 1]
    assert ours["facts"]["first_loss"] == before["facts"]["first_loss"]
    assert ours["facts"]["student"] > ours["facts"]["teacher"] > 0
    assert "differs" not in done.stdout and "times ours" in done.stdout


@pytest.mark.slow
def test_one_that_fails_is_named(tmp_path):
    done = peers("v9_smell_base")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("peers: ours: ") and "v9_smell" in done.stderr
    assert "Traceback" not in done.stderr
    done = peers(
        "quickstart_text:smoke",
        "--rounds",
        "1",
        "--fairseq",
        str(tmp_path),
        "--fairseq-python",
        str(tmp_path / "python"),
    )
    assert done.returncode == 2 and "python cannot be run" in done.stderr
