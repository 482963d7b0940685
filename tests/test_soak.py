"""tests/soak.py sees what grows, and does not mind what comes and goes."""

import sys

import numpy as np
import pytest
import soak


@pytest.mark.parametrize(("leak_mib", "kept"), [(0, 0), (40, 0), (0, 5)])
def test_growth_of_memory_and_files(leak_mib, kept):
    rng = np.random.default_rng(0)
    seconds = np.linspace(0, 100, 400)
    warm = 80 * np.minimum(seconds / 15, 1)  # caches fill
    mib = 200 + warm + leak_mib * seconds / 80 + rng.normal(0, 3, 400)
    files = 20 + rng.integers(0, 9, 400) + kept * (seconds > 60)
    grown, opened = soak.growth(np.stack([seconds, mib, files], 1))
    assert grown == pytest.approx(leak_mib, abs=3) and opened == kept


def test_a_process_and_its_children_are_watched(tmp_path):
    child = "import time; kept = [open('/dev/null') for _ in range(50)]; time.sleep(4)"
    runs = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    parent = f"print(1, flush=True); {runs}"
    code, samples_n3 = soak.watch([sys.executable, "-c", parent], tmp_path / "log")
    assert code == 0 and samples_n3[-1, 2] > 50 and samples_n3[-1, 1] > 10
    code, _ = soak.watch([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
    assert code == 3
