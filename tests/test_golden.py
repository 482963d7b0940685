"""The originals' numbers, and that one changed number is noticed."""

import pathlib
import shutil

import golden
import numpy as np
import pytest

CASE = pathlib.Path(__file__).parent / "golden" / "v2_image"


@pytest.fixture(scope="module")
def recomputed():
    case, recorded = golden.read(CASE)
    return case, recorded, golden.v2_image(CASE, case, recorded)


def failures(case, recorded, ours):
    return [name for name, error, limit in golden.differences(case, recorded, ours)
            if not error <= limit]  # fmt: skip


def test_every_recorded_number_is_recomputed(recomputed):
    assert not failures(*recomputed)
    assert len(list(golden.differences(*recomputed))) > 140


@pytest.mark.parametrize(
    ("array", "ours"),
    [
        ("targets", "targets"),
        ("loss/cls/sum", "loss/cls/sum"),
        ("features/nopad/block_1_ffn", "features/nopad/block_1_ffn"),
        ("grad/blocks.1.attn.qkv.weight", "grad/trunk/block_01/attention/qkv/kernel"),
        ("ema_after/blocks.0.mlp.fc1.bias", "ema_after/trunk/block_00/mlp/fc1/bias"),
    ],
)
def test_a_changed_number_fails(recomputed, array, ours):
    case, recorded, computed = recomputed
    changed = recorded[array].copy()
    changed[(0,) * changed.ndim] += 1e-3 * np.abs(changed).max()
    assert failures(case, {**recorded, array: changed}, computed) == [ours]


def test_the_command_fails_too(tmp_path, capsys):
    folder = tmp_path / "v2_image"
    shutil.copytree(CASE, folder)
    arrays = dict(np.load(folder / "arrays.npz"))
    arrays["pred_masked"] = arrays["pred_masked"] * 1.001
    np.savez(folder / "arrays.npz", **arrays, unknown=np.zeros(3))
    assert golden.main([str(folder)]) == 1
    out = capsys.readouterr().out
    assert out.count("FAIL") == 2 and "unknown (not computed)" in out
