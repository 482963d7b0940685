"""Anyone's checkpoint, by its path: ours, the originals', Hugging Face's."""

import dataclasses
import functools
import json
import logging
import pathlib
from typing import Any

import jax
import numpy as np

from d2v_jax.common import buckets, rng, trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.files import on_disk
from d2v_jax.common.trees import Tree
from d2v_jax.encoder.objective import Objective
from d2v_jax.interop.fairseq import reader
from d2v_jax.interop.huggingface import hf_files, hf_read, hub
from d2v_jax.interop.ours import safetensors_io
from d2v_jax.train import checkpoint, run, state
from d2v_jax.train.recipe import resolve as configs
from d2v_jax.train.recipe.records import Config

log = logging.getLogger("d2v")

SHOWN = 20  # paths in one message


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A checkpoint in our terms: nested dicts of float32 arrays.

    `params` are what was trained, of data2vec the student; they may lack the parts that are
    `optional`. `carried` is what was carried along, of data2vec the parts that the teacher owns, or
    None; `head` is None or {"kind", "params", ...} (interop.heads). `report`: rows of (our path,
    their key, our shape), empty for a checkpoint of ours.
    """

    recipe: Config
    params: dict[str, Any]
    carried: dict[str, Any] | None
    head: dict[str, Any] | None
    step: int
    report: list[tuple[str, str, tuple[int, ...]]]

    @property
    def system(self) -> str:
        return self.recipe.system

    @property
    def beside(self) -> dict[str, Any] | None:
        """The head, where it is no part of `params`."""
        return None if self.recipe.objective.own_head else self.head


def read(path: str | pathlib.Path) -> Loaded:
    """Reads a run folder, a folder of ours or of Hugging Face, a fairseq .pt or a .pth.

    A name on the Hugging Face hub stands for what its cache holds of it.
    Raises `UserError` naming the file and what is wrong with it.
    """
    path = hub.located(path)
    loaded = _read(path)
    _require_whole(path, loaded)
    return loaded


def _read(path: pathlib.Path) -> Loaded:
    if not path.exists():
        raise UserError(
            f"there is no {path}; give a run folder, a folder with config.json and "
            f"model.safetensors, or a checkpoint file (.pt, .pth){hub.hint(path)}"
        )
    if not on_disk(path) and not (path / checkpoint.FOLDER).is_dir():
        path = buckets.fetched(path)
    if path.is_file():
        part = path.suffix == ".safetensors" or path.name.startswith("pytorch_model")
        if path.name == run.FILE or (part and (path.parent / run.FILE).is_file()):
            raise UserError(f"{path} is part of a checkpoint; give the folder {path.parent}")
        return _imported(reader.read_fairseq(path))
    if (path / checkpoint.FOLDER).is_dir():
        return _run(path)
    if not (path / run.FILE).is_file() and hf_files.has_weights(path):
        return _imported(reader.read_fairseq(path))
    if not (path / run.FILE).is_file():
        raise UserError(
            f"{path} holds neither {run.FILE} nor {checkpoint.FOLDER}/; give a run folder, a "
            "folder with config.json and model.safetensors, or a checkpoint file (.pt, .pth)"
        )
    if _content(path).get("format") == safetensors_io.FORMAT:
        saved = safetensors_io.load(path)
        recipe = _resolve(path, saved.config.get("recipe"))
        step = saved.config.get("step", 0)
        return with_head(Loaded(recipe, saved.student, saved.teacher, saved.head, step, []))
    return _with_tokenizer(_imported(hf_read.read_hf(path)), path)


def _resolve(path: pathlib.Path, fields: Any) -> Config:
    if not isinstance(fields, dict):
        raise UserError(f"{path / run.FILE} is damaged (it has no recipe); fetch the folder again")
    try:
        return configs.resolve(fields)
    except UserError as error:
        raise UserError(f"{path / run.FILE}: {error}") from None


def _with_tokenizer(loaded: Loaded, path: pathlib.Path) -> Loaded:
    """What lies in `path` of the data's belongings, such as a tokenizer, is that of the weights."""
    data = loaded.recipe.data.found_in(buckets.fetched(path))
    return dataclasses.replace(loaded, recipe=dataclasses.replace(loaded.recipe, data=data))


def outline(path: str | pathlib.Path) -> Loaded:
    """As `read`; of a run that has not saved yet, the shapes that it will have."""
    path = hub.located(path)
    content = _content(path) if (path / run.FILE).is_file() else {}
    saved = any(place.name.isdigit() for place in (path / checkpoint.FOLDER).glob("*"))
    if saved or "recipe" not in content or "format" in content:
        return read(path)
    recipe = _resolve(path, content["recipe"])
    shapes = jax.eval_shape(lambda: state.create(recipe))
    return Loaded(recipe, shapes.params, shapes.carried or None, None, 0, [])


def _content(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads((path / run.FILE).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path / run.FILE} cannot be read as JSON: {error}; restore it from a copy"
        ) from None
    return content if isinstance(content, dict) else {}


def _run(path: pathlib.Path) -> Loaded:
    recipe = _resolve(path, run.read_recipe(path))
    head = run.read_head(path)
    step, params, carried = checkpoint.load_trees(path, recipe.items)
    if recipe.objective.own_head:
        loaded = with_head(Loaded(recipe, params, carried or None, None, step, []))
        return _with_tokenizer(loaded, path / run.TOKENIZER)
    if (head is None) != ("head" not in params):
        raise UserError(
            f"{path}: only one of {run.FILE} and {checkpoint.FOLDER}/{step} has a head; they are "
            "not of one model"
        )
    if head is not None:
        head["params"] = params.pop("head")
    loaded = Loaded(recipe, params, carried or None, head, step, [])
    return _with_tokenizer(loaded, path / run.TOKENIZER)


def with_head(loaded: Loaded) -> Loaded:
    """The same, whose `head` is part of what was trained, if an objective trains one."""
    objective = loaded.recipe.objective
    if not objective.own_head:
        return loaded
    head = {**objective.head(loaded.params), "labels": loaded.recipe.data.label_names}
    return dataclasses.replace(loaded, head=head)


def _imported(imported: reader.Imported) -> Loaded:
    recipe = configs.resolve(imported.config)
    # A teacher can own no part that a model of these fields does not have.
    exist, fields = shapes_of(recipe), configs.to_fields(recipe)
    if teacher := fields.get("teacher"):
        teacher["owns"] = tuple(part for part in teacher["owns"] if part in exist)
    recipe = configs.resolve(fields)
    return Loaded(recipe, imported.student, imported.teacher, imported.head, 0, imported.report)


def shapes_of(recipe: Config) -> dict[str, Any]:
    """The whole trained tree of this recipe, shapes instead of arrays."""
    return _init.eval_shape(recipe.objective, recipe.data.example_shape, rng.key(0))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(objective: Objective, example_shape: tuple[int, ...], key: jax.Array) -> dict[str, Any]:
    return objective.init(key, example_shape)


@functools.partial(jax.jit, static_argnums=0)
def _carried(objective: Objective, params: Tree) -> dict[str, Any]:
    return objective.carry(params)


def _require_whole(path: pathlib.Path, loaded: Loaded) -> None:
    """Raises unless the arrays are finite and of the shapes that the recipe speaks of."""
    expected = shapes_of(loaded.recipe)
    objective = loaded.recipe.objective
    lacks = [part for part in objective.optional if part not in loaded.params]
    there = {part: tree for part, tree in expected.items() if part not in lacks}
    problems = _misfits(loaded.params, there)
    if loaded.carried is not None:
        carries = _carried.eval_shape(objective, expected)
        # A teacher of theirs may average other parts than ours.
        there = {part: carries.get(part, expected.get(part, {})) for part in loaded.carried}
        misfits = _misfits(loaded.carried, there)
        problems += [f"{objective.carried_name}: {line}" for line in misfits]
    if problems:
        raise UserError(
            f"{path}: its arrays do not fit its own recipe:\n    {_shown(problems)}\n"
            "  One of its files was changed or is of another model; fetch them again together."
        )
    for tree in (loaded.params, loaded.carried or {}, (loaded.head or {}).get("params", {})):
        broken = [name for name, leaf in trees.leaves(tree) if not np.isfinite(leaf).all()]
        if broken:
            raise UserError(
                f"{path}: NaN or infinite numbers at step {loaded.step}, in "
                f"{', '.join(broken[:5])}{' ...' if len(broken) > 5 else ''}; training had "
                "diverged, or the file is damaged. Use an earlier checkpoint"
            )


def start_from(
    config: Config, loaded: Loaded | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is trained and carried in a new run of `config` from its `init_from`, float32 NumPy.

    `loaded`: what was read of it, if it was. What the objective calls optional may be missing and
    starts anew. Says what was done. Raises `UserError` listing every path that does not fit.
    """
    loaded = loaded or read(config.init_from)
    where = f"init_from={config.init_from!r}"
    if loaded.recipe.modality != config.modality:
        raise UserError(
            f"{where} holds a model of {loaded.recipe.modality}, but the recipe is of "
            f"{config.modality}; use a recipe of its modality"
        )
    shapes = shapes_of(config)
    params, said = config.objective.begin(loaded.params, loaded.carried, loaded.head)
    optional = config.objective.optional
    anew = [part for part in optional if part in shapes and part not in params]
    if anew:
        key = rng.stream(config.seed, "init")
        fresh = _init(config.objective, config.data.example_shape, key)
        params |= {part: jax.device_get(fresh[part]) for part in anew}
    _require_fit(f"{where}, a {loaded.system} model,", config, params, shapes)
    carried, words = config.objective.adopt(params, loaded.carried)
    said += [words] if words else []
    said += [f"new: {', '.join(anew)}"] if anew else []
    log.info(
        "%s: %s at step %d, %s parameters of %s; %s",
        where,
        loaded.system,
        loaded.step,
        f"{trees.count(loaded.params):,}",
        ", ".join(sorted(loaded.params)),
        "; ".join(said),
    )
    return params, carried


def _require_fit(where: str, config: Config, found: Tree, expected: Tree) -> None:
    problems = _misfits(found, expected)
    if problems:
        raise UserError(
            f"{where} does not fit the recipe, nothing was loaded:\n    {_shown(problems)}\n"
            f"  The recipe: objective={config.objective_name!r}{config.objective.sizes}. With the "
            f"file's own: d2v convert {config.init_from} RUN, then --config RUN."
        )


def _misfits(found: Tree, expected: Tree) -> list[str]:
    """A line for every leaf that is missing, left over or of another shape."""
    ours = {name: tuple(leaf.shape) for name, leaf in trees.leaves(expected)}
    theirs = {name: tuple(leaf.shape) for name, leaf in trees.leaves(found)}
    problems = [f"missing {name} {ours[name]}" for name in sorted(ours.keys() - theirs.keys())]
    problems += [f"left over {name} {theirs[name]}" for name in sorted(theirs.keys() - ours.keys())]
    return problems + [
        f"{name} is {theirs[name]}, the recipe expects {ours[name]}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]


def _shown(problems: list[str]) -> str:
    """Some of each kind of misfit, as their first words tell them apart."""
    kinds: dict[str, list[str]] = {}
    for line in problems:
        kind = next((k for k in ("missing", "left over") if f"{k} " in line), "of another shape")
        kinds.setdefault(kind, []).append(line)
    most, shown = SHOWN // max(1, len(kinds)), []
    for kind, lines in kinds.items():
        more = [f"and {len(lines) - most} more {kind}"] if len(lines) > most else []
        shown += lines[:most] + more
    return "\n    ".join(shown)


def largest_difference(a: Tree, b: Tree) -> float:
    """Between two trees; infinite where they have different leaves or shapes."""
    left, right = dict(trees.leaves(a)), dict(trees.leaves(b))
    if left.keys() != right.keys():
        return float("inf")
    gaps = [0.0]
    for path in left:
        x, y = np.asarray(left[path]), np.asarray(right[path])
        gaps.append(float("inf") if x.shape != y.shape else float(np.abs(x - y).max(initial=0.0)))
    return max(gaps)
