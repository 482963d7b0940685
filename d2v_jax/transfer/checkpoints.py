"""Anyone's checkpoint, by its path: ours, the originals', Hugging Face's."""

import dataclasses
import functools
import json
import logging
import pathlib
from typing import Any

import jax
import numpy as np

from d2v_jax.common import rng, trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec import teacher as teachers
from d2v_jax.data2vec.config import ModelConfig
from d2v_jax.data2vec.model import Model
from d2v_jax.interop.fairseq import reader
from d2v_jax.interop.huggingface import hf_read
from d2v_jax.interop.ours import safetensors_io
from d2v_jax.train import checkpoint, run, state
from d2v_jax.train.recipe import resolve as configs
from d2v_jax.train.recipe.resolve import Config

log = logging.getLogger("d2v")

# What a fine-tuned or exported checkpoint may lack; pretraining starts it anew.
OPTIONAL = ("decoder", "mask")
SHOWN = 20  # paths in one message


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A checkpoint in our terms: nested dicts of float32 arrays.

    `student` may lack the parts in OPTIONAL; `teacher` holds the parts it owns, or is None;
    `head` is None or {"kind", "params", ...} (interop.heads). `report`: rows of (our path,
    their key, our shape), empty for a checkpoint of ours.
    """

    recipe: Config
    student: dict[str, Any]
    teacher: dict[str, Any] | None
    head: dict[str, Any] | None
    step: int
    system: str
    report: list[tuple[str, str, tuple[int, ...]]]


def read(path: str | pathlib.Path) -> Loaded:
    """Reads a run folder, a folder of ours or of Hugging Face, a fairseq .pt or a .pth.

    Raises `UserError` naming the file and what is wrong with it.
    """
    path = pathlib.Path(path).expanduser()
    loaded = _read(path)
    _require_whole(path, loaded)
    return loaded


def _read(path: pathlib.Path) -> Loaded:
    if not path.exists():
        raise UserError(
            f"there is no {path}; give a run folder, a folder with config.json and "
            "model.safetensors, or a checkpoint file (.pt, .pth)"
        )
    if path.is_file():
        if path.suffix == ".safetensors" or path.name == run.FILE:
            raise UserError(f"{path} is part of a checkpoint; give the folder {path.parent}")
        if (path.parent / run.FILE).is_file() and path.name.startswith("pytorch_model"):
            raise UserError(f"{path} is part of a checkpoint; give the folder {path.parent}")
        return _imported(reader.read_fairseq(path))
    if (path / checkpoint.FOLDER).is_dir():
        return _run(path)
    if not (path / run.FILE).is_file():
        raise UserError(
            f"{path} holds neither {run.FILE} nor {checkpoint.FOLDER}/; give a run folder, a "
            "folder with config.json and model.safetensors, or a checkpoint file (.pt, .pth)"
        )
    if _content(path).get("format") == safetensors_io.FORMAT:
        saved = safetensors_io.load(path)
        recipe = _resolve(path, saved.config.get("recipe"))
        return Loaded(recipe, saved.student, saved.teacher, saved.head,
                      saved.config.get("step", 0), system_of(recipe), [])  # fmt: skip
    return _with_tokenizer(_imported(hf_read.read_hf(path)), path)


def _resolve(path: pathlib.Path, fields: Any) -> Config:
    if not isinstance(fields, dict):
        raise UserError(f"{path / run.FILE} is damaged (it has no recipe); fetch the folder again")
    try:
        return configs.resolve(fields)
    except UserError as error:
        raise UserError(f"{path / run.FILE}: {error}") from None


def _with_tokenizer(loaded: Loaded, path: pathlib.Path) -> Loaded:
    """What lies in `path` beside the weights belongs to them."""
    data = loaded.recipe.data.found_in(path)
    return dataclasses.replace(loaded, recipe=dataclasses.replace(loaded.recipe, data=data))


def outline(path: str | pathlib.Path) -> Loaded:
    """As `read`; of a run that has not saved yet, the shapes that it will have."""
    path = pathlib.Path(path).expanduser()
    content = _content(path) if (path / run.FILE).is_file() else {}
    saved = any(place.name.isdigit() for place in (path / checkpoint.FOLDER).glob("*"))
    if saved or "recipe" not in content or "format" in content:
        return read(path)
    recipe = _resolve(path, content["recipe"])
    shapes = jax.eval_shape(lambda: state.create(recipe))
    return Loaded(recipe, shapes.student, shapes.teacher, None, 0, system_of(recipe), [])


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
    step, student, teacher = checkpoint.load_trees(path)
    if (head is None) != ("head" not in student):
        raise UserError(
            f"{path}: only one of {run.FILE} and {checkpoint.FOLDER}/{step} has a head; they are "
            "not of one model"
        )
    if head is not None:
        head["params"] = student.pop("head")
    loaded = Loaded(recipe, student, teacher or None, head, step, system_of(recipe), [])
    return _with_tokenizer(loaded, path / run.TOKENIZER)


def _imported(imported: reader.Imported) -> Loaded:
    recipe = configs.resolve(imported.config)
    # A teacher can own no part that a model of these fields does not have.
    exist = shapes_of(recipe)
    owns = tuple(part for part in recipe.model.teacher.owns if part in exist)
    taught = dataclasses.replace(recipe.model.teacher, owns=owns)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, teacher=taught))
    return Loaded(
        recipe, imported.student, imported.teacher, imported.head, 0, imported.system,
        imported.report,
    )  # fmt: skip


def shapes_of(recipe: Config) -> dict[str, Any]:
    """The tree of a whole student of this recipe, shapes instead of arrays."""
    return _init.eval_shape(recipe.model, recipe.data.example_shape, jax.random.key(0))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(model: ModelConfig, example_shape: tuple[int, ...], key: jax.Array) -> dict[str, Any]:
    return Model(model).init(key, example_shape)


def _require_whole(path: pathlib.Path, loaded: Loaded) -> None:
    """Raises unless the arrays are finite and of the shapes that the recipe speaks of."""
    expected = shapes_of(loaded.recipe)
    lacks = [part for part in OPTIONAL if part not in loaded.student]
    of_student = {part: tree for part, tree in expected.items() if part not in lacks}
    problems = _misfits(loaded.student, of_student)
    if loaded.teacher is not None:
        of_teacher = {part: expected.get(part, {}) for part in loaded.teacher}
        problems += [f"teacher: {line}" for line in _misfits(loaded.teacher, of_teacher)]
    if problems:
        raise UserError(
            f"{path}: its arrays do not fit its own recipe:\n    {_shown(problems)}\n"
            "  One of its files was changed or is of another model; fetch them again together."
        )
    for tree in (loaded.student, loaded.teacher or {}, (loaded.head or {}).get("params", {})):
        broken = [name for name, leaf in trees.leaves(tree) if not np.isfinite(leaf).all()]
        if broken:
            raise UserError(
                f"{path}: NaN or infinite numbers at step {loaded.step}, in "
                f"{', '.join(broken[:5])}{' ...' if len(broken) > 5 else ''}; training had "
                "diverged, or the file is damaged. Use an earlier checkpoint"
            )


def system_of(recipe: Config) -> str:
    """ "v1_audio" ... "v2_text": which of the six systems a recipe is."""
    version = "v2" if recipe.model.mask.hide == "remove" else "v1"
    return f"{version}_{recipe.model.modality}"


def start_from(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Student and teacher for a new run of `config` from its `init_from`, float32 NumPy.

    Raises `UserError` listing every path that does not fit. What only pretraining needs may be
    missing and starts anew; a missing teacher starts as the student. Says what was done.
    """
    loaded = read(config.init_from)
    where = f"init_from={config.init_from!r}"
    if loaded.recipe.model.modality != config.model.modality:
        raise UserError(
            f"{where} holds a model of {loaded.recipe.model.modality}, but the recipe is of "
            f"{config.model.modality}; use a recipe of its modality"
        )
    shapes, student = shapes_of(config), dict(loaded.student)
    anew = [part for part in OPTIONAL if part in shapes and part not in student]
    if anew:
        key = rng.stream(config.seed, "init")
        fresh = _init(config.model, config.data.example_shape, key)
        student |= {part: jax.device_get(fresh[part]) for part in anew}
    _require_fit(where, config.init_from, student, shapes)
    owns = config.model.teacher.owns
    if config.init_teacher == "student" or loaded.teacher is None:
        owned = jax.device_get(teachers.start(student, owns))
        taught = "the teacher starts as the student"
    else:
        # What a teacher of theirs does not average is the student's.
        owned = {part: loaded.teacher.get(part, student[part]) for part in owns}
        borrowed = [part for part in owns if part not in loaded.teacher]
        taught = f"teacher: {', '.join(owns)}" + (
            f" (from the student: {', '.join(borrowed)})" if borrowed else ""
        )
    log.info(
        "%s: %s at step %d, %s parameters of %s; %s%s%s", where, loaded.system, loaded.step,
        f"{trees.count(loaded.student):,}", ", ".join(sorted(loaded.student)), taught,
        f"; new: {', '.join(anew)}" if anew else "",
        f"; its {loaded.head['kind']} head is left behind" if loaded.head else "",
    )  # fmt: skip
    return student, owned


def _require_fit(where: str, path: str, found: Tree, expected: Tree) -> None:
    problems = _misfits(found, expected)
    if problems:
        raise UserError(
            f"{where} does not fit the recipe, nothing was loaded:\n    {_shown(problems)}\n"
            f"  To train with the sizes it has: d2v convert {path} RUN, then --config RUN."
        )


def _misfits(found: Tree, expected: Tree) -> list[str]:
    """A line for every leaf that is missing, left over or of another shape."""
    ours = {name: tuple(leaf.shape) for name, leaf in trees.leaves(expected)}
    theirs = {name: tuple(leaf.shape) for name, leaf in trees.leaves(found)}
    problems = [f"missing {name} {ours[name]}" for name in sorted(ours.keys() - theirs.keys())]
    problems += [f"left over {name} {theirs[name]}" for name in sorted(theirs.keys() - ours.keys())]
    return problems + [
        f"{name} is {theirs[name]}, the recipe expects {ours[name]}"
        for name in sorted(ours.keys() & theirs.keys()) if ours[name] != theirs[name]
    ]  # fmt: skip


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
        gaps.append(float("inf") if x.shape != y.shape else
                    float(np.abs(x - y).max(initial=0.0)))  # fmt: skip
    return max(gaps)
