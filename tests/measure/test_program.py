"""What is read from the text of a compiled program."""

import pathlib

import jax
import jax.numpy as jnp
import pytest
import systems

from d2v_jax.measure import program, setting
from d2v_jax.measure.program import Program

TEXT = (pathlib.Path(__file__).parent / "program.txt").read_text()
TEXT = TEXT.replace('"ROOT/', f'"{program.ROOT}/')


def test_cycles_count_loops_and_nothing_that_is_fused():
    assert Program(TEXT).cycles == (12 + 3) * 100 + 2 * 5 + 5 + 7


def test_collectives_whole_and_as_often_as_they_run():
    found = {(one.opcode, one.times): one for one in Program(TEXT).collectives()}
    every = found["all-reduce", 12]
    assert (every.bytes, every.devices) == (4 * 256 * 2, 16)
    assert every.sent == pytest.approx(12 * 2 * 2048 * 15 / 16)
    whole = found["all-gather", 1]
    assert (whole.bytes, whole.devices) == (16 * 8 * 4, 8)
    assert whole.sent == pytest.approx(512 * 7 / 8)
    part = found["reduce-scatter", 1]
    assert (part.bytes, part.devices) == (4 * 8 * 4, 4)
    assert len(found) == 4  # and the all-reduce of the other loop


def test_the_line_is_the_innermost_of_ours_that_says_something():
    read = Program(TEXT)
    lines = {one.name: read.line(one) for one, _ in read.operations()}
    assert lines["y"] == "nn/conv.py:22"  # not products.py
    assert lines["end"] == "train/step.py:59"  # not elsewhere
    assert lines["a"] == ""


def test_a_program_of_this_compiler(tiny):
    """Its loop runs as often as it must, and what it tells other devices is found."""

    def step(x):
        return jax.lax.fori_loop(0, 7, lambda i, x: jnp.tanh(x @ x) + i, x)

    read = Program(jax.jit(step).lower(jnp.ones((8, 8))).compile().as_text())
    times = {one.op_name: times for one, times in read.operations() if "while/body" in one.op_name}
    assert set(times.values()) == {7}
    config = systems.small("v2_image_base")
    compiled = setting.Setting(config).lower().compile()
    found = Program(compiled.as_text()).collectives()
    assert {one.opcode for one in found} == {"all-reduce"}
    assert {one.devices for one in found} == {8}
