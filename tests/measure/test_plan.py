"""Memory is foretold from the compiled step."""

import dataclasses
import re

import pytest
import systems

from d2v_jax.common.checks import ConfigError
from d2v_jax.measure import plan, plan_table
from d2v_jax.measure.program import Program


def table(config):
    text = plan_table.table(plan.plan(config))
    return text, {
        name.strip(): float(size.replace(",", ""))
        for name, size in re.findall(r"^  ([a-z ]+?) +([\d.,]+)$", text, re.M)
    }


def test_a_cut_state_needs_less(tiny):
    config = dataclasses.replace(
        systems.small("v2_audio_base"), train=dataclasses.replace(tiny.train, batch_size=16)
    )
    text, whole = table(config)
    assert "16 examples 8000 per step" in text and "GFLOP per step" in text
    assert "/conv_01/" in text  # the largest arrays have names
    parts = ("student", "teacher", "optimiser", "batch", "activations and gradients")
    assert whole["in all"] == pytest.approx(sum(whole[part] for part in parts), abs=0.3)
    assert whole["optimiser"] == pytest.approx(2 * whole["student"], abs=0.2)
    _, cut = table(dataclasses.replace(config, mesh="fsdp:-1"))
    assert cut["student"] < 0.6 * whole["student"]


def test_largest_arrays_of_a_program():
    program = """
ENTRY %main () -> pred[4] {
  %a = f32[8,1024]{1,0} fusion(%x), kind=kLoop, metadata={op_name="jit(step)/a/b/c" id=1}
  %b = bf16[2048,1024]{1,0} dot(%x), metadata={op_name="jit(step)/while/body/d"}
  ROOT %c = pred[4]{0} compare(%x), metadata={op_name="e"}
}
"""
    assert plan.largest(Program(program)) == [
        ("d [2048,1024] bf16", 4_194_304),
        ("a/b/c [8,1024] f32", 32_768),
        ("e [4] pred", 4),
    ]


def test_a_mesh_that_does_not_fit(tiny):
    with pytest.raises(ConfigError, match="8 devices are no multiple of 3"):
        plan.plan(dataclasses.replace(tiny, mesh="data:-1,fsdp:3"))
