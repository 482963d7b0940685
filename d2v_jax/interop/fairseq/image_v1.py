"""data2vec 1.0 vision (REFERENCE §6, §14.2): configuration and key map.

The original is a BEiT code base of its own. Its files carry no model sizes, so these are read off
the weights, and the training's arguments only as far as a file has them.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import v1_image_base
from d2v_jax.interop import keymap
from d2v_jax.interop.fairseq import specs, v2_rules
from d2v_jax.interop.fairseq.original import Original, mlp_ratio
from d2v_jax.interop.keymap import Rule
from d2v_jax.interop.layout import Layout, rename
from d2v_jax.interop.sections import Section, brief

TABLE = "relative_position_bias_table"
SHARED, EACH = f"rel_pos_bias.{TABLE}", f"blocks.{{}}.attn.{TABLE}"
PARTS = ("frontend", "positions", "mask", "prefix", "trunk", "decoder")
HALF = (0.5, 0.5, 0.5)  # mean and std of pictures without the flag for ImageNet's (T27)

# Arguments whose other values our model cannot represent. No published model uses them.
ARGS_ONLY = {
    "abs_pos_emb": False,
    "target_batch_norm": False,
    "var_w0": 0,
    "ema_annealing_till_end": False,
}
# The renames of an unfinished port of this model to fairseq.
PORT = (
    (r"^encoder\.", ""),
    (r"^cls_emb$", "cls_token"),
    (r"^mask_emb$", "mask_token"),
    (r"^patch_embed\.conv\.", "patch_embed.proj."),
    (r"^final_proj\.", "lm_head."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
)


def names(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The port's names become the original's; index tables, which we compute, are dropped (T20)."""
    return rename(flat, _name)


def _name(key: str) -> str | None:
    if key.endswith("relative_position_index"):
        return None
    for old, new in PORT:
        key = re.sub(old, new, key)
    return key


def config(original: Original) -> dict[str, Any]:
    """The recipe fields, as a nested dict; `original.cfg` holds the arguments, or nothing.

    Raises UserError for a size that makes no model, and an argument we cannot represent.
    """
    args = original.cfg
    fields = v1_image_base.get_config().to_dict()
    fields["recipe"] = "fairseq_v1_image"
    _sizes(fields, original)
    fields["positions"]["zero_padding"] = "never"
    fields["trunk"]["dtype"] = "float32"
    width, depth = fields["trunk"]["width"], fields["trunk"]["depth"]
    # What the published runs share; blocks counted from the end, as their large model's are.
    fields["targets"]["blocks"] = tuple(range(max(0, depth - 6), depth))
    fields["loss"]["scale"] = 1 / width
    imagenet = args.flag("imagenet_default_mean_and_std", not original.finetuned)
    if not imagenet:
        fields["frontend"] |= {"mean": HALF, "std": HALF}
    fields["teacher"]["owns"] = tuple(
        part for part in PARTS if part != "positions" or fields["positions"]["bias"] == "relative"
    )
    if "target_layers" in args.fields and not original.finetuned:
        _training(fields, args)
    return fields


def _sizes(fields: dict[str, Any], original: Original) -> None:
    width, channels, patch, other = original.shape("patch_embed.proj.weight", 4)
    if patch != other:
        raise UserError(f"patch_embed.proj.weight has patches of {patch} x {other}, not squares")
    numbers = [int(m[1]) for k in original.student if (m := re.match(r"blocks\.(\d{1,4})\.", k))]
    each = any(EACH.format(i) in original.student for i in numbers)
    table = EACH.format(0) if each else SHARED
    if each or SHARED in original.student:
        rows, heads = original.shape(table, 2)
        grid = (math.isqrt(max(rows - 3, 0)) + 1) // 2
        if rows != (2 * grid - 1) ** 2 + 3:
            raise UserError(f"{table} has {rows} rows, which is no square of patches")
        fields["data"]["image_size"] = grid * patch
    else:
        heads = max(1, width // 64)
        fields["data"]["image_size"] = original.cfg.integer("input_size", patch, 2**16, 224)
    hidden = original.shape("blocks.0.mlp.fc1.weight", 2)[0]
    fields["data"]["channels"] = channels
    fields["frontend"]["patch_size"] = patch
    fields["positions"]["bias"] = (
        "relative_per_block" if each else "relative" if SHARED in original.student else "none"
    )
    fields["trunk"] |= {
        "width": width,
        "heads": heads,
        "depth": max(numbers, default=0) + 1,
        "mlp_ratio": mlp_ratio(width, hidden),
        "output_norm": not original.finetuned or "norm.weight" in original.student,
    }


def _training(fields: dict[str, Any], args: Section) -> None:
    """The arguments of a pre-training run; what it does not name is off, as in the original."""
    args.only(ARGS_ONLY)
    depth, patches = fields["trunk"]["depth"], _grid(fields) ** 2
    blocks = specs.integers(f"{args.name}.target_layers", args.fields["target_layers"])
    if not blocks or len(set(blocks)) < len(blocks) or not set(blocks) <= set(range(depth)):
        raise UserError(
            f"{args.name}.target_layers={list(blocks)} must be different blocks of 0..{depth - 1}"
        )
    site = args.text("layer_results") if "layer_results" in args.fields else "end"
    if site not in ("end", "fc"):
        raise UserError(
            f"{args.name}.layer_results={brief(site)}: our model only knows 'end' and 'fc'"
        )
    layer_norms = {
        "instance": args.flag("target_instance_norm"),
        "layer": not args.flag("no_target_layer_norm_last"),
    }
    final_norms = {
        "instance": args.flag("post_target_instance_norm"),
        "layer": args.flag("post_target_layer_norm"),
    }
    fields["targets"] |= {
        "blocks": blocks,
        "site": "block" if site == "end" else "ffn",
        "layer_norms": tuple(name for name, on in layer_norms.items() if on),
        "final_norms": tuple(name for name, on in final_norms.items() if on),
    }
    scale = args.number("loss_scale", -1, 1e9, -1)
    squared = args.flag("l2_loss")
    fields["loss"] |= {
        "beta": 0.0 if squared else float(args.number("l1_beta", 0, 1e9, 0.12)),
        "scale": (1 if scale == -1 else scale) / fields["trunk"]["width"],
    }
    end = float(args.number("ema_decay", 0, 1, 0.9998))
    fields["teacher"] |= {
        "decay_start": float(args.number("ema_decay_init", 0, 1, 0.999)),
        "decay_end": end,
        "decay_steps": args.integer("ema_start_at", 0, 2**40, 25_000),
    }
    hidden = args.integer("num_mask_patches", 1, patches, 75)
    most = args.fields.get("max_mask_patches_per_block")
    if most is not None and args.integer("max_mask_patches_per_block", 1, 2**40) < hidden:
        raise UserError(
            f"{args.name}.max_mask_patches_per_block={brief(most)}: our model only knows "
            f"blocks as large as the mask, num_mask_patches={hidden}"
        )
    if args.number("mask_dropout_prob", -1, 1, -1) > 0:
        args.only({"mask_dropout_prob": -1})
    fields["mask"] |= {
        "share": hidden / patches,
        "block": args.integer("min_mask_patches_per_block", 1, patches, 16),
    }
    fields["trunk"] |= {
        "drop_path": float(args.number("drop_path", 0, 1, 0.1)),
        "attention_dropout": float(args.number("attn_drop_rate", 0, 1, 0)),
        "layer_scale": float(args.number("layer_scale_init_value", 0, 1, 0.1)),
    }


def _grid(fields: Mapping[str, Any]) -> int:
    return fields["data"]["image_size"] // fields["frontend"]["patch_size"]


def layout(config: Mapping[str, Any]) -> Layout:
    """The rules; the teacher is a whole second model under the same names."""
    trunk, bias = config["trunk"], config["positions"]["bias"]
    width, table = trunk["width"], ((2 * _grid(config) - 1) ** 2 + 3, trunk["heads"])
    one = (1, 1, width)
    rules = [
        *v2_rules.patches(config, "patch_embed.proj"),
        keymap.leaf("prefix/tokens", "cls_token", one, keymap.first),
        keymap.leaf(
            "mask/embedding",
            "mask_token",
            one,
            lambda array: array[0, 0],
            lambda array: array[None, None],
        ),
    ]
    if bias == "relative":
        rules.append(keymap.leaf("positions/relative/table", SHARED, table))
    for i in range(trunk["depth"]):
        rules += block(f"trunk/block_{i:02d}", f"blocks.{i}", width, v2_rules.hidden(trunk))
        if bias == "relative_per_block":
            ours = f"trunk/block_{i:02d}/attention/relative/table"
            rules.append(keymap.leaf(ours, EACH.format(i), table))
    if trunk["output_norm"]:
        rules += keymap.norm("trunk/norm", "norm", width)
    rules += v2_rules.projection("lm_head", (width, width))
    return Layout(rules, rules, [], [], names, names)


def block(ours: str, theirs: str, width: int, mlp: int) -> list[Rule]:
    """A pre-norm block: no key bias, and each branch scaled."""
    attention = f"{ours}/attention"
    return [
        *keymap.norm(f"{ours}/norm1", f"{theirs}.norm1", width),
        keymap.leaf(
            f"{attention}/qkv/kernel",
            f"{theirs}.attn.qkv.weight",
            (3 * width, width),
            keymap.out_in,
        ),
        keymap.leaf(f"{attention}/q_bias", f"{theirs}.attn.q_bias", (width,)),
        keymap.leaf(f"{attention}/v_bias", f"{theirs}.attn.v_bias", (width,)),
        *keymap.linear(f"{attention}/out", f"{theirs}.attn.proj", width, width),
        keymap.leaf(f"{ours}/gamma1", f"{theirs}.gamma_1", (width,)),
        *keymap.norm(f"{ours}/norm2", f"{theirs}.norm2", width),
        *keymap.linear(f"{ours}/mlp/fc1", f"{theirs}.mlp.fc1", width, mlp),
        *keymap.linear(f"{ours}/mlp/fc2", f"{theirs}.mlp.fc2", mlp, width),
        keymap.leaf(f"{ours}/gamma2", f"{theirs}.gamma_2", (width,)),
    ]
