"""The door: a recipe's ConfigDict becomes frozen records once, or fails naming field and remedy."""

import dataclasses
import difflib
import functools
import importlib
import importlib.resources
import pathlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from d2v_jax.common.checks import ConfigError, require
from d2v_jax.common.names import place
from d2v_jax.data.modality import data_class
from d2v_jax.encoder import objective as objectives
from d2v_jax.encoder.objective import Objective, objective_class
from d2v_jax.frontends import frontend
from d2v_jax.frontends.frontend import frontend_class
from d2v_jax.train.recipe import checks
from d2v_jax.train.recipe.records import (
    Config,
    EvalConfig,
    OptimizerConfig,
    TrainConfig,
    sections_of,
)


def load(spec: str, overrides: Sequence[str] = ()) -> config_dict.ConfigDict:
    """Reads a recipe: a path or the name of a shipped one, with an optional ":argument".

    `overrides` are command-line words such as "--config.train.steps=10".
    """
    path, _, argument = spec.partition(":")
    path = _recipe_path(path)
    whole = f"{path}:{argument}" if argument else path
    words = ["d2v", f"--config={whole}", *overrides]
    define = functools.partial(config_flags.DEFINE_config_file, "config")
    return _parsed(define, words, spec)


def edited(
    fields: Mapping[str, Any], overrides: Sequence[str], spec: str
) -> config_dict.ConfigDict:
    """The recipe of a run, as `to_fields` keeps it, with `overrides`; `spec` names it."""
    try:
        recipe = config_dict.ConfigDict(_as_recipe(fields))
    except ValueError as error:  # a name with a dot in it
        raise ConfigError(f"recipe {spec}: {_said(error)}") from None
    define = functools.partial(config_flags.DEFINE_config_dict, "config", recipe)
    return _parsed(define, ["d2v", *overrides], spec)


def _as_recipe(value: Any) -> Any:
    """JSON has no tuples, and no place for a number that is not set."""
    if isinstance(value, Mapping):
        return {name: _as_recipe(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_as_recipe(inner) for inner in value)
    return config_dict.placeholder(float) if value is None else value


def _parsed(define: Callable[..., Any], words: Sequence[str], spec: str) -> config_dict.ConfigDict:
    values = flags.FlagValues()
    try:
        # Overrides are looked up in `sys_argv`, which would otherwise be the process's own.
        define(flag_values=values, sys_argv=words)
        left = values(words)[1:]
        recipe = values.config
        if not isinstance(recipe, config_dict.ConfigDict):
            raise ConfigError(
                f"{spec}: get_config returned {type(recipe).__name__}, "
                "not an ml_collections ConfigDict"
            )
    except ConfigError:
        raise
    except (AttributeError, KeyError) as error:
        if getattr(error, "name", None) == "get_config":
            raise ConfigError(f"recipe {spec}: the file has no function get_config") from None
        said = _said(error).rpartition("Attempting to lookup: ")[2].replace(" Did", ". Did")
        end = "" if said.endswith("?") else "."
        raise ConfigError(
            f"recipe {spec} has no field {said}{end} The fields are listed in "
            "configs/base.py and in audio.py, image.py and text.py beside it"
        ) from None
    except (flags.Error, ValueError, TypeError, SyntaxError, ImportError) as error:
        said = _said(error)
        if said.startswith("string indices"):
            given = ", ".join(word for word in words if word.startswith("--config."))
            said = f"a field is set of one that is a word and no section: {given}"
        raise ConfigError(f"recipe {spec}: {said}") from None
    except Exception as error:  # whatever the file of a stranger raises
        raise ConfigError(f"recipe {spec}: {type(error).__name__}: {_said(error)}") from None
    if left:
        raise ConfigError(
            f"unexpected argument {left[0]!r}; recipe fields are set as "
            "--config.section.field=value"
        )
    return recipe


def _said(error: BaseException) -> str:
    """The words of an error in one line; of one that wraps another, that one's."""
    while "Traceback (most recent" in str(error) and error.__context__:
        error = error.__context__
    words: Any = error
    while isinstance(words, KeyError | AttributeError) and words.args:
        words = words.args[0]  # its own `str` would be a repr
    return " ".join(str(words).split()) or type(error).__name__


def _recipe_path(name: str) -> str:
    if place(name).is_file():
        return str(place(name))
    shipped = pathlib.Path(str(importlib.resources.files("d2v_jax.configs")))
    recipes = sorted(p.stem for p in shipped.glob("*_*.py") if not p.stem.startswith("_"))
    stem = pathlib.Path(name).stem
    if stem in recipes:
        return str(shipped / f"{stem}.py")
    close = difflib.get_close_matches(stem, recipes, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(
        f"there is no recipe {name!r}: {hint}Give the path of a file or one of {', '.join(recipes)}"
    )


SCALARS = {
    "recipe": str,
    "modality": str,
    "objective": str,
    "seed": int,
    "mesh": str,
    "profile": str,
    "init_from": str,
}
LARGEST = 2.0**128  # from where on float32 has infinity
# Sections that the engine reads, whatever is learnt.
ENGINE = {"optimizer": OptimizerConfig, "eval": EvalConfig, "train": TrainConfig}
# Fields of older runs and where they are today.
MOVED = {"init_teacher": "teacher.starts_as", "train.micro_views": "mask.micro_views"}


def resolve(recipe: Mapping[str, Any] | config_dict.ConfigDict) -> Config:
    """Checks every field and combination; accepts a ConfigDict or a plain nested dict."""
    fields = recipe.to_dict() if isinstance(recipe, config_dict.ConfigDict) else dict(recipe)
    named = {"modality": "audio", "objective": "data2vec"}
    for name, example in named.items():
        require(isinstance(fields.get(name), str), f"the recipe lacks {name}, such as {example!r}")
    objective = objective_class(fields["objective"])
    require(
        fields["objective"] not in objectives.SUPERVISED or "depth" in (fields.get("trunk") or {}),
        f"{fields.get('recipe') or 'the recipe'} takes its encoder from a checkpoint: d2v finetune "
        "--config RECIPE --config.init_from=CHECKPOINT",
    )
    kinds = _sections(objective, fields["modality"])
    _same_keys("the recipe", fields, {*SCALARS, *kinds})
    for name in kinds:
        section = fields[name]
        require(isinstance(section, Mapping), f"{name}={section!r} must be a section of fields")
    fields["frontend"] = dict(fields["frontend"])
    for name in _shared(kinds["frontend"], kinds["data"]):
        if name in fields["frontend"]:
            raise ConfigError(f"frontend has no field {name!r}; set data.{name}")
        fields["frontend"][name] = fields["data"].get(name)
    sections = {name: _build(kind, fields[name], name) for name, kind in kinds.items()}
    scalars = {name: _value(kind, fields[name], name) for name, kind in SCALARS.items()}
    scalars["objective_name"] = scalars.pop("objective")
    own = {name: sections.pop(name) for name in ("data", *ENGINE)}
    config = Config(**scalars, **own, objective=objective(objective.sections(**sections)))
    checks.check(config)
    return config


def _sections(objective: type[Objective], modality: str) -> dict[str, type]:
    """The record of each section of a recipe; the modality brings those of data and frontend."""
    kinds = {"data": data_class(modality), **ENGINE}
    kinds |= typing.get_type_hints(objective.sections)
    return kinds | {"frontend": frontend_class(modality)}


def _shared(frontend: type, data: type) -> list[str]:
    """Fields of a frontend that stand in the section of the data, such as the size of a crop."""
    there = {field.name for field in dataclasses.fields(data)}
    return [field.name for field in dataclasses.fields(frontend) if field.name in there]


def completed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with what they lack from the base recipe of their modality and objective.

    For recipes that were saved before a field existed: the base value of a new field is the one
    that changes nothing. Recipes of others' modalities and objectives stay as they are.
    """
    fields = _moved({"objective": "data2vec", **fields})
    known = objectives.OURS | objectives.SIBLINGS
    if fields.get("modality") not in frontend.OURS or fields["objective"] not in known:
        return fields
    base = importlib.import_module(f"d2v_jax.configs.{fields['modality']}")
    if fields["objective"] in objectives.SUPERVISED:
        supervised = importlib.import_module("d2v_jax.configs.supervised")
        return _merged(_as_objective(base, supervised, fields["objective"]), fields)
    if fields["objective"] in objectives.SIBLINGS:
        return _merged(_as_sibling(base, fields["objective"]), fields)
    return _merged(base.get_config().to_dict(), fields)


def _as_sibling(modality: types.ModuleType, objective: str) -> dict[str, Any]:
    """The base of its modality, with the sections of this objective instead of data2vec's."""
    whole = modality.get_config().to_dict()
    name = objective.replace("_", "")  # with an underscore it would be a recipe
    own = importlib.import_module(f"d2v_jax.configs.{name}").get_config().to_dict()
    return {name: whole.get(name, value) for name, value in own.items()}


def _as_objective(
    modality: types.ModuleType, supervised: types.ModuleType, objective: str
) -> dict[str, Any]:
    """The base of recipes with labels, with the encoder of its modality's base."""
    whole = modality.get_config().to_dict()
    base = supervised.get_config(modality).to_dict()
    return base | {name: whole[name] for name in supervised.OF_THE_CHECKPOINT}


def _moved(fields: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: dict(v) if isinstance(v, Mapping) else v for name, v in fields.items()}
    for old, new in MOVED.items():
        *section, name = old.split(".")
        holder = fields.get(section[0], {}) if section else fields
        if isinstance(holder, Mapping) and name in holder:
            section, renamed = new.split(".")
            fields.setdefault(section, {})[renamed] = holder.pop(name)
    return fields


def _merged(base: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(fields)
    for name, value in base.items():
        if isinstance(value, Mapping) and isinstance(fields.get(name), Mapping):
            both[name] = _merged(value, fields[name])
        else:
            both.setdefault(name, value)
    return both


def to_fields(config: Config) -> dict[str, Any]:
    """The recipe's nested dict, as `resolve` takes it and `config.json` keeps it."""
    fields = {name: getattr(config, name) for name in SCALARS if name != "objective"}
    fields["objective"] = config.objective_name
    fields |= {name: dataclasses.asdict(record) for name, record in sections_of(config).items()}
    sections = sections_of(config)
    for name in _shared(type(sections["frontend"]), type(sections["data"])):
        del fields["frontend"][name]
    return fields


def _same_keys(where: str, fields: Mapping[str, Any], expected: set[str]) -> None:
    for name in fields:
        if name not in expected:
            close = difflib.get_close_matches(name, expected, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{where} has no field {name!r}{hint}")
    missing = sorted(expected - set(fields))
    require(not missing, f"{where} lacks {', '.join(missing)}; start from configs/base.py")


def _build(kind: type, fields: Any, where: str) -> Any:
    require(isinstance(fields, Mapping), f"{where}={fields!r} must be a section of fields")
    hints = typing.get_type_hints(kind)
    hints = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    _same_keys(where, fields, set(hints))
    return kind(
        **{name: _value(hint, fields[name], f"{where}.{name}") for name, hint in hints.items()}
    )


def _value(hint: Any, value: Any, path: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is tuple:
        require(isinstance(value, (tuple, list)), f"{path}={value!r} must be a tuple")
        inner = typing.get_args(hint)
        if inner[-1] is Ellipsis:
            inner = (inner[0],) * len(value)
        require(len(inner) == len(value), f"{path}={value!r} must have {len(inner)} entries")
        return tuple(_value(h, v, path) for h, v in zip(inner, value, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        require(abs(value) < LARGEST, f"{path}={value} is too large a number")
        value = float(value)
    right = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    require(right, f"{path}={value!r} must be of type {hint.__name__}")
    if hint is float:
        require(abs(value) < LARGEST, f"{path}={value} must be a finite number in float32")
    return value
