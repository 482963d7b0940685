"""What XLA is told about a step."""

import types

import jax
import numpy as np
import pytest
import systems

from d2v_jax.measure.program import Program
from d2v_jax.measure.setting import Setting
from d2v_jax.train.machine import compiler, mesh, sums

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


def test_moments_are_not_copied_before_they_are_written():
    """They are read twice, for themselves and for the parameters."""
    step = Setting(systems.smoke("v2_image_base"), devices=jax.devices()[:1]).lower().compile()
    program = Program(step.as_text())
    entry = program.computations[program.entry]
    given = {one.name for one in entry if one.opcode == "parameter" and one.bytes > 1 << 10}
    copied = [
        one for one in entry if one.opcode == "copy" and one.rest.split(")")[0].strip("%") in given
    ]
    assert given and not copied


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (6, 5), (48, 2, 3), (1, 7)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_squares_are_summed_in_float32(shape, dtype):
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    found = jax.jit(sums.square_sum)(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.square(np.asarray(x, np.float64)).sum(), rtol=1e-6)


def test_only_cpus_fold_what_they_sum():
    x = jax.numpy.ones((48, 3))
    text = lambda platform: (
        jax.jit(sums.square_sum).trace(x).lower(lowering_platforms=(platform,)).as_text()
    )
    assert text("cpu").count("slice") == 6 and "slice" not in text("tpu") + text("cuda")


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
