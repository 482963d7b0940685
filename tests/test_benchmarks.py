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
    if sys.platform == "linux":
        assert ours["peak_bytes"] > 100 << 20 and "memory, GiB" in done.stdout
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


@pytest.mark.slow
def test_pretrained_beside_untrained(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import downstream

    fields = ("data.source=builtin:photos", "data.threads=1", "eval.every=0")
    task = downstream.Task(
        "quickstart_image:smoke", "finetune_image:smoke", "classes", fields, (2,), (4,), (2,)
    )
    monkeypatch.setitem(downstream.TASKS, "images", task)
    out = tmp_path / "out.json"
    words = ["images", "--workdir", str(tmp_path / "runs"), "--json", str(out)]
    assert downstream.main(words) == 0
    pretrained, untrained, scratch = json.loads(out.read_text())
    assert [one["start"] for one in (pretrained, untrained, scratch)] == [
        *downstream.STARTS.values()
    ]
    assert pretrained["steps"] == untrained["steps"] == 4
    # As long as thirty steps of pretraining and four of fine-tuning.
    assert scratch["steps"] > 8 and scratch["numbers"].keys() == {"accuracy"}
    assert "| images | 2 per class | untrained, as long as both | accuracy |" in (
        capsys.readouterr().out
    )
    assert downstream.main(words) == 0  # all is there
    assert [one["numbers"] for one in json.loads(out.read_text())] == [
        one["numbers"] for one in (pretrained, untrained, scratch)
    ]


TURNS = """
import sys
sys.path.insert(0, sys.argv[2])
import protocol
calls = []
def step():
    calls.append("slow" if calls and calls[-1] == "pause" else "step")
    return 0.0
protocol.BURST_S = 0.0
protocol.answering = lambda: lambda **fields: calls.append("pause")
protocol.serve(lambda spec: (step, {}), lambda loss: None)
print(calls[-6:], file=sys.__stdout__)
"""


def test_the_first_step_of_a_turn_is_not_timed():
    """It pays for the pause: here "slow" follows each answer, and the step behind it is timed."""
    workers = pathlib.Path(__file__).parents[1] / "benchmarks" / "workers"
    argv = [sys.executable, "-c", TURNS, "{}", str(workers)]
    done = subprocess.run(argv, input="go\ngo\n", capture_output=True, text=True)
    assert done.stdout == f"{['slow', 'step', 'pause'] * 2}\n", done.stderr
