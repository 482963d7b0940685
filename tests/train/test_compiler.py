"""What XLA is told about a step."""

import types

import jax
import numpy as np
import pytest
import systems

from d2v_jax.measure.program import Program
from d2v_jax.measure.setting import Setting
from d2v_jax.train.machine import compiler, mesh

HANDED_OVER = '"kind":"__ynn_fusion"'


@pytest.fixture(autouse=True)
def asked_anew():
    compiler._known.cache_clear()
    yield
    compiler._known.cache_clear()


@pytest.mark.parametrize("without", [None, "update"])
def test_sums_of_a_cpus_step_stay_with_xla(without):
    step = Setting(systems.smoke("v1_audio_base"), without, jax.devices()[:1]).lower().compile()
    program = Program(step.as_text())
    handed_over = [one for one in program.instructions() if HANDED_OVER in one.rest]
    assert handed_over
    for one in handed_over:
        inside = {part.opcode for part in program.computations[one.called("calls")]}
        assert "dot" in inside and "reduce" not in inside


def test_other_platforms_are_told_nothing():
    devices = np.array([types.SimpleNamespace(platform="tpu")])
    assert compiler.options(types.SimpleNamespace(devices=devices)) is None


@pytest.mark.parametrize("option", ["xla_cpu_no_such", *compiler.FOR_CPU])
def test_a_jaxlib_that_does_not_know_the_option_goes_on_without(monkeypatch, option):
    grid = mesh.make_mesh("data:1", jax.devices()[:1])
    assert compiler.options(grid) == compiler.FOR_CPU
    compiler._known.cache_clear()
    monkeypatch.setattr(compiler, "FOR_CPU", {option: "NO_SUCH"})
    assert compiler.options(grid) is None
