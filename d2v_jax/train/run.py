"""The run folder: what was asked for, by which code, and whether a new call continues it."""

import functools
import importlib.metadata
import json
import logging
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from d2v_jax.common import fields, settings
from d2v_jax.common.checks import UserError
from d2v_jax.common.files import write_whole
from d2v_jax.train import checkpoint
from d2v_jax.train.recipe.records import Config, sections_of
from d2v_jax.train.recipe.resolve import completed, resolve, to_fields

log = logging.getLogger("d2v")

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
        "settings": settings.noted(),
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
    """The recipe's fields; those that did not exist yet have the value that changes nothing.

    What was learnt with counts: where `FILE` says something else than the newest checkpoint about
    a field that is not free, that is named and left out.
    """
    record = _read(workdir)
    if not isinstance(record.get("recipe"), dict):
        raise _damaged(workdir / FILE, "it has no recipe")
    written = completed(record["recipe"])
    saved = checkpoint.saved_recipe(workdir)
    if saved is None:
        return written
    step, learnt = saved[0], completed(saved[1])
    if not (differences := _differences(learnt, written)):
        return written
    said = "; ".join(f"{name} is {there}, not {here}" for name, there, here in differences)
    _say_once(
        f"{workdir / FILE} was changed, and its newest checkpoint counts (step {step}): {said}"
    )
    names = {name for name, *_ in differences}
    return _with(written, learnt, names)


@functools.cache
def _say_once(words: str) -> None:
    log.warning("%s", words)


def _with(fields: Mapping[str, Any], others: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """`fields`, of which those of these dotted `names` are as in `others`."""
    flat, other = _flat(dict(fields)), _flat(dict(others))
    kept = {name: value for name, value in flat.items() if name not in names}
    kept |= {name: other[name] for name in names if name in other}
    nested: dict[str, Any] = {}
    for name, value in kept.items():
        *sections, last = name.split(".")
        holder = nested
        for section in sections:
            holder = holder.setdefault(section, {})
        holder[last] = value
    for name, value in fields.items():  # sections without fields
        if isinstance(value, Mapping):
            nested.setdefault(name, {})
    return nested


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name and both values of each field that may not differ, and does; `ours` must be sound."""
    free = set(FREE)
    for section, record in sections_of(resolve(ours)).items():
        free |= set(fields.free(record, section))
    left, right = (_flat(json.loads(json.dumps(dict(one)))) for one in (ours, theirs))
    return [
        (name, left.get(name), right.get(name))
        for name in sorted(left | right)
        if left.get(name) != right.get(name) and name not in free
    ]


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
        raise _damaged(path, str(error)) from None
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
    differences = [
        f"{name}: {there!r} there, {asked!r} asked"
        for name, there, asked in _differences(to_fields(read_config(workdir)), to_fields(config))
    ]
    if differences:
        raise UserError(
            f"{workdir} already holds a run of another recipe ({'; '.join(differences)}); use "
            "another --workdir, or leave --config away to continue the run as it is"
        )
    _compare_settings(workdir)


def _compare_settings(workdir: pathlib.Path) -> None:
    before, now = _read(workdir).get("settings"), settings.noted()
    if not isinstance(before, dict):  # of a run that is older than this record
        return
    changed = [
        f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"
        for name in sorted(before | now)
        if before.get(name) != now.get(name)
    ]
    if changed:
        log.warning(
            "%s was begun with other settings, which change the last digits of its numbers: %s",
            workdir,
            "; ".join(changed),
        )


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


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
