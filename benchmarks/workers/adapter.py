"""What differs between checkouts of d2v_jax, in one place: each name is tried new, then old.

All imports are inside functions, so that what is on PYTHONPATH is what is used.
"""

import dataclasses
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

PLACES = {
    "allocator": ("d2v_jax.train.machine.allocator", "d2v_jax.train.allocator"),
    "config": (
        "d2v_jax.train.recipe.resolve",
        "d2v_jax.train.config",
    ),
    "mesh": ("d2v_jax.train.machine.mesh", "d2v_jax.train.mesh"),
    "state": ("d2v_jax.train.state",),
    "step": ("d2v_jax.train.step",),
    "devices": ("d2v_jax.measure.devices",),
    "encoder": ("d2v_jax.transfer.encoder",),
    "model": ("d2v_jax.data2vec.model", "d2v_jax.encoder.model"),
}
# What a place must offer to be the one: a folder of the same name may be something else.
OFFERS = {"config": ("load", "resolve"), "mesh": ("make_mesh",), "model": ("Model",)}


class Built(NamedTuple):
    """One compiled step and what it starts from."""

    step: Callable[[Any, Any], tuple[Any, Any]]  # (state, batch) -> (state, metrics); donates
    state: Any
    put: Callable[[Any], Any]  # a batch of NumPy arrays -> on the devices


class Examples(NamedTuple):
    """What an example is."""

    modality: str
    shape: tuple[int, ...]
    ids: int  # of text: ids lie below


def own_recipes() -> pathlib.Path:
    """`d2v_jax.configs` of the same checkout: an installed one would come from elsewhere.

    Returns the checkout.
    """
    checkout = pathlib.Path(importlib.util.find_spec("d2v_jax").origin).parents[1]
    found = importlib.util.spec_from_file_location(
        "d2v_jax.configs",
        checkout / "configs" / "__init__.py",
        submodule_search_locations=[str(checkout / "configs")],
    )
    sys.modules[found.name] = importlib.util.module_from_spec(found)
    return checkout


def module(role: str) -> ModuleType | None:
    """The module that plays a role of `PLACES`; None where this checkout has none."""
    for name in PLACES[role]:
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not name.startswith(error.name):  # something inside it is missing
                raise
            continue
        if all(hasattr(found, offer) for offer in OFFERS.get(role, ())):
            return found
    return None


def load_config(recipe: str, fields: Sequence[str] = ()) -> Any:
    """A resolved recipe; `fields` as in "train.batch_size=2".

    Those that this checkout does not have are left out.
    """
    recipes = module("config")
    published = recipes.load(recipe)
    words = [f"--config.{field}" for field in fields if _has(published, field)]
    return recipes.resolve(recipes.load(recipe, words))


def _has(recipe: Any, field: str) -> bool:
    *sections, name = field.partition("=")[0].split(".")
    for section in sections:
        recipe = recipe.get(section, {})
    return name in recipe


def examples_of(config: Any) -> Examples:
    model = model_of(config)
    modality = getattr(config, "modality", None) or model.modality
    ids = getattr(model.frontend, "mask_id", 0)
    return Examples(modality, tuple(config.data.example_shape), ids)


def model_of(config: Any) -> Any:
    """The sections of a recipe that describe the model."""
    return config.objective.cfg if hasattr(config, "objective") else config.model


def views_of(config: Any) -> int:
    """Masked views of an example; 1 where the objective has none."""
    mask = getattr(model_of(config), "mask", None)
    return getattr(mask, "views", 1)


def build(config: Any) -> Built:
    """Over all devices there are, as the recipe's `mesh` arranges them."""
    meshes, states = module("mesh"), module("state")
    grid = meshes.make_mesh(config.mesh)
    create = lambda: states.create(config)
    spread = meshes.state_sharding(jax.eval_shape(create), grid)
    split = meshes.batch_sharding(grid)
    return Built(
        module("step").compile_step(config, grid, spread),
        jax.jit(create, out_shardings=spread)(),
        lambda batch: jax.device_put(batch, split),
    )


def promised(config: Any) -> dict[str, Any]:
    """The device, its peak in FLOP/s where that is known, and a step's products by hand."""
    device = jax.devices()[0]
    found = {"device": device.device_kind, "devices": jax.device_count()}
    if hasattr(getattr(config, "objective", None), "arithmetic"):
        each = config.objective.arithmetic(tuple(config.data.example_shape))
        found["products"] = config.train.batch_size * sum(each.values())
    if devices := module("devices"):
        found["peak_flops"] = devices.peak_flops(device, model_of(config).trunk.dtype)
    return found


def params_of(state: Any) -> Any:
    """The student."""
    return state.params if hasattr(state, "params") else state.student


def teacher_of(state: Any) -> Any:
    """The parts that the teacher owns."""
    carried = state.carried if hasattr(state, "carried") else state.teacher
    return carried["teacher"] if set(carried) == {"teacher"} else carried


def token_count(config: Any) -> int:
    return module("model").Model(model_of(config)).token_count(config.data.example_shape)


def metrics_of(metrics: Any) -> Iterator[tuple[str, np.ndarray]]:
    """(name, value) of each; a mean is two, its sum and its count."""
    for name in sorted(metrics):
        leaves = jax.tree.leaves(metrics[name])
        parts = (".sum", ".count") if len(leaves) == 2 else range(len(leaves))
        for part, leaf in zip(parts, leaves):
            yield f"{name}{part}", np.asarray(leaf)


def features(
    config: Any, params: Any, inputs: Any, layer: str, pool: str | None
) -> list[np.ndarray]:
    """Of each example, by the encoder that people use; `params` on no device in particular."""
    kind = module("encoder").Encoder
    given = {"recipe": config, "config": config, "params": params, "step": 0}
    fields = {field.name: given.get(field.name) for field in dataclasses.fields(kind)}
    return list(kind(**fields).features(inputs, layer=layer, pool=pool))


def random_batch(examples: Examples, size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random examples as the loader delivers them: a function of the arguments alone."""
    rng = np.random.default_rng(seed)
    shape = (size, *examples.shape)
    batch = {"example_id": np.arange(size, dtype=np.int32) + seed * size}
    match examples.modality:
        case "image":
            return {**batch, "inputs": rng.integers(0, 256, shape, np.uint8)}
        case "audio":
            batch["inputs"] = rng.normal(0, 3_000, shape).astype(np.int16)
            batch["offset"] = np.zeros(size, np.float32)
            batch["scale"] = np.full(size, 1 / 3_000, np.float32)
            return batch
    return {**batch, "inputs": rng.integers(4, examples.ids, shape, np.int32)}
