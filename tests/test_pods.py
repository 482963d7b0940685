"""The run on paper: its figures follow from a plan by the formulas that the page states."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "tpu" / "pods.py"
PLAN = {
    "recipe": "v2_image_base",
    "slice": "v5e:2x4",
    "devices": 8,
    "mesh": "data:-1",
    "examples": 512,
    "held": {"student": 4 * 10**8, "teacher": 2 * 10**8, "optimiser": 4 * 10**8, "batch": 10**7},
    "step_s": 0.5,
    "links_s": 0.007,
}


@pytest.fixture(scope="module")
def pods():
    spec = importlib.util.spec_from_file_location("pods", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["pods"] = module
    spec.loader.exec_module(module)
    return module


def test_formulas(pods):
    run = pods.simulated(PLAN, pods.Site(chips=256, to_host_gb=5, to_bucket_gb=0.5, start_s=300))
    assert run.examples == 512 * 32
    assert run.step_s == pytest.approx(0.5 + 0.007 * (255 / 256) / (7 / 8))
    assert run.input_mb == pytest.approx(10 * 4 / run.step_s)
    assert run.pause_s == pytest.approx(0.2) and run.upload_s == pytest.approx(2)
    assert run.interval_s == pytest.approx((2 * 0.2 * 86400) ** 0.5)
    lost = (run.interval_s / 2 + 2 + 300) / 86400
    assert run.goodput == pytest.approx((1 - 0.2 / run.interval_s) * (1 - lost))


@pytest.mark.parametrize(
    "mesh, upload",
    [("data:-1", 2), ("fsdp:-1", 8), ("data:-1,fsdp:4", 8), ("data:4,fsdp:2", 4)],
)
def test_a_cut_state_is_written_by_all_hosts_that_hold_a_part(pods, mesh, upload):
    """Bytes of a chip are the plan's, so a state cut into more is larger, and has more writers."""
    assert pods.simulated({**PLAN, "mesh": mesh}, pods.Site()).upload_s == pytest.approx(upload)


def test_the_command(tmp_path):
    lacks = {name: value for name, value in PLAN.items() if not name.endswith("_s")}
    (tmp_path / "plans.json").write_text(json.dumps([PLAN, lacks]))
    words = [sys.executable, SCRIPT, tmp_path / "plans.json", "--preemptions", "4"]
    done = subprocess.run(words, capture_output=True, text=True)
    _, _, row = done.stdout.splitlines()
    assert row.startswith("| `v2_image_base`, v5e:2x4 | 16,384 | 0.51 |"), done.stderr
    done = subprocess.run([*words, "--chips", "0"], capture_output=True, text=True)
    assert done.returncode == 2 and "must be positive" in done.stderr
