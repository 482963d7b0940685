"""The originals' numbers, and that one changed number is noticed."""

import json
import pathlib
import shutil

import golden
import numpy as np
import pytest

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.mark.parametrize("case", ["v2_image"])
def test_recomputes(case):
    results = list(golden.check(GOLDEN / case))
    above = [f"{name}: {error:.2e} > {limit:.2e}" for name, error, limit in results
             if not error <= limit]  # fmt: skip
    assert not above
    assert len(results) > 100


@pytest.mark.parametrize(
    "array",
    ["targets", "loss/cls/sum", "grad/blocks.1.attn.qkv.weight", "features/nopad/block_1_ffn",
     "ema_after/blocks.0.mlp.fc1.bias"],
)  # fmt: skip
def test_a_changed_number_fails(tmp_path, array, capsys):
    case = tmp_path / "v2_image"
    shutil.copytree(GOLDEN / "v2_image", case)
    arrays = dict(np.load(case / "arrays.npz"))
    changed = arrays[array].copy()
    index = (0,) * changed.ndim
    changed[index] += 1e-3 * np.abs(changed).max()
    np.savez(case / "arrays.npz", **(arrays | {array: changed}))
    assert golden.main([str(case)]) == 1
    assert capsys.readouterr().out.count("FAIL") == 1


def test_a_different_model_fails(tmp_path, capsys):
    case = tmp_path / "v2_image"
    shutil.copytree(GOLDEN / "v2_image", case)
    about = json.loads((case / "config.json").read_text())
    about["ema_step"]["decay_used"] = 0.9
    (case / "config.json").write_text(json.dumps(about))
    assert golden.main([str(case)]) == 1
    assert "ema_after" in capsys.readouterr().out
