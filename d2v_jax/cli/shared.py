"""What several sub-commands have in common."""

from collections.abc import Sequence
from typing import Any

from d2v_jax.common import buckets

CHECKPOINT = "a run folder, a fairseq .pt, a BEiT-style .pth, a Hugging Face or safetensors folder"


def resolved(spec: str, overrides: Sequence[str]) -> Any:
    """The recipe that a name, a file or a run folder stands for."""
    from d2v_jax.train import run
    from d2v_jax.train.recipe import resolve

    folder = buckets.place(spec)
    buckets.reach(folder)
    if folder.is_dir():
        return resolve.resolve(resolve.edited(run.read_recipe(folder), overrides, spec))
    return resolve.resolve(resolve.load(spec, overrides))
