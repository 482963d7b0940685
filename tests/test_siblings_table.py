"""benchmarks/siblings.py: from curves to a table that says who needs what, and who falls short."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TASK = "eval/class/linear"


@pytest.fixture
def siblings(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import siblings

    return siblings


def test_table_of_means_and_of_what_it_takes(siblings):
    def curve(objective, budget, seed, flops, steps, *accuracies):
        return siblings.Curve(objective, budget, seed, 4, flops, steps, {TASK: accuracies})

    leader = siblings.LEADER
    found = [
        curve(leader, "examples", 0, 2e12, (10, 20), 0.5, 0.7),
        curve(leader, "examples", 1, 2e12, (10, 20), 0.7, 0.9),
        curve("MAE", "examples", 0, 1e12, (10, 20), 0.2, 0.3),
        curve("MAE", "examples", 1, 1e12, (10, 20), 0.2, 0.5),
        curve("MAE", "arithmetic", 0, 1e12, (20, 40), 0.79, 0.8),
        curve("MAE", "arithmetic", 1, 1e12, (20, 40), 0.79, 0.8),
    ]
    aim = siblings.REACHED * 0.8
    until = round(4 * (10 + 10 * (aim - 0.6) / 0.2))
    assert siblings.table(found).splitlines() == [
        f"| objective | examples seen | TFLOP | class, linear | examples until {aim:.3f} |",
        "|---|---|---|---|---|",
        f"| {leader} | 80 | 40.0 | **.800** (.700 - .900) | {until} |",
        "| MAE | 80 | 20.0 | .400 (.300 - .500) | not reached |",
        "| MAE | 160 | 40.0 | **.800** (.800 - .800) | at most 80 |",
    ]
    assert siblings.picture({"images": found}).startswith(b"\x89PNG")


@pytest.mark.slow
def test_each_budget_pretrains_once(siblings, tmp_path, monkeypatch, capsys):
    recipes = {siblings.LEADER: "quickstart_image:smoke", "MAE": "quickstart_mae:smoke"}
    one = siblings.Comparison(recipes, ("data.source=builtin:photos", "eval.examples=64"))
    monkeypatch.setitem(siblings.COMPARISONS, "images", one)
    words = ["images", "--workdir", str(tmp_path), "--seeds", "0", "1", "--share", "0.2"]
    assert siblings.main([*words, "--plot", str(tmp_path / "all.png")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| MAE |") == 2 and "class, linear | class, knn | patch" in printed
    assert len(list((tmp_path / "images").iterdir())) == 6
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
    assert siblings.main(words) == 0
    assert capsys.readouterr().out == printed
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
