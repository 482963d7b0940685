"""wav2vec 2.0 and HuBERT folders of Hugging Face: their fields and names in ours."""

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import hubert, wav2vec2
from d2v_jax.interop import keymap
from d2v_jax.interop.fairseq import siblings_rules
from d2v_jax.interop.fairseq.original import mlp_ratio
from d2v_jax.interop.huggingface import hf_files, hf_rules
from d2v_jax.interop.keymap import Rule
from d2v_jax.interop.sections import Section, brief

KINDS = {"wav2vec2": wav2vec2, "hubert": hubert}
# Fields whose other values our encoder cannot represent. No published model uses them.
ONLY = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
    "add_adapter": False,
    "adapter_attn_dim": None,
}
NORMS = {"group": "first", "layer": "each"}
# Length and direction of the position stack's kernel, in newer files and in older ones.
LENGTH = ("parametrizations.weight.original0", "parametrizations.weight.original1")
OLD_LENGTH = ("weight_g", "weight_v")
PLACE = "encoder.pos_conv_embed.conv"
QUANTIZER = "quantizer.codevectors"


def config(kind: str, hf: Section) -> dict[str, Any]:
    """The fields of configs/wav2vec2.py or configs/hubert.py.

    How a model was pre-trained the file tells in part: the rest is the published base recipe's,
    but for what their loss lacks, the penalty of features and the factor of their gradient.
    """
    hf.only(ONLY)
    fields = KINDS[kind].get_config().to_dict()
    fields["recipe"] = f"huggingface_{kind}"
    eps = float(hf.number("layer_norm_eps", 0, 1, 1e-5))
    fields["frontend"] |= {
        "conv_layers": waves(hf),
        "conv_norm": _norm(hf),
        "conv_bias": hf.flag("conv_bias"),
        "norm_eps": eps,
        "gradient": 1.0,
    }
    width = hf.integer("hidden_size", 1, 2**16, 768)
    fields["positions"] |= {
        "conv_kernel": hf.integer("num_conv_pos_embeddings", 1, 10_000, 128),
        "conv_groups": groups(hf, width),
    }
    fields["trunk"] |= _trunk(hf, width, eps)
    dropout = float(hf.number("feat_proj_dropout", 0, 1, 0))
    if kind == "hubert":
        fields["clusters"] |= {"input_dropout": dropout, "penalty": 0.0}
        return fields
    fields["contrast"] |= {
        "groups": hf.integer("num_codevector_groups", 1, 2**16, 2),
        "entries": hf.integer("num_codevectors_per_group", 1, 2**20, 320),
        "width": hf.integer("codevector_dim", 1, 2**16, 256),
        "projected": hf.integer("proj_codevector_dim", 1, 2**16, 256),
        "negatives": hf.integer("num_negatives", 1, 2**16, 100),
        "temperature": float(hf.number("contrastive_logits_temperature", 1e-6, 1e6, 0.1)),
        "diversity": float(hf.number("diversity_loss_weight", 0, 1e6, 0.1)),
        "penalty": 0.0,
        "input_dropout": dropout,
        "target_dropout": float(hf.number("feat_quantizer_dropout", 0, 1, 0)),
    }
    return fields


def _trunk(hf: Section, width: int, eps: float) -> dict[str, Any]:
    heads = hf.integer("num_attention_heads", 1, width, 12)
    if width % heads:
        raise UserError(f"config.json: hidden_size={width} is no multiple of {heads} heads")
    before = hf.flag("do_stable_layer_norm")
    dropout = float(hf.number("hidden_dropout", 0, 1, 0.1))
    stored = hf.fields.get("dtype", hf.fields.get("torch_dtype"))
    return {
        "width": width,
        "heads": heads,
        "depth": hf.integer("num_hidden_layers", 1, 1000, 12),
        "mlp_ratio": mlp_ratio(width, hf.integer("intermediate_size", 1, 2**20, 3072)),
        "block": "plain_pre_norm" if before else "post_norm",
        "input_norm": not before,
        "output_norm": before,
        "norm_eps": eps,
        "input_dropout": 0.0 if before else dropout,
        "dropout": dropout,
        "attention_dropout": float(hf.number("attention_dropout", 0, 1, 0.1)),
        "activation_dropout": float(hf.number("activation_dropout", 0, 1, 0.1)),
        "layer_drop": float(hf.number("layerdrop", 0, 1, 0.1)),
        "dtype": "bfloat16" if stored in ("float16", "bfloat16") else "float32",
    }


def _norm(hf: Section) -> str:
    norm = hf.fields.get("feat_extract_norm", "group")
    if norm not in NORMS:
        raise UserError(
            f"config.json: feat_extract_norm={brief(norm)} is not one of {', '.join(NORMS)}"
        )
    return NORMS[norm]


def waves(hf: Section) -> tuple[tuple[int, int, int], ...]:
    """The convolutions of the waveform: width, kernel and stride of each."""
    each = [
        _integers(hf, "conv_dim", (512,) * 7),
        _integers(hf, "conv_kernel", (10, 3, 3, 3, 3, 2, 2)),
        _integers(hf, "conv_stride", (5, 2, 2, 2, 2, 2, 2)),
    ]
    if len({len(one) for one in each}) > 1:
        raise UserError("config.json: conv_dim, conv_kernel and conv_stride differ in length")
    hf.only({"num_feat_extract_layers": len(each[0])})
    return tuple(zip(*each, strict=True))


def groups(hf: Section, width: int) -> int:
    """Of the convolutions over tokens."""
    count = hf.integer("num_conv_pos_embedding_groups", 1, 2**16, 16)
    if width % count:
        raise UserError(
            f"config.json: hidden_size is no multiple of num_conv_pos_embedding_groups={count}"
        )
    return count


def config_json(
    kind: str, fields: Mapping[str, Any], head: Mapping[str, Any] | None, parts: Collection[str]
) -> dict[str, Any]:
    """The inverse of `config`; `parts` as of `rules`, `head`: of letters or None."""
    trunk, mask, layers = fields["trunk"], fields["mask"], fields["frontend"]["conv_layers"]
    own = fields.get("contrast") or fields.get("clusters") or {}
    word = "ForCTC" if head else "ForPreTraining" if "quantizer" in parts else "Model"
    content = {
        "model_type": kind,
        "architectures": [f"{kind.capitalize().replace('vec', 'Vec')}{word}"],
        "activation_dropout": trunk["activation_dropout"],
        "attention_dropout": trunk["attention_dropout"],
        "bos_token_id": 1,
        "conv_bias": fields["frontend"]["conv_bias"],
        "conv_dim": [width for width, _, _ in layers],
        "conv_kernel": [kernel for _, kernel, _ in layers],
        "conv_stride": [stride for _, _, stride in layers],
        "ctc_loss_reduction": "mean" if head else "sum",
        "ctc_zero_infinity": bool(head),
        "do_stable_layer_norm": trunk["output_norm"],
        "eos_token_id": 2,
        "feat_extract_activation": "gelu",
        "feat_extract_norm": {ours: theirs for theirs, ours in NORMS.items()}[
            fields["frontend"]["conv_norm"]
        ],
        "feat_proj_dropout": own.get("input_dropout", 0.0),
        "final_dropout": 0.0,
        "hidden_dropout": trunk["dropout"],
        "layerdrop": trunk["layer_drop"],
        "mask_feature_prob": 0.0,
        "mask_time_length": mask["block"],
        "mask_time_prob": round(mask["share"] / mask["block"], 6) if "mask" in parts else 0.0,
        "num_conv_pos_embedding_groups": fields["positions"]["conv_groups"],
        "num_conv_pos_embeddings": fields["positions"]["conv_kernel"],
        "num_feat_extract_layers": len(layers),
        "pad_token_id": head.get("blank", 0) if head else 0,
        "use_weighted_layer_sum": False,
        "vocab_size": len(head["params"]["out"]["bias"]) if head else 32,
    }
    if kind == "hubert":
        return content | {"conv_pos_batch_norm": False, "feat_proj_layer_norm": True}
    content |= {
        "adapter_attn_dim": None,
        "add_adapter": False,
        "output_hidden_size": trunk["width"],
    }
    if "contrast" not in fields:
        return content
    return content | {
        "codevector_dim": own["width"],
        "contrastive_logits_temperature": own["temperature"],
        "diversity_loss_weight": own["diversity"],
        "feat_quantizer_dropout": own["target_dropout"],
        "num_codevector_groups": own["groups"],
        "num_codevectors_per_group": own["entries"],
        "num_negatives": own["negatives"],
        "proj_codevector_dim": own["projected"],
    }


def rules(
    kind: str,
    fields: Mapping[str, Any],
    prefix: str,
    parts: Collection[str],
    length: tuple[str, str] = LENGTH,
) -> list[Rule]:
    """Every parameter: the encoder's, below `prefix`, and those of `parts`: "mask", "quantizer".

    `length`: what the two parts of the position stack's kernel are called.
    """
    trunk, width = fields["trunk"], fields["trunk"]["width"]
    projection = {
        part: f"{prefix}feature_projection.{theirs}"
        for part, theirs in (("norm", "layer_norm"), ("proj", "projection"))
    }
    key = lambda i, part, norm: f"{prefix}{_wave_key(i, part)}"
    found = siblings_rules.frontend(fields, key, projection)
    found += siblings_rules.positions(fields, f"{prefix}{PLACE}", length)
    if "mask" in parts:
        found.append(keymap.leaf("mask/embedding", f"{prefix}masked_spec_embed", (width,)))
    normed = "prenet/norm" if trunk["input_norm"] else "trunk/norm"
    found += keymap.norm(normed, f"{prefix}encoder.layer_norm", width)
    found += [
        keymap.renamed(rule, lambda name: f"{prefix}{name}")
        for rule in hf_rules.speech_blocks(trunk)
    ]
    if kind == "wav2vec2" and "quantizer" in parts:
        found += siblings_rules.contrast(fields, "codevectors", "project_hid")
    return found


def rules_of(kind: str, fields: Mapping[str, Any], flat: Mapping[str, Any]) -> list[Rule]:
    """The rules of what a file has."""
    prefix = f"{kind}." if any(key.startswith(f"{kind}.") for key in flat) else ""
    length = LENGTH if f"{prefix}{PLACE}.{LENGTH[0]}" in flat else OLD_LENGTH
    keys = {"mask": f"{prefix}masked_spec_embed", "quantizer": QUANTIZER}
    return rules(kind, fields, prefix, [part for part in keys if keys[part] in flat], length)


def letters_rules(flat: Mapping[str, Any], width: int) -> list[Rule]:
    """Those of a CTC head, if the file has one."""
    shape = getattr(flat.get("lm_head.weight"), "shape", None)
    return hf_rules.head("ctc", width, shape[0], "") if shape else []


def _wave_key(i: int, part: str) -> str:
    inside = {"conv": "conv", "norm": "layer_norm"}[part]
    return f"feature_extractor.conv_layers.{i}.{inside}"


def letters(path: pathlib.Path, hf: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What each output of a CTC head stands for, by the vocab.json beside a speech model."""
    names = hf_files.optional_json(path / "vocab.json")
    if names is None:
        return None
    count = outputs(Section("config.json", hf))
    by_id = {number: name for name, number in names.items()}
    if not all(type(n) is int and 0 <= n < count for n in by_id):
        raise UserError(f"vocab.json has a label beyond vocab_size={count} of config.json")
    return tuple(by_id.get(i, "") for i in range(count))


def outputs(hf: Section) -> int:
    """How many outputs a CTC head has."""
    return hf.integer("vocab_size", 1, 2**30, 32)


def ctc_head(hf: Section, labels: Sequence[str] | None) -> dict[str, Any]:
    """The head without its parameters."""
    blank = hf.integer("pad_token_id", 0, outputs(hf) - 1, 0)
    return {"kind": "ctc", "labels": labels, "blank": blank}


def _integers(hf: Section, field: str, default: Sequence[int]) -> tuple[int, ...]:
    value = hf.fields.get(field, default)
    good = isinstance(value, list | tuple) and all(type(n) is int and 0 < n < 2**16 for n in value)
    if not good or not 0 < len(value) <= 100:
        raise UserError(f"config.json.{field}={brief(value)} must be a list of positive integers")
    return tuple(value)
