"""The door: a recipe's ConfigDict becomes frozen records once, or fails naming field and remedy."""

import dataclasses
import difflib
import importlib.resources
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from d2v_jax.common.checks import ConfigError, require
from d2v_jax.data.config import DataConfig
from d2v_jax.data2vec import config as d2v
from d2v_jax.data2vec import masking


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    learning_rate: float
    warmup_steps: int
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
    log_every: int
    checkpoint_every: int
    keep: int


@dataclasses.dataclass(frozen=True)
class Config:
    """A resolved recipe. Beyond this door nobody sees a ConfigDict or has a default."""

    recipe: str
    seed: int
    data: DataConfig
    model: d2v.ModelConfig
    optimizer: OptimizerConfig
    train: TrainConfig


def load(spec: str, overrides: Sequence[str] = ()) -> config_dict.ConfigDict:
    """Reads a recipe: a path or the name of a shipped one, with an optional ":argument".

    `overrides` are command-line words such as "--config.train.steps=10".
    """
    path, _, argument = spec.partition(":")
    path = _recipe_path(path)
    words = ["d2v", f"--config={path}:{argument}" if argument else f"--config={path}", *overrides]
    values = flags.FlagValues()
    # Overrides are looked up in `sys_argv`, which would otherwise be the process's own.
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    try:
        left = values(words)[1:]
        recipe = values.config
        if not isinstance(recipe, config_dict.ConfigDict):
            raise ConfigError(
                f"{path}: get_config returned {type(recipe).__name__}, "
                "not an ml_collections ConfigDict"
            )
    except (AttributeError, KeyError) as error:
        raise ConfigError(
            f"{error.args[0]}\n  The fields are listed in configs/image.py."
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


def resolve(recipe: Mapping[str, Any] | config_dict.ConfigDict) -> Config:
    """Checks every field and combination; accepts a ConfigDict or a plain nested dict."""
    fields = recipe.to_dict() if isinstance(recipe, config_dict.ConfigDict) else dict(recipe)
    fields = {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}
    model_parts = {f.name for f in dataclasses.fields(d2v.ModelConfig)}
    own = {f.name for f in dataclasses.fields(Config)} - {"model"}
    _same_keys("the recipe", fields, own | model_parts)
    # The model reads the size of its input from where the pictures are cut.
    frontend_fields = {"patch_size", "normalize", "mean", "std"}
    _same_keys("frontend", fields["frontend"], frontend_fields)
    _same_keys("data", fields["data"], {f.name for f in dataclasses.fields(DataConfig)})
    frontend = fields["frontend"] | {k: fields["data"][k] for k in ("image_size", "channels")}
    model = {part: fields.pop(part) for part in model_parts} | {"frontend": frontend}
    config = _build(Config, fields | {"model": model}, "")
    check(config)
    return config


def to_fields(config: Config) -> dict[str, Any]:
    """The recipe's nested dict, as `resolve` takes it and `config.json` keeps it."""
    fields = dataclasses.asdict(config)
    fields.update(fields.pop("model"))
    for name in ("image_size", "channels"):
        del fields["frontend"][name]
    return fields


def _same_keys(where: str, fields: Mapping[str, Any], expected: set[str]) -> None:
    for name in fields:
        if name not in expected:
            close = difflib.get_close_matches(name, expected, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{where} has no field {name!r}{hint}")
    missing = sorted(expected - set(fields))
    require(not missing, f"{where} lacks {', '.join(missing)}; start from configs/image.py")


def _build(kind: type, fields: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    _same_keys(where or "the recipe", fields, set(hints))
    values = {}
    for name, hint in hints.items():
        path = f"{where}.{name}".lstrip(".")
        values[name] = _value(hint, fields[name], path)
    return kind(**values)


def _value(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        require(isinstance(value, Mapping), f"{path}={value!r} must be a section of fields")
        return _build(hint, value, path.removeprefix("model."))
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
        return tuple(_value(h, v, path) for h, v in zip(inner, value, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    right = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    require(right, f"{path}={value!r} must be of type {hint.__name__}")
    return value


def check(config: Config) -> None:
    """Raises `ConfigError` for values and combinations that cannot work."""
    data, model, opt, train = config.data, config.model, config.optimizer, config.train
    frontend, trunk, mask, decoder = model.frontend, model.trunk, model.mask, model.decoder
    one_of(model.modality, ("image",), "modality")
    one_of(frontend.normalize, ("dataset", "crop"), "frontend.normalize")
    one_of(trunk.dtype, ("float32", "bfloat16"), "trunk.dtype")
    one_of(mask.kind, ("inverse_blocks",), "mask.kind")
    one_of(model.targets.site, ("ffn", "block"), "targets.site")
    one_of(opt.decays, ("all", "matrices"), "optimizer.decays")
    for norm in (*model.targets.layer_norms, *model.targets.final_norms):
        one_of(norm, ("instance", "layer"), "targets norms")

    positive = {
        "data.image_size": data.image_size, "frontend.patch_size": frontend.patch_size,
        "data.threads": data.threads, "trunk.width": trunk.width, "trunk.heads": trunk.heads,
        "trunk.depth": trunk.depth, "trunk.mlp_ratio": trunk.mlp_ratio,
        "trunk.norm_eps": trunk.norm_eps, "mask.block": mask.block, "mask.views": mask.views,
        "decoder.width": decoder.width, "decoder.groups": decoder.groups,
        "decoder.layers": decoder.layers, "targets.layers": model.targets.layers,
        "optimizer.learning_rate": opt.learning_rate, "optimizer.clip": opt.clip,
        "train.steps": train.steps, "train.batch_size": train.batch_size,
        "train.log_every": train.log_every, "train.checkpoint_every": train.checkpoint_every,
        "train.keep": train.keep,
    }  # fmt: skip
    for name, value in positive.items():
        require(value > 0, f"{name}={value} must be positive")
    for name, value in {
        "data.workers": data.workers, "trunk.prenet_depth": trunk.prenet_depth,
        "trunk.prefix_tokens": trunk.prefix_tokens, "decoder.noise_std": decoder.noise_std,
        "loss.beta": model.loss.beta, "loss.cls_weight": model.loss.cls_weight,
        "teacher.decay_steps": model.teacher.decay_steps, "optimizer.eps": opt.eps,
        "optimizer.weight_decay": opt.weight_decay, "optimizer.warmup_steps": opt.warmup_steps,
    }.items():  # fmt: skip
        require(value >= 0, f"{name}={value} must not be negative")
    for name, value in {
        "data.flip": data.flip, "data.max_bad_share": data.max_bad_share,
        "teacher.decay_start": model.teacher.decay_start,
        "teacher.decay_end": model.teacher.decay_end,
    }.items():  # fmt: skip
        require(0 <= value <= 1, f"{name}={value} must lie between 0 and 1")
    for name, value in {"optimizer.b1": opt.b1, "optimizer.b2": opt.b2}.items():
        require(0 <= value < 1, f"{name}={value} must lie in [0, 1)")
    require(0 <= config.seed < 2**32, f"seed={config.seed} must lie between 0 and 2**32 - 1")
    require(
        0 < data.crop_scale[0] <= data.crop_scale[1] <= 1,
        f"data.crop_scale={data.crop_scale} must be two ascending shares of the area in (0, 1]",
    )
    require(
        0 < data.crop_ratio[0] <= data.crop_ratio[1],
        f"data.crop_ratio={data.crop_ratio} must be two ascending positive ratios",
    )
    require(data.channels in (1, 3), f"data.channels={data.channels} must be 1 (grey) or 3 (RGB)")

    require(
        data.image_size % frontend.patch_size == 0,
        f"data.image_size={data.image_size} is not a multiple of "
        f"frontend.patch_size={frontend.patch_size}",
    )
    for name, values in {"mean": frontend.mean, "std": frontend.std}.items():
        require(
            frontend.normalize != "dataset" or len(values) == data.channels,
            f"frontend.{name}={values} must have data.channels={data.channels} entries",
        )
    require(all(s > 0 for s in frontend.std), f"frontend.std={frontend.std} must be positive")
    require(
        trunk.width % trunk.heads == 0,
        f"trunk.width={trunk.width} is not a multiple of trunk.heads={trunk.heads}",
    )
    require(
        trunk.width % 4 == 0,
        f"trunk.width={trunk.width} is not a multiple of 4, as sin-cos positions need",
    )
    require(
        model.targets.layers <= trunk.depth,
        f"targets.layers={model.targets.layers} exceeds trunk.depth={trunk.depth}",
    )
    require(
        decoder.kernel % 2 == 1 and decoder.kernel > 0,
        f"decoder.kernel={decoder.kernel} must be odd, so that the grid keeps its size",
    )
    for name, width in {"trunk.width": trunk.width, "decoder.width": decoder.width}.items():
        require(
            width % decoder.groups == 0,
            f"{name}={width} is not a multiple of decoder.groups={decoder.groups}",
        )
    require(
        mask.block <= frontend.grid,
        f"mask.block={mask.block} is larger than the {frontend.grid} x {frontend.grid} grid "
        "of patches; lower it or raise data.image_size / frontend.patch_size",
    )
    require(0 < mask.share < 1, f"mask.share={mask.share} must lie between 0 and 1")
    masking.visible_count(mask, frontend.grid**2)
    masking.block_count(mask, frontend.grid**2)
    require(
        model.loss.scale is None or model.loss.scale > 0,
        f"loss.scale={model.loss.scale} must be positive, or unset for 1/sqrt(width)",
    )
    require(
        model.loss.cls_weight == 0 or trunk.prefix_tokens > 0,
        f"loss.cls_weight={model.loss.cls_weight} needs trunk.prefix_tokens >= 1",
    )
    parts = ("frontend", "prefix", "prenet", "trunk")
    for part in model.teacher.owns:
        one_of(part, parts, "teacher.owns")
    require(
        "trunk" in model.teacher.owns,
        f"teacher.owns={model.teacher.owns} must include 'trunk', whose layers are the targets",
    )
    require(
        opt.warmup_steps <= train.steps,
        f"optimizer.warmup_steps={opt.warmup_steps} exceeds train.steps={train.steps}",
    )


def one_of(value: str, known: tuple[str, ...], field: str) -> None:
    """Raises unless `value` is one of the named alternatives."""
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{field}={value!r} is not one of {', '.join(map(repr, known))}{hint}")
