"""What a recipe may ask for: every value and combination that cannot work is named here."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from d2v_jax.common import schedules
from d2v_jax.common.checks import ConfigError, require
from d2v_jax.data2vec.model import Model
from d2v_jax.encoder import masking
from d2v_jax.nn import initializers
from d2v_jax.nn.trunk import REMAT
from d2v_jax.train.machine import mesh
from d2v_jax.train.recipe import data_checks

if TYPE_CHECKING:
    from d2v_jax.train.recipe.resolve import Config

NAMED = {
    "frontend.normalize": ("dataset", "crop"),
    "data.resize": ("exact", "fast"),
    "data.blocks": ("contiguous", "documents"),
    "frontend.positions": ("learned", "none"),
    "positions.add": ("sincos", "conv", "none"),
    "positions.bias": ("alibi", "relative", "relative_per_block", "none"),
    "positions.zero_padding": ("each_layer", "input", "never"),
    "trunk.block": ("post_norm", "pre_norm"),
    "trunk.init": tuple(initializers.NAMED),
    "trunk.remat": tuple(REMAT),
    "trunk.dtype": ("float32", "bfloat16"),
    "mask.hide": ("remove", "replace", "input"),
    "mask.kind": masking.KINDS,
    "decoder.init": ("torch", *initializers.NAMED),
    "targets.site": ("ffn", "block"),
    "teacher.sees": ("tokens", "inputs", "hidden"),
    "optimizer.schedule": schedules.SHAPES,
    "optimizer.adam": ("fairseq", "torch"),
    "optimizer.decays": ("all", "matrices"),
}
POSITIVE = """
    data.image_size data.samples data.tokens data.threads data.temperature
    frontend.patch_size frontend.norm_eps frontend.vocab_size frontend.max_tokens
    positions.conv_layers positions.conv_kernel positions.conv_groups
    trunk.width trunk.heads trunk.depth trunk.mlp_ratio trunk.norm_eps
    mask.block mask.neighbours mask.views decoder.width decoder.groups
    optimizer.learning_rate train.steps train.batch_size train.micro_batches train.micro_views
    train.log_every
    train.checkpoint_every train.keep train.most_skipped
""".split()
NOT_NEGATIVE = """
    data.workers data.min_samples data.jitter frontend.pad_id frontend.mask_id
    trunk.prenet_depth trunk.prefix_tokens trunk.layer_scale decoder.layers decoder.noise_std
    loss.beta loss.cls_weight teacher.decay_steps optimizer.eps optimizer.weight_decay
    optimizer.warmup_steps optimizer.hold_steps optimizer.clip
    train.keep_best train.stop_after
""".split()
SHARES = """
    data.flip data.max_bad_share teacher.decay_start teacher.decay_end optimizer.start_share
    optimizer.end_share
""".split()
BELOW_ONE = """
    frontend.dropout trunk.input_dropout trunk.dropout trunk.attention_dropout trunk.drop_path
    trunk.layer_drop decoder.input_dropout optimizer.b1 optimizer.b2
""".split()
PARTS = ("frontend", "positions", "mask", "prefix", "prenet", "trunk", "decoder")


def check(config: Config) -> None:
    """Raises `ConfigError` for values and combinations that cannot work."""
    fields = _fields(config)
    for name in fields:
        _single(name, fields[name])
    one_of(config.init_teacher, ("checkpoint", "student"), "init_teacher")
    require(0 <= config.seed < 2**32, f"seed={config.seed} must lie between 0 and 2**32 - 1")
    _ = config.profiled_steps, mesh.parse(config.mesh)  # these raise where they are no such thing
    data_checks.check(fields)
    _trunk(config)
    _masks(config)
    _decoder(config)
    _targets(config)
    opt, train = config.optimizer, config.train
    busy = opt.warmup_steps + opt.hold_steps
    require(
        busy <= train.steps,
        f"optimizer.warmup_steps={opt.warmup_steps} and optimizer.hold_steps={opt.hold_steps} "
        f"exceed train.steps={train.steps}",
    )
    require(
        opt.schedule != "exponential" or opt.end_share > 0,
        "optimizer.schedule='exponential' never reaches 0; set optimizer.end_share, such as 0.01",
    )
    divides("mask.views", config.model.mask.views, "train.micro_views", train.micro_views)
    data_checks.check_batches(config.data, train.batch_size, train.micro_batches)


def _fields(config: Config) -> dict:
    sections = {
        "data": config.data, "optimizer": config.optimizer, "train": config.train,
        **{name: value for name, value in vars(config.model).items() if name != "modality"},
    }  # fmt: skip
    return {f"{section}.{name}": value for section, record in sections.items()
            for name, value in vars(record).items()}  # fmt: skip


def _single(name: str, value) -> None:
    if name in NAMED:
        one_of(value, NAMED[name], name)
    if name in POSITIVE:
        require(value > 0, f"{name}={value} must be positive")
    if name in NOT_NEGATIVE:
        require(value >= 0, f"{name}={value} must not be negative")
    if name in SHARES:
        require(0 <= value <= 1, f"{name}={value} must lie between 0 and 1")
    if name in BELOW_ONE:
        require(0 <= value < 1, f"{name}={value} must lie in [0, 1)")


def _trunk(config: Config) -> None:
    trunk, place, front = config.model.trunk, config.model.positions, config.model.frontend
    require(
        trunk.width % trunk.heads == 0,
        f"trunk.width={trunk.width} is not a multiple of trunk.heads={trunk.heads}",
    )
    grid_needed = place.add == "sincos" or place.bias.startswith("relative")
    require(
        front.grid is not None or not grid_needed,
        f"positions.add={place.add!r}, positions.bias={place.bias!r}: 2-D positions need images",
    )
    require(
        place.add != "sincos" or trunk.width % 4 == 0,
        f"trunk.width={trunk.width} is not a multiple of 4, as sin-cos positions need",
    )
    require(
        not place.bias.startswith("relative") or trunk.prefix_tokens == 1,
        f"positions.bias={place.bias!r} needs trunk.prefix_tokens=1 (cls), not "
        f"{trunk.prefix_tokens}",
    )
    if place.add == "conv":
        divides("trunk.width", trunk.width, "positions.conv_groups", place.conv_groups)


def _masks(config: Config) -> None:
    mask, model = config.model.mask, Model(config.model)
    require(0 < mask.share < 1, f"mask.share={mask.share} must lie between 0 and 1")
    require(
        mask.hide != "remove" or mask.kind in masking.EXACT,
        f"mask.kind={mask.kind!r} hides a varying number of tokens; mask.hide='remove' needs one "
        f"of {', '.join(masking.EXACT)}",
    )
    require(
        mask.hide == "remove" or mask.views == 1,
        f"mask.views={mask.views}: more than one view needs mask.hide='remove'",
    )
    text = hasattr(config.model.frontend, "mask_id")
    require(
        mask.hide != "input" or text,
        f"mask.hide='input' replaces ids and needs text, not {config.model.modality}",
    )
    require(
        config.model.teacher.sees != "hidden" or text,
        f"teacher.sees='hidden' pads ids and needs text, not {config.model.modality}",
    )
    require(
        mask.hide != "input" or config.model.teacher.sees != "tokens",
        "teacher.sees='tokens' would show the teacher `<mask>`; with mask.hide='input' it must "
        "be 'inputs' or 'hidden'",
    )
    if mask.kind in ("inverse_blocks", "beit"):
        grid = config.model.frontend.grid
        require(grid is not None, f"mask.kind={mask.kind!r} draws on a grid and needs images")
        least = mask.block if mask.kind == "inverse_blocks" else mask.block**0.5
        require(
            least <= grid,
            f"mask.block={mask.block} is larger than the {grid} x {grid} grid "
            "of patches; lower it or raise data.image_size / frontend.patch_size",
        )
    for shape in config.data.example_shapes:
        tokens = model.token_count(shape)
        require(tokens > 1, f"examples of shape {shape} become {tokens} tokens; use longer ones")
        masking.hidden_most(mask, tokens)
        if mask.kind in ("blocks", "inverse_blocks"):
            masking.block_count(mask, tokens)


def _decoder(config: Config) -> None:
    decoder, trunk = config.model.decoder, config.model.trunk
    if decoder.layers:
        require(decoder.kernel > 0, f"decoder.kernel={decoder.kernel} must be positive")
        divides("trunk.width", trunk.width, "decoder.groups", decoder.groups)
        divides("decoder.width", decoder.width, "decoder.groups", decoder.groups)
    require(
        all(width > 0 for width in decoder.hidden),
        f"decoder.hidden={decoder.hidden} must be positive widths",
    )


def _targets(config: Config) -> None:
    targets, trunk, teacher = config.model.targets, config.model.trunk, config.model.teacher
    blocks = targets.blocks
    require(
        len(blocks) > 0 and len(set(blocks)) == len(blocks)
        and all(0 <= block < trunk.depth for block in blocks),
        f"targets.blocks={blocks} must be different numbers from 0 to trunk.depth - 1 = "
        f"{trunk.depth - 1}",
    )  # fmt: skip
    for norm in (*targets.layer_norms, *targets.final_norms):
        one_of(norm, ("instance", "layer"), "targets norms")
    scale, cls = config.model.loss.scale, config.model.loss.cls_weight
    require(
        scale is None or scale > 0,
        f"loss.scale={scale} must be positive, or unset for 1/sqrt(width)",
    )
    require(
        cls == 0 or trunk.prefix_tokens > 0,
        f"loss.cls_weight={cls} needs trunk.prefix_tokens >= 1",
    )
    for part in teacher.owns:
        one_of(part, PARTS, "teacher.owns")
    require(
        "trunk" in teacher.owns,
        f"teacher.owns={teacher.owns} must include 'trunk', whose layers are the targets",
    )
    require(
        "frontend" not in teacher.owns or teacher.sees != "tokens",
        f"teacher.owns={teacher.owns} has a frontend that teacher.sees='tokens' never uses; "
        "set teacher.sees='inputs' or leave 'frontend' out",
    )


def divides(name: str, value: int, group_name: str, groups: int) -> None:
    """Raises unless `value` is a multiple of `groups`."""
    require(value % groups == 0, f"{name}={value} is not a multiple of {group_name}={groups}")


def one_of(value: str, known: tuple[str, ...], field: str) -> None:
    """Raises unless `value` is one of the named alternatives."""
    if value not in known:
        close = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{field}={value!r} is not one of {', '.join(map(repr, known))}{hint}")
