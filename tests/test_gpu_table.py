"""`benchmarks/gpu.py`: what is asked of `peers`, and the table of its answers; peers' modules."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    return gpu


def contestant(seconds, **facts):
    versions = {"versions": facts.pop("versions", {})}
    return {"facts": versions | facts, "median_s": seconds, "times_ours": [1, seconds / 0.5, 3]}


def record(recipe):
    facts = {"device": "NVIDIA H100 80GB HBM3", "devices": 1, "dtype": "bfloat16"}
    facts |= {"examples": 64, "products": 0.5 * 989e12 / 4, "peak_flops": 989e12}
    return {
        "recipe": recipe,
        "date": "2026-01-02T03:04:05",
        "contestants": {
            "ours": contestant(0.5, versions={"jax": "0.10.2"}, **facts),
            "other": contestant(0.4),
            "fairseq": contestant(0.6, versions={"torch": "2.13"}),
        },
    }


def test_rows_are_kept_and_written_into_the_page(gpu, tmp_path, monkeypatch, capsys):
    asked, page, kept = [], tmp_path / "page.md", tmp_path / "kept.json"
    page.write_text("before\n<!-- gpu -->\nnothing\n<!-- /gpu -->\nafter\n")

    def measured(args):
        asked.append((args.recipe, args.batch, args.dtype, args.compare))
        if args.recipe == "v1_text_base" and len(asked) < 10:
            raise gpu.peers.Failed("fairseq: OutOfMemoryError: CUDA out of memory")
        if args.recipe == "v1_audio_base":
            raise gpu.peers.Failed("ours: no")
        return record(args.recipe)

    monkeypatch.setattr(gpu.peers, "measured", measured)
    words = ["--memory", "79.6", "--json", str(kept), "--readme", str(page)]
    assert gpu.main(words) == 2  # one is missing
    assert "gpu: v1_audio_base: ours: no" in capsys.readouterr().err
    text = page.read_text()
    assert text.startswith("before\n<!-- gpu -->\nNVIDIA H100 80GB HBM3 (989 TFLOP/s, bfloat16)")
    assert text.endswith("|\n<!-- /gpu -->\nafter\n") and "jax 0.10.2, torch 2.13" in text
    assert "| `v2_image_base` | 64 | 500.0 | 128.0 | 25% | 160.0 | 1.20 | - |" in text
    # For a card of 22 GiB twice the memory are twice the examples, and half where they do not fit.
    assert asked[0] == ("v2_image_base", 32, "bfloat16", ["trunk.fused_attention=True"])
    assert [one[1] for one in asked if one[0] == "v1_text_base"][:2] == [32, 16]
    assert set(json.loads(kept.read_text())) == {row.recipe for row in gpu.ROWS} - {"v1_audio_base"}
    asked.clear()
    assert gpu.main([*words, "--minutes", "-1"]) == 2 and not asked  # what is there is not repeated
    assert "v1_audio_base: no time left" in capsys.readouterr().err


def test_the_readme_has_a_place_for_the_table(gpu):
    page = (ROOT / "benchmarks" / "README.md").read_text()
    assert "\nTABLE\n<!-- /gpu -->" in gpu.written(page, "TABLE\n")
    with pytest.raises(ValueError, match="no <!-- gpu -->"):
        gpu.written("", "TABLE")


def test_without_a_gpu_the_script_says_so(tmp_path):
    tools = {"dirname": "/usr/bin/dirname", "bash": "/bin/bash", "env": "/usr/bin/env"}
    for name, path in tools.items():
        (tmp_path / name).symlink_to(path)
    script = str(ROOT / "benchmarks" / "gpu.sh")
    done = subprocess.run([script], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 2 and "nvidia-smi is missing" in done.stderr


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("ModuleNotFoundError: No module named 'bitarray'", "; PY -m pip install bitarray"),
        ("No module named 'sklearn.metrics'", "; PY -m pip install scikit-learn"),
        ("ended with code 1\n  No module named 'hydra'", "; PY -m pip install hydra-core"),
        ("ValueError: no", ""),
    ],
)
def test_what_is_missing_is_named_with_the_remedy(gpu, why, remedy):
    assert gpu.peers.remedy(why, "PY") == remedy


STUBS = {
    "hydra/__init__.py": "",
    "hydra/core/__init__.py": "",
    "hydra/core/config_store.py": "",
    "torch/__init__.py": "from torch import nn",
    "torch/nn.py": "class init: trunc_normal_ = None\ndef __getattr__(name): return object",
    # As fairseq's, which hides what the first attempt failed of.
    "checkout/examples/__init__.py": "try:\n import fairseq\nexcept ImportError:\n pass",
    "checkout/examples/data2vec/models/data2vec2.py": "",
    "checkout/fairseq/__init__.py": "import fairseq.criterions",
    "checkout/fairseq/criterions.py": "import bitarray_of_nobody",
}


def test_a_module_that_fairseq_misses_is_named(tmp_path):
    for name, text in STUBS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = f"import shim; shim.install({str(tmp_path / 'checkout')!r}); import examples.data2vec"
    path = f"{ROOT / 'benchmarks' / 'workers'}:{tmp_path}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1].endswith("No module named 'bitarray_of_nobody'")
