"""The run folder: what was asked for, by which code, and whether a new call continues it."""

import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from d2v_jax.common import fields
from d2v_jax.common.checks import UserError
from d2v_jax.common.files import write_whole
from d2v_jax.train.recipe.records import Config, sections_of
from d2v_jax.train.recipe.resolve import completed, resolve, to_fields

FILE = "config.json"
TOKENIZER = "tokenizer"  # folder with a copy of its files, where it has any
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
FREE = ("mesh", "profile")  # of the fields that belong to no section; see `common.fields`


def write_config(
    workdir: pathlib.Path,
    config: Config,
    origin: str = "pretrain",
    head: Mapping[str, Any] | None = None,
    lacks: Sequence[str] = (),
) -> None:
    """Saves the resolved recipe with commit and versions; atomically, so it is whole or absent.

    A converted checkpoint may have a `head` (its parameters lie with the student's) and may lack
    parts without which it cannot be trained on.
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    record = {
        "recipe": to_fields(config),
        "origin": origin,
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **versions},
        "head": head and {name: value for name, value in head.items() if name != "params"},
        "lacks": list(lacks),
    }
    write_whole(workdir / FILE, json.dumps(record, indent=2) + "\n")


def facts(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What all processes of one run must have in common, as JSON gives it back; `asked`: the
    recipe's nested dict, or the words that lead to one.
    """
    recipe = json.loads(json.dumps(_flat(dict(asked))))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"code": _commit(), "versions": versions, "recipe": recipe}


def read_config(workdir: pathlib.Path) -> Config:
    """The resolved recipe of a run folder."""
    return resolve(read_recipe(workdir))


def read_recipe(workdir: pathlib.Path) -> dict[str, Any]:
    """The recipe's fields, unchecked; those that did not exist yet have the value that changes
    nothing.
    """
    record = _read(workdir)
    if not isinstance(record.get("recipe"), dict):
        raise _damaged(workdir / FILE, "it has no recipe")
    return completed(record["recipe"])


def read_head(workdir: pathlib.Path) -> dict[str, Any] | None:
    """What is said of a converted checkpoint's head, without its parameters."""
    return _read(workdir).get("head")


def _read(workdir: pathlib.Path) -> dict[str, Any]:
    path = workdir / FILE
    if not workdir.is_dir():
        raise UserError(f"there is no run folder {workdir}; give the --workdir of `d2v pretrain`")
    if not path.is_file():
        raise UserError(
            f"{workdir} is not a run folder: it has no {FILE}. Give the folder that "
            "was the --workdir of `d2v pretrain` or the output of `d2v convert`"
        )
    try:
        record = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _damaged(path, repr(error)) from None
    if not isinstance(record, dict):
        raise _damaged(path, "it is no JSON object")
    return record


def _damaged(path: pathlib.Path, why: str) -> UserError:
    return UserError(
        f"{path} is damaged ({why}); restore it from a copy, or start the "
        "run anew with the same recipe in another folder"
    )


def continue_or_refuse(workdir: pathlib.Path, config: Config) -> None:
    """Raises unless `config` asks for what the run in `workdir` is already doing."""
    if lacks := _read(workdir).get("lacks"):
        raise UserError(
            f"{workdir} was converted from a checkpoint without {', '.join(lacks)} and cannot be "
            f"trained on as it is. Start a new run from it: d2v pretrain --config {workdir} "
            f"--config.init_from={workdir} --workdir NEW"
        )
    free = set(FREE)
    for section, record in sections_of(config).items():
        free |= set(fields.free(record, section))
    saved, asked = _flat(to_fields(read_config(workdir))), _flat(to_fields(config))
    differences = [
        f"    {name}: {saved.get(name)!r} there, {asked.get(name)!r} asked"
        for name in sorted(saved | asked)
        if saved.get(name) != asked.get(name) and name not in free
    ]
    if differences:
        raise UserError(
            f"{workdir} already holds a run of another recipe:\n"
            + "\n".join(differences)
            + "\n  Use another --workdir, or leave --config away to continue the run as it is."
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _commit() -> str | None:
    here = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
