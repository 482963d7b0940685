"""Results of runs side by side, whatever the runs are called."""

import json
import os

import pytest

from d2v_jax.cli.main import main

RESULT = {
    "format": "d2v_jax.result.1",
    "task": "classes",
    "model": "some",
    "step": 3,
    "split": "test",
    "learnt": {"source": "x", "split": "train", "per_class": 0},
    "examples": 5,
    "numbers": {"accuracy": 0.5},
    "intervals": {"accuracy": [0.4, 0.6]},
}


@pytest.mark.parametrize(
    "name, shown",
    [
        (b"caf\xe9", r"caf\xe9"),
        ("café".encode(), "café"),
        (b"two\nlines", r"two\x0alines"),
        (rb"$\frac$", r"$\frac$"),
        (b"<b>", "<b>"),
    ],
)
def test_names_that_are_hard_to_write(name: bytes, shown: str, tmp_path, capsys):
    """Of runs and of their data: on the screen, in the picture and on the page."""
    run = tmp_path / os.fsdecode(name)
    (run / "results").mkdir(parents=True)
    record = {**RESULT, "source": os.fsdecode(name)}
    (run / "results" / "a.json").write_text(json.dumps(record))
    assert main(["results", str(run), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and f"/{shown} " in lines[1] and f" {shown} test" in lines[1]
    page = (tmp_path / "out" / "results.html").read_bytes().decode()
    escaped = shown.replace("<", "&lt;").replace(">", "&gt;")
    assert f"/{escaped}</td>" in page and f"<td>{escaped} test</td>" in page
    assert (tmp_path / "out" / "results.png").stat().st_size > 1000
