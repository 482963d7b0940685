"""The door: a recipe's ConfigDict becomes frozen records once, or fails naming field and remedy."""

import dataclasses
import difflib
import importlib
import importlib.resources
import pathlib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from d2v_jax.common.checks import ConfigError, require
from d2v_jax.data.config import DATA, DataConfig
from d2v_jax.data2vec import config as d2v
from d2v_jax.train.recipe import checks


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    learning_rate: float
    schedule: str
    warmup_steps: int
    hold_steps: int
    start_share: float
    end_share: float
    adam: str
    b1: float
    b2: float
    eps: float
    weight_decay: float
    decays: str
    clip: float


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    steps: int
    batch_size: int
    micro_batches: int
    micro_views: int
    log_every: int
    checkpoint_every: int
    keep: int
    keep_best: int
    best_metric: str
    stop_after: float
    most_skipped: int


@dataclasses.dataclass(frozen=True)
class Config:
    """A resolved recipe. Beyond this door nobody sees a ConfigDict or has a default."""

    recipe: str
    seed: int
    mesh: str
    profile: str
    init_from: str
    init_teacher: str
    data: DataConfig
    model: d2v.ModelConfig
    optimizer: OptimizerConfig
    train: TrainConfig

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """First and last step to trace, of `profile`. Raises `ConfigError` where it is neither
        empty nor understood.
        """
        if not self.profile:
            return None
        found = re.fullmatch(r"steps:(\d+)\.\.(\d+)", self.profile)
        steps = (int(found[1]), int(found[2])) if found else (1, 0)
        require(
            0 < steps[0] <= steps[1],
            f"profile={self.profile!r} is not understood; write steps:FIRST..LAST, as in "
            "'steps:10..12'",
        )
        return steps


def load(spec: str, overrides: Sequence[str] = ()) -> config_dict.ConfigDict:
    """Reads a recipe: a path or the name of a shipped one, with an optional ":argument".

    `overrides` are command-line words such as "--config.train.steps=10".
    """
    path, _, argument = spec.partition(":")
    path = _recipe_path(path)
    whole = f"{path}:{argument}" if argument else path
    words = ["d2v", f"--config={whole}", *overrides]
    values = flags.FlagValues()
    # Overrides are looked up in `sys_argv`, which would otherwise be the process's own.
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    return _parsed(values, words, spec)


def edited(
    fields: Mapping[str, Any], overrides: Sequence[str], spec: str
) -> config_dict.ConfigDict:
    """The recipe of a run, as `to_fields` keeps it, with `overrides`; `spec` names it."""
    recipe = config_dict.ConfigDict(_as_recipe(fields))
    words = ["d2v", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", recipe, flag_values=values, sys_argv=words)
    return _parsed(values, words, spec)


def _as_recipe(value: Any) -> Any:
    """JSON has no tuples, and no place for a number that is not set."""
    if isinstance(value, Mapping):
        return {name: _as_recipe(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_as_recipe(inner) for inner in value)
    return config_dict.placeholder(float) if value is None else value


def _parsed(values: flags.FlagValues, words: Sequence[str], spec: str) -> config_dict.ConfigDict:
    try:
        left = values(words)[1:]
        recipe = values.config
        if not isinstance(recipe, config_dict.ConfigDict):
            raise ConfigError(
                f"{spec}: get_config returned {type(recipe).__name__}, "
                "not an ml_collections ConfigDict"
            )
    except (AttributeError, KeyError) as error:
        raise ConfigError(
            f"{error.args[0]}\n  The fields are listed in configs/base.py and in audio.py, "
            "image.py and text.py beside it."
        ) from None
    except (flags.Error, ValueError, TypeError, SyntaxError, ImportError) as error:
        raise ConfigError(f"recipe {spec}: {error}") from None
    if left:
        raise ConfigError(
            f"unexpected argument {left[0]!r}; recipe fields are set as "
            "--config.section.field=value"
        )
    return recipe


def _recipe_path(name: str) -> str:
    if pathlib.Path(name).is_file():
        return name
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


# The model reads the size of its input from where the pictures are cut.
SHARED = {"image": ("image_size", "channels"), "audio": (), "text": ()}


def resolve(recipe: Mapping[str, Any] | config_dict.ConfigDict) -> Config:
    """Checks every field and combination; accepts a ConfigDict or a plain nested dict."""
    fields = recipe.to_dict() if isinstance(recipe, config_dict.ConfigDict) else dict(recipe)
    fields = {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}
    model_parts = {f.name for f in dataclasses.fields(d2v.ModelConfig)}
    own = {f.name for f in dataclasses.fields(Config)} - {"model"}
    _same_keys("the recipe", fields, own | model_parts)
    modality = fields["modality"]
    checks.one_of(modality, tuple(d2v.FRONTENDS), "modality")
    frontend_kind, data_kind = d2v.FRONTENDS[modality], DATA[modality]
    shared = SHARED[modality]
    expected = {f.name for f in dataclasses.fields(frontend_kind)} - set(shared)
    _same_keys("frontend", fields["frontend"], expected)
    _same_keys("data", fields["data"], {f.name for f in dataclasses.fields(data_kind)})
    frontend = fields["frontend"] | {name: fields["data"][name] for name in shared}
    kinds = {"frontend": frontend_kind, "data": data_kind}
    model = {part: fields.pop(part) for part in model_parts} | {"frontend": frontend}
    config = _build(Config, fields | {"model": model}, "", kinds)
    checks.check(config)
    return config


def completed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with what they lack from the base recipe of their modality.

    For recipes that were saved before a field existed: the base value of a new field is the one
    that changes nothing.
    """
    modality = fields.get("modality")
    checks.one_of(modality, tuple(d2v.FRONTENDS), "modality")
    base = importlib.import_module(f"d2v_jax.configs.{modality}").get_config().to_dict()
    return _merged(base, fields)


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
    fields = dataclasses.asdict(config)
    fields.update(fields.pop("model"))
    for name in SHARED[config.model.modality]:
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


def _build(kind: type, fields: Mapping[str, Any], where: str, kinds: Mapping[str, type]) -> Any:
    """`kinds` says which record stands where a modality chooses."""
    hints = typing.get_type_hints(kind)
    hints |= {name: chosen for name, chosen in kinds.items() if name in hints}
    _same_keys(where or "the recipe", fields, set(hints))
    values = {}
    for name, hint in hints.items():
        path = f"{where}.{name}".lstrip(".")
        values[name] = _value(hint, fields[name], path, kinds)
    return kind(**values)


def _value(hint: Any, value: Any, path: str, kinds: Mapping[str, type]) -> Any:
    if dataclasses.is_dataclass(hint):
        require(isinstance(value, Mapping), f"{path}={value!r} must be a section of fields")
        return _build(hint, value, path.removeprefix("model."), kinds)
    path = path.removeprefix("model.")
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
        return tuple(_value(h, v, path, kinds) for h, v in zip(inner, value, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    right = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    require(right, f"{path}={value!r} must be of type {hint.__name__}")
    return value
