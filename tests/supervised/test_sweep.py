"""Sweeps: every combination once, medians over seeds, the best first."""

import json

import pytest

from d2v_jax.common.checks import UserError
from d2v_jax.transfer.answers import sweep
from d2v_jax.transfer.answers.sweep import Axis

AXES = [Axis.of("optimizer.learning_rate=1e-5, 2e-5"), Axis.of("seed=0,1,2")]


def trained(values):
    """Writes the metric of each run as a fine-tuning would."""

    def train(path, setting):
        path.mkdir(parents=True)
        value = values[setting["optimizer.learning_rate"]][int(setting["seed"])]
        lines = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5, "eval/accuracy": value}]
        (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        return 0

    return train


def test_medians_and_the_best_first(tmp_path):
    found = sweep.settings(AXES)
    assert len(found) == 6
    values = {"1e-5": (0.7, 0.1, 0.6), "2e-5": (0.65, 0.64, 0.66)}
    assert sweep.run(tmp_path, found, trained(values)) == 0
    rows = [line.split() for line in sweep.table(tmp_path, found, "-eval/accuracy").splitlines()]
    assert rows[1] == ["2e-5", "0.6500", "0.6400", "0.6600", "3"]
    assert rows[2] == ["1e-5", "0.6000", "0.1000", "0.7000", "3"]
    lower = [line.split()[0] for line in sweep.table(tmp_path, found, "eval/accuracy").splitlines()]
    assert lower[1:] == ["1e-5", "2e-5"]
    assert (tmp_path / "learning_rate=1e-5,seed=0").is_dir()


def test_a_run_that_stops_ends_the_sweep(tmp_path):
    seen = []
    assert sweep.run(tmp_path, sweep.settings(AXES), lambda p, s: seen.append(s) or 75) == 75
    assert len(seen) == 1


@pytest.mark.parametrize("words", ["rate", "rate=", "=1,2"])
def test_what_is_no_axis(words):
    with pytest.raises(UserError, match="write FIELD=A,B"):
        Axis.of(words)


def test_a_measure_that_nobody_took(tmp_path):
    found = sweep.settings(AXES)
    sweep.run(tmp_path, found, trained({"1e-5": (0, 0, 0), "2e-5": (0, 0, 0)}))
    with pytest.raises(UserError, match="there are eval/accuracy"):
        sweep.table(tmp_path, found, "eval/wer")
