"""The step of a checkout of d2v_jax, this one or an older: what is on PYTHONPATH."""

import importlib.metadata
from typing import Any

import adapter
import jax
from protocol import Step, serve


def build(spec: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """spec: `recipe`, `commit`, and `fields`, words such as "train.batch_size=2".

    Fields that an older checkout does not have yet are left out.
    """
    adapter.own_recipes()
    allocator = adapter.module("allocator")
    if allocator:
        allocator.keep_freed_memory()
    config = adapter.load_config(spec["recipe"], spec["fields"])
    train_step, held, put = adapter.build(config)
    batch = put(adapter.random_batch(adapter.examples_of(config), config.train.batch_size))
    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    facts = {
        "versions": {"d2v_jax": spec["commit"], "jax": importlib.metadata.version("jax")},
        "student": count(adapter.params_of(held)),
        "teacher": count(adapter.teacher_of(held)),
        "clip": config.optimizer.clip,
        **adapter.promised(config),
        **_sizes(config),
    }

    def one() -> jax.Array:
        nonlocal held
        held, metrics = train_step(held, batch)
        if "hidden" not in facts:  # of some kinds of mask the number varies
            facts["hidden"] = round(float(metrics["hidden_share"][0]) * facts["tokens"], 1)
        return metrics["loss"][0]

    return one, facts


def _sizes(config: Any) -> dict[str, Any]:
    model = adapter.model_of(config)
    return {
        "dtype": model.trunk.dtype,
        "examples": config.train.batch_size,
        "example_shape": config.data.example_shape,
        "tokens": adapter.token_count(config),
        "views": model.mask.views,
        "target_blocks": len(model.targets.blocks),
    }


if __name__ == "__main__":
    serve(build, jax.block_until_ready)  # a program's results are ready together
