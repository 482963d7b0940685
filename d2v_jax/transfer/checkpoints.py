"""Anyone's checkpoint, by its path: ours, the originals', Hugging Face's."""

import dataclasses
import json
import logging
import pathlib
from typing import Any

import jax
import numpy as np

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.data2vec import teacher as teachers
from d2v_jax.interop import fairseq, hf_read, safetensors_io
from d2v_jax.train import checkpoint, run, state
from d2v_jax.train import config as configs
from d2v_jax.train.config import Config

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
    if not path.exists():
        raise UserError(
            f"there is no {path}; give a run folder, a folder with config.json and "
            "model.safetensors, or a checkpoint file (.pt, .pth)"
        )
    if path.is_file():
        if path.suffix == ".safetensors" or path.name == run.FILE:
            raise UserError(f"{path} is part of a checkpoint; give the folder {path.parent}")
        return _imported(fairseq.read_fairseq(path))
    if (path / checkpoint.FOLDER).is_dir():
        return _run(path)
    if not (path / run.FILE).is_file():
        raise UserError(
            f"{path} holds neither {run.FILE} nor {checkpoint.FOLDER}/; give a run folder, a "
            "folder with config.json and model.safetensors, or a checkpoint file (.pt, .pth)"
        )
    if _format(path) == safetensors_io.FORMAT:
        saved = safetensors_io.load(path)
        recipe = configs.resolve(saved.config["recipe"])
        return Loaded(recipe, saved.student, saved.teacher, saved.head,
                      saved.config.get("step", 0), system_of(recipe), [])  # fmt: skip
    return _imported(hf_read.read_hf(path))


def _format(path: pathlib.Path) -> Any:
    try:
        content = json.loads((path / run.FILE).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path / run.FILE} cannot be read as JSON: {error}") from None
    return content.get("format") if isinstance(content, dict) else None


def _run(path: pathlib.Path) -> Loaded:
    recipe = run.read_config(path)
    step, student, teacher = checkpoint.load_trees(path)
    head = run.read_head(path)
    if head is not None:
        head["params"] = student.pop("head")
    return Loaded(recipe, student, teacher or None, head, step, system_of(recipe), [])


def _imported(imported: fairseq.Imported) -> Loaded:
    return Loaded(
        configs.resolve(imported.config), imported.student, imported.teacher, imported.head, 0,
        imported.system, imported.report,
    )  # fmt: skip


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
    create = lambda: state.create(config).student
    shapes, student = jax.eval_shape(create), dict(loaded.student)
    anew = [part for part in OPTIONAL if part in shapes and part not in student]
    if anew:
        fresh = jax.jit(create)()
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
    ours = {name: tuple(leaf.shape) for name, leaf in trees.leaves(expected)}
    theirs = {name: tuple(leaf.shape) for name, leaf in trees.leaves(found)}
    problems = [f"missing {name} {ours[name]}" for name in sorted(ours.keys() - theirs.keys())]
    problems += [f"left over {name} {theirs[name]}" for name in sorted(theirs.keys() - ours.keys())]
    problems += [
        f"{name} is {theirs[name]}, the recipe expects {ours[name]}"
        for name in sorted(ours.keys() & theirs.keys()) if ours[name] != theirs[name]
    ]  # fmt: skip
    if problems:
        shown = "\n    ".join(problems[:SHOWN])
        more = f"\n    and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UserError(
            f"{where} does not fit the recipe, nothing was loaded:\n    {shown}{more}\n"
            f"  To train with the sizes it has: d2v convert {path} RUN, then --config RUN."
        )


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
