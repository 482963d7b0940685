"""BERT and RoBERTa folders of Hugging Face: their fields and names in ours."""

from collections.abc import Mapping
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.configs import bert_base, roberta_base
from d2v_jax.interop import keymap
from d2v_jax.interop.fairseq.original import mlp_ratio
from d2v_jax.interop.huggingface import hf_rules
from d2v_jax.interop.keymap import Rule
from d2v_jax.interop.sections import Section

KINDS = {"bert": bert_base, "roberta": roberta_base}
ONLY = {
    "hidden_act": "gelu",
    "is_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
}
MASK = {"bert": 103, "roberta": 50_264}  # in the published vocabularies
CLS, SEP = 101, 102  # of BERT's
HEADS = {"bert": "cls.predictions.", "roberta": "lm_head."}
# Their classes, by the parts on top of the encoder.
CLASSES = {
    ("bert", "naming", "next"): "BertForPreTraining",
    ("bert", "naming"): "BertForMaskedLM",
    ("bert",): "BertModel",
    ("roberta", "naming"): "RobertaForMaskedLM",
    ("roberta",): "RobertaModel",
}


def config(
    kind: str, hf: Section, flat: Mapping[str, Any], special: Mapping[str, int]
) -> dict[str, Any]:
    """The fields of configs/bert.py, with which this model goes on learning what it has learnt.

    `special`: ids by name, of the tokenizer's files; where there are none, those of the published
    vocabularies.
    """
    hf.only(ONLY)
    fields = KINDS[kind].get_config().to_dict()
    fields["recipe"] = f"huggingface_{kind}"
    width = hf.integer("hidden_size", 1, 2**16, 768)
    heads = hf.integer("num_attention_heads", 1, width, 12)
    if width % heads:
        raise UserError(f"config.json: hidden_size={width} is no multiple of {heads} heads")
    pad = hf.integer("pad_token_id", 0, 2**30, 0 if kind == "bert" else 1)
    vocabulary = hf.integer("vocab_size", pad + 1, 2**30, 30_522)
    first = 0 if kind == "bert" else pad + 1
    places = hf.integer("max_position_embeddings", first + 1, 2**30, 512) - first
    eps = float(hf.number("layer_norm_eps", 0, 1, 1e-12))
    dropout = float(hf.number("hidden_dropout_prob", 0, 1, 0.1))
    stored = hf.fields.get("dtype", hf.fields.get("torch_dtype"))
    whole = vocabulary > MASK[kind]  # small ones have their specials elsewhere
    mask = special.get("[MASK]" if kind == "bert" else "<mask>")
    if mask is None or mask >= vocabulary:
        mask = MASK[kind] if whole else vocabulary - 1
    fields["data"]["tokens"] = places
    fields["frontend"] |= {
        "vocab_size": vocabulary,
        "max_tokens": places,
        "pad_id": pad,
        "mask_id": mask,
        "types": hf.integer("type_vocab_size", 0, 2**16, 2),
        "norm_eps": eps,
        "dropout": dropout,
    }
    fields["trunk"] |= {
        "width": width,
        "heads": heads,
        "depth": hf.integer("num_hidden_layers", 1, 1000, 12),
        "mlp_ratio": mlp_ratio(width, hf.integer("intermediate_size", 1, 2**20, 3072)),
        "norm_eps": eps,
        "dropout": dropout,
        "attention_dropout": float(hf.number("attention_probs_dropout_prob", 0, 1, 0.1)),
        "dtype": "bfloat16" if stored in ("float16", "bfloat16") else "float32",
    }
    if kind == "bert":
        specials = (CLS, SEP) if whole else (1, 2)
        specials = (special.get("[CLS]", specials[0]), special.get("[SEP]", specials[1]))
        fields["corruption"] |= {"kept": specials, "separator": specials[1]}
    asks = any(key.startswith("cls.seq_relationship.") for key in flat)
    fields["sentences"]["next"] = asks
    if not asks:
        fields["data"] |= {"labels": "none", "label_names": (), "columns": ("text",)}
    return fields


def names(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Older files' names, without buffers and copies of tied tables."""
    tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    tied += ("lm_head.decoder.weight", "lm_head.decoder.bias")
    kept = {}
    for key, value in flat.items():
        if key not in tied and key.split(".")[-1] not in hf_rules.BUFFERS:
            key = key.replace("LayerNorm.gamma", "LayerNorm.weight")
            kept[key.replace("LayerNorm.beta", "LayerNorm.bias")] = value
    return kept


def rules(kind: str, fields: Mapping[str, Any], prefix: str, naming: bool) -> list[Rule]:
    """Every parameter: the encoder's, below `prefix`, and those of the heads that are there."""
    width, frontend = fields["trunk"]["width"], fields["frontend"]
    table = f"{prefix}embeddings.{{}}_embeddings.weight"
    offset = 0 if kind == "bert" else frontend["pad_id"] + 1
    tables = {
        "tokens": ("word", frontend["vocab_size"]),
        "positions": ("position", frontend["max_tokens"] + offset),
    }
    if frontend["types"]:
        tables["types"] = ("token_type", frontend["types"])
    found = [
        keymap.leaf(f"frontend/{ours}/embedding", table.format(theirs), (rows, width))
        for ours, (theirs, rows) in tables.items()
    ]
    found += keymap.norm("frontend/norm", f"{prefix}embeddings.LayerNorm", width)
    found += [
        keymap.renamed(rule, lambda key: f"{prefix}{key}") for rule in hf_rules.text_blocks(fields)
    ]
    head = HEADS[kind]
    dense, norm = {
        "bert": ("transform.dense", "transform.LayerNorm"),
        "roberta": ("dense", "layer_norm"),
    }[kind]
    if naming:
        found += keymap.linear("naming/dense", f"{head}{dense}", width, width)
        found += keymap.norm("naming/norm", f"{head}{norm}", width)
        found.append(keymap.leaf("naming/bias", f"{head}bias", (frontend["vocab_size"],)))
    if fields["sentences"]["next"]:
        found += keymap.linear("pooler", f"{prefix}pooler.dense", width, width)
        found += keymap.linear("next", "cls.seq_relationship", width, 2)
    return found


def prefix_of(kind: str, flat: Mapping[str, Any]) -> str:
    """What stands in front of the encoder's keys."""
    return f"{kind}." if any(key.startswith(f"{kind}.") for key in flat) else ""


def names_ids(kind: str, flat: Mapping[str, Any]) -> bool:
    """Whether the file has the head that names hidden ids."""
    return any(key.startswith(HEADS[kind]) for key in flat)


def aside(kind: str, fields: Mapping[str, Any], flat: Mapping[str, Any]) -> list[str]:
    """Keys of a pooler that answers nothing."""
    prefix = prefix_of(kind, flat)
    return [k for k in flat if k.startswith(f"{prefix}pooler.") and not fields["sentences"]["next"]]


def kind_of(fields: Mapping[str, Any]) -> str:
    """Which of the two a model of ours is: RoBERTa's positions skip padding."""
    return "roberta" if fields["frontend"]["positions"] == "learned" else "bert"


def config_json(kind: str, fields: Mapping[str, Any], parts: tuple[str, ...]) -> dict[str, Any]:
    """The inverse of `config`; `parts`: "naming", "next", whichever the model has."""
    if (kind, *parts) not in CLASSES:
        raise UserError(
            f"sentences.next={fields['sentences']['next']} and frontend.positions="
            f"{fields['frontend']['positions']!r}: no Hugging Face class of {kind} has "
            f"{' and '.join(parts)} on top of its encoder"
        )
    trunk, frontend = fields["trunk"], fields["frontend"]
    roberta = kind == "roberta"
    places = frontend["max_tokens"] + (frontend["pad_id"] + 1 if roberta else 0)
    return {
        "model_type": kind,
        "architectures": [CLASSES[(kind, *parts)]],
        "add_cross_attention": False,
        "attention_probs_dropout_prob": trunk["attention_dropout"],
        "bos_token_id": 0 if roberta else None,
        "classifier_dropout": None,
        "eos_token_id": 2 if roberta else None,
        "hidden_dropout_prob": trunk["dropout"],
        "is_decoder": False,
        "max_position_embeddings": places,
        "pad_token_id": frontend["pad_id"],
        "type_vocab_size": frontend["types"],
        "use_cache": True,
        "vocab_size": frontend["vocab_size"],
    }
