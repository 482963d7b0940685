"""`d2v bench step` says what it should; how fast it is nobody tests."""

import importlib.util
import json
import os
import pathlib

import jax
import pytest
import systems

from d2v_jax.cli import main
from d2v_jax.data2vec import ablate, flops
from d2v_jax.measure import devices, step_bench
from d2v_jax.train.machine import compile_cache

SMOKE = "quickstart_image:smoke"


@pytest.mark.slow
def test_a_step_in_figures(tmp_path, capsys, one_device):
    out = tmp_path / "new" / "step.json"
    argv = [
        "bench",
        "step",
        SMOKE,
        "--seconds",
        "0.01",
        "--parts",
        "--json",
        str(out),
        "--compare",
        "trunk.remat=blocks",
        "train.batch_size=4",
    ]
    assert main.main(argv) == 0
    said, record = capsys.readouterr().out, json.loads(out.read_text())
    config = systems.smoke("quickstart_image")
    each = flops.of_example(config.objective.cfg, config.data.example_shape)
    assert record["products"] == pytest.approx(record["examples"] * each.total)
    assert set(record["parts_s"]) == {*ablate.WITHOUT, "update"}
    assert record["compared"]["overrides"] == ["trunk.remat=blocks", "train.batch_size=4"]
    assert record["examples"] == config.train.batch_size != 4
    rates = record["rates"]
    assert rates["examples/s"] == pytest.approx(rates["steps/s"] * record["examples"])
    low, median, high = (record["step_s"][q] for q in ("low", "median", "high"))
    assert 0 < low <= median <= high
    for word in (
        "GFLOP of one step",
        "matrix products here",
        "from the cache",
        "where the time",
        "teacher",
        "with trunk.remat=blocks",
    ):
        assert word in said
    assert jax.config.jax_compilation_cache_dir == os.environ["D2V_TESTS_CACHE"]


@pytest.mark.parametrize("part", [*ablate.WITHOUT, "update"])
@pytest.mark.parametrize("name", ["v1_audio_base", "v2_image_base"])
def test_a_part_left_out_is_arithmetic_left_out(name, part, one_device):
    """By the compiler's count: what goes is about what was counted for the part."""
    config = systems.small(name)
    count = lambda without: step_bench.Setting(config, without).lower().cost_analysis()["flops"]
    whole, less = count(None), count(part)
    assert less < whole
    if part != "update":
        setting = step_bench.Setting(config)
        each = flops.of_example(config.objective.cfg, setting.example_shape)
        ours = setting.examples * getattr(each, part)
        assert whole - less > 0.5 * ours


def test_a_step_that_does_not_fit_is_refused(monkeypatch, capsys, one_device):
    monkeypatch.setattr(step_bench.os, "sysconf", lambda name: 1000)
    assert main.main(["bench", "step", SMOKE, "--seconds", "0.01"]) == 2
    assert "train.batch_size" in capsys.readouterr().err
    assert main.main(["bench", "step", SMOKE, "--seconds", "0"]) == 2
    assert main.main(["bench", "step", SMOKE, "--compare", "trunk.colour=red"]) == 2
    assert "colour" in capsys.readouterr().err


def test_data_sheets_agree_with_the_costs():
    path = pathlib.Path(__file__).parents[2] / "tpu" / "costs.py"
    spec = importlib.util.spec_from_file_location("costs", path)
    costs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(costs)
    kinds = {
        "v4": "TPU v4",
        "v5e": "TPU v5 lite",
        "v5p": "TPU v5p",
        "v6e": "TPU v6 lite",
        "A100": "NVIDIA A100-SXM4-80GB",
        "H100": "NVIDIA H100 80GB HBM3",
    }
    assert set(kinds) == set(costs.PEAKS)
    for name, kind in kinds.items():
        device = type("Device", (), {"device_kind": kind, "platform": "gpu"})()
        assert devices.peak_flops(device, "bfloat16") == costs.PEAKS[name] * 1e12
    device.device_kind = "cpu"
    assert devices.peak_flops(device, "float32") is None


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """JAX as it starts, `D2V_CACHE` in a folder; set back in the end."""
    names = (
        "jax_compilation_cache_dir",
        "jax_compilation_cache_max_size",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("D2V_CACHE", str(tmp_path / "cache"))
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_compiled_programs_are_kept_in_a_folder_of_ones_own(no_cache, tmp_path):
    compile_cache.enable()
    folder = pathlib.Path(jax.config.jax_compilation_cache_dir)
    assert folder.is_relative_to(tmp_path / "cache")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_not_used(no_cache, caplog):
    compile_cache.enable()
    folder = pathlib.Path(jax.config.jax_compilation_cache_dir)
    jax.config.update("jax_compilation_cache_dir", None)
    folder.chmod(0o777)
    compile_cache.enable()
    assert jax.config.jax_compilation_cache_dir is None
    assert str(folder) in caplog.text and "chmod 700" in caplog.text


def test_the_users_own_setting_counts(no_cache, monkeypatch, tmp_path):
    monkeypatch.setenv(compile_cache.SETTING, "")
    compile_cache.enable()
    assert jax.config.jax_compilation_cache_dir is None and not (tmp_path / "cache").exists()
