"""The numbers of a checkout of d2v_jax, case by case: what is on PYTHONPATH."""

import json
import pathlib
import sys
import time
from typing import Any

import adapter
import jax
import numpy as np
from protocol import Answer, answering

FEATURES_OF = 3  # examples, from the end of their lengths on
LAYERS = ("last", "average", "all")
POOLS = ("mean", None)


def main() -> None:
    """argv: `recipes`, `devices`, and a folder `cache` of compiled programs.

    Answers {"ready"} once: the `checkout` that is in use, and how many `views` of an example each
    recipe has. Each line that comes in is a case: `recipe`, `fields`, `steps`, whether `features`
    are wanted, and the file `out` that takes its quantities, an npz in the order in which they
    arise. Answers {"seconds"} or {"failed"}.
    """
    answer = answering()
    spec = json.loads(sys.argv[1])
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", spec["devices"])
    # What is the same program in both checkouts, or in two recipes, is compiled once.
    jax.config.update("jax_compilation_cache_dir", spec["cache"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    checkout = str(adapter.own_recipes())
    views = {recipe: _views(recipe) for recipe in spec["recipes"]}
    answer(ready={"checkout": checkout, "views": views})
    recipe = None
    for line in sys.stdin:
        case = json.loads(line)
        if recipe != case["recipe"]:
            jax.clear_caches()  # or memory grows with every recipe
        recipe = case["recipe"]
        _one(case, answer)


def _views(recipe: str) -> int:
    try:
        return adapter.views_of(adapter.load_config(f"{recipe}:smoke"))
    except Exception:  # its cases will say so
        return 1


def _one(case: dict[str, Any], answer: Answer) -> None:
    began = time.perf_counter()
    try:
        found = quantities(case["recipe"], case["fields"], case["steps"], case["features"])
    except Exception as error:  # of any kind: the next case may do
        answer(failed=f"{type(error).__name__}: {error}".partition("\n")[0])
        return
    # Numbers in front keep the order; "/" would make folders of names.
    numbered = {f"{i:05} {name}".replace("/", ":"): x for i, (name, x) in enumerate(found.items())}
    np.savez(pathlib.Path(case["out"]), **numbered)
    answer(seconds=time.perf_counter() - began)


def quantities(
    recipe: str, fields: list[str], steps: int, features: bool = True
) -> dict[str, np.ndarray]:
    """Metrics of each step; behind the last features, if asked for, student and teacher."""
    config = adapter.load_config(recipe, fields)
    examples = adapter.examples_of(config)
    step, state, put = adapter.build(config)
    found: dict[str, np.ndarray] = {}
    for number in range(steps):
        batch = adapter.random_batch(examples, config.train.batch_size, seed=number)
        state, metrics = step(state, put(batch))
        named = dict(adapter.metrics_of(jax.device_get(metrics)))
        first = {name: named[name] for name in ("loss.sum", "grad_norm.sum")}
        found |= {f"step {number} {name}": x for name, x in (first | named).items()}
    params = jax.device_get(adapter.params_of(state))
    inputs = _inputs(examples)
    for layer in LAYERS if features else ():
        for pool in POOLS:
            each = adapter.features(config, params, inputs, layer, pool)
            found |= {
                f"features {layer} pool={pool} of example {i}": np.asarray(x)
                for i, x in enumerate(each)
            }
    for name, tree in (("student", params), ("teacher", adapter.teacher_of(state))):
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(tree)):
            found[name + jax.tree_util.keystr(path)] = leaf
    return found


def _inputs(examples: adapter.Examples) -> Any:
    """A few examples as people give them; sounds and texts of several lengths."""
    whole = adapter.random_batch(examples, FEATURES_OF, seed=1_000)["inputs"]
    if len(examples.shape) == 3:
        return whole
    return [x[: len(x) - i * len(x) // 8] for i, x in enumerate(whole)]


if __name__ == "__main__":
    main()
