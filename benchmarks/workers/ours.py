"""The step of a checkout of d2v_jax, this one or an older: what is on PYTHONPATH."""

import importlib.metadata
import pathlib
from typing import Any

import jax
import numpy as np
from protocol import Step, serve


def build(spec: dict[str, Any]) -> tuple[Step, dict[str, Any]]:
    """spec: `recipe` and `fields`, words such as "train.batch_size=2"."""
    import d2v_jax
    from d2v_jax.train import config as recipes
    from d2v_jax.train import mesh, state, step

    words = [f"--config.{word}" for word in spec["fields"]]
    config = recipes.resolve(recipes.load(spec["recipe"], words))
    grid = mesh.make_mesh(config.mesh)
    shapes = jax.eval_shape(lambda: state.create(config))
    spread = mesh.state_sharding(shapes, grid)
    train_step = step.compile_step(config, grid, spread)
    batch = jax.device_put(_batch(config), mesh.batch_sharding(grid))
    held = jax.jit(lambda: state.create(config), out_shardings=spread)()

    def one() -> float:
        nonlocal held
        held, metrics = train_step(held, batch)
        jax.block_until_ready(held)
        return float(metrics["loss"][0])

    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    return one, {
        "code": str(pathlib.Path(d2v_jax.__file__).parents[1]),
        "versions": {"jax": importlib.metadata.version("jax")},
        "student": count(shapes.student),
        "teacher": count(shapes.teacher),
        **_sizes(config),
    }


def _sizes(config: Any) -> dict[str, Any]:
    from d2v_jax.data2vec import masking
    from d2v_jax.data2vec.model import Model

    model = config.model
    tokens = Model(model).token_count(config.data.example_shape)
    return {
        "examples": config.train.batch_size,
        "example_shape": config.data.example_shape,
        "tokens": tokens,
        "hidden": masking.hidden_most(model.mask, tokens),
        "views": model.mask.views,
        "target_blocks": len(model.targets.blocks),
    }


def _batch(config: Any) -> dict[str, np.ndarray]:
    size, rng = config.train.batch_size, np.random.default_rng(0)
    shape = (size, *config.data.example_shape)
    batch = {"example_id": np.arange(size, dtype=np.int32)}
    match config.model.modality:
        case "image":
            return {**batch, "inputs": rng.integers(0, 256, shape, np.uint8)}
        case "audio":
            waves = rng.normal(0, 3_000, shape).astype(np.int16)
            return {**batch, "inputs": waves, "offset": np.zeros(size, np.float32),
                    "scale": np.full(size, 1 / 3_000, np.float32)}  # fmt: skip
    ids = rng.integers(4, config.model.frontend.mask_id, shape, np.int32)
    return {**batch, "inputs": ids}


if __name__ == "__main__":
    serve(build)
