"""The step of a checkout of d2v_jax, this one or an older: what is on PYTHONPATH."""

import importlib.metadata
import importlib.util
import pathlib
import sys
from typing import Any

import jax
import numpy as np
from protocol import Step, serve


def build(spec: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """spec: `recipe`, `commit`, and `fields`, words such as "train.batch_size=2".

    Fields that an older checkout does not have yet are left out.
    """
    _own_recipes()
    if importlib.util.find_spec("d2v_jax.train.machine"):
        from d2v_jax.train.machine import allocator

        allocator.keep_freed_memory()
    from d2v_jax.train import state, step
    from d2v_jax.train.machine import mesh
    from d2v_jax.train.recipe import resolve as recipes

    published = recipes.load(spec["recipe"])
    words = [f"--config.{word}" for word in spec["fields"] if _has(published, word)]
    config = recipes.resolve(recipes.load(spec["recipe"], words))
    grid = mesh.make_mesh(config.mesh)
    shapes = jax.eval_shape(lambda: state.create(config))
    spread = mesh.state_sharding(shapes, grid)
    train_step = step.compile_step(config, grid, spread)
    batch = jax.device_put(_batch(config), mesh.batch_sharding(grid))
    held = jax.jit(lambda: state.create(config), out_shardings=spread)()
    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    facts = {
        "versions": {"d2v_jax": spec["commit"], "jax": importlib.metadata.version("jax")},
        "student": count(shapes.params),
        "teacher": count(shapes.carried),
        "clip": config.optimizer.clip,
        **_sizes(config),
    }

    def one() -> float:
        nonlocal held
        held, metrics = train_step(held, batch)
        jax.block_until_ready(held)
        if "hidden" not in facts:  # of some kinds of mask the number varies
            facts["hidden"] = round(float(metrics["hidden_share"][0]) * facts["tokens"], 1)
        return float(metrics["loss"][0])

    return one, facts


def _own_recipes() -> None:
    """`d2v_jax.configs` of the same checkout: an installed one would come from elsewhere."""
    checkout = pathlib.Path(importlib.util.find_spec("d2v_jax").origin).parents[1]
    found = importlib.util.spec_from_file_location(
        "d2v_jax.configs",
        checkout / "configs" / "__init__.py",
        submodule_search_locations=[str(checkout / "configs")],
    )
    sys.modules[found.name] = importlib.util.module_from_spec(found)


def _has(recipe: Any, word: str) -> bool:
    section, _, name = word.partition("=")[0].partition(".")
    return name in recipe[section]


def _sizes(config: Any) -> dict[str, Any]:
    from d2v_jax.data2vec.model import Model

    model = config.objective.cfg
    return {
        "examples": config.train.batch_size,
        "example_shape": config.data.example_shape,
        "tokens": Model(model).token_count(config.data.example_shape),
        "views": model.mask.views,
        "target_blocks": len(model.targets.blocks),
    }


def _batch(config: Any) -> dict[str, np.ndarray]:
    size, rng = config.train.batch_size, np.random.default_rng(0)
    shape = (size, *config.data.example_shape)
    batch = {"example_id": np.arange(size, dtype=np.int32)}
    match config.objective.cfg.modality:
        case "image":
            return {**batch, "inputs": rng.integers(0, 256, shape, np.uint8)}
        case "audio":
            waves = rng.normal(0, 3_000, shape).astype(np.int16)
            return {**batch, "inputs": waves, "offset": np.zeros(size, np.float32),
                    "scale": np.full(size, 1 / 3_000, np.float32)}  # fmt: skip
    ids = rng.integers(4, config.objective.cfg.frontend.mask_id, shape, np.int32)
    return {**batch, "inputs": ids}


if __name__ == "__main__":
    serve(build)
