"""What fine-tuning puts on top of an encoder, as functions of its parameters (REFERENCE §12)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.common.checks import UserError
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder.network import Encoded
from d2v_jax.nn import initializers
from d2v_jax.nn.dropout import dropout
from d2v_jax.nn.norm import layer_norm, standardize

# Kinds that a recipe may ask for; checkpoints of others may also bring the poolers.
TRAINED = (
    "ctc",
    "audio_classes",
    "image_classes",
    "text_classes",
    "mean_classes",
    "attentive_classes",
)
KINDS = (*TRAINED, "image_pooler", "text_pooler")
NORMED = ("image_classes", "mean_classes", "attentive_classes")  # have a norm of their own
EXACTLY = jax.lax.Precision.HIGHEST


def apply(
    head: Mapping[str, Any],
    out_npd: jax.Array,
    prefix: int,
    padding_nt: jax.Array | None,
    rate: float = 0.0,
    random: Keys | None = None,
) -> jax.Array:
    """The encoder's output, `prefix` tokens in front -> logits [n, c] or, of "ctc", [n, t, c].

    Poolers give [n, d]. `padding_nt` says which tokens behind the prefix are nothing. `random`, a
    key per row, switches dropout at `rate` on, in front of each linear layer.
    """
    params = head["params"]
    tokens_ntd = out_npd[:, prefix:].astype(jnp.float32)
    first_nd = out_npd[:, 0].astype(jnp.float32)

    def drop(x: jax.Array, name: str) -> jax.Array:
        return dropout(x, rate, None if random is None else random.named(name))

    match head["kind"]:
        case "ctc":
            return dense(params["out"], drop(tokens_ntd, "out"))
        case "audio_classes":
            return pooled_classes(dense(params["out"], drop(tokens_ntd, "out")), padding_nt)
        case "image_classes" | "mean_classes" | "image_pooler":
            x_nd = first_nd
            if "norm" in params:
                norm = params["norm"]
                x_nd = standardize(mean(tokens_ntd, padding_nt), -1, head["norm_eps"])
                x_nd = x_nd * norm["scale"] + norm["bias"]
            return dense(params["out"], drop(x_nd, "out")) if "out" in params else x_nd
        case "attentive_classes":
            x_nd = attended(params, tokens_ntd, padding_nt, head["norm_eps"])
            return dense(params["out"], drop(x_nd, "out"))
        case "text_classes" | "text_pooler":
            x_nd = jnp.tanh(dense(params["dense"], drop(first_nd, "dense")))
            return dense(params["out"], drop(x_nd, "out")) if "out" in params else x_nd
    raise UserError(f"a head of kind {head['kind']!r} is not known; known: {', '.join(KINDS)}")


def entered(head: Mapping[str, Any], encoded: Encoded) -> jax.Array:
    """What the head is given [n, p + t, d]: the encoder's output, or a learned mixture of what
    enters the trunk and of its blocks, where it has weights of "layers" (SUPERB,
    arXiv:2105.01051).
    """
    if "layers" not in head["params"]:
        return encoded.out
    layers = [encoded.trunk.entered, *(layer.out for layer in encoded.trunk.layers)]
    shares = jax.nn.softmax(head["params"]["layers"])
    return sum(share * x.astype(jnp.float32) for share, x in zip(shares, layers, strict=True))


def attended(
    params: Tree, tokens_ntd: jax.Array, padding_nt: jax.Array | None, norm_eps: float
) -> jax.Array:
    """Tokens pooled by the attention of learned queries, one for each head -> [n, d]."""
    norm = params["norm"]
    x_ntd = layer_norm(tokens_ntd, norm["scale"], norm["bias"], norm_eps)
    key_ntd, value_ntd = jnp.split(dense(params["kv"], x_ntd), 2, -1)
    heads, each = params["query"].shape
    split = lambda y: y.reshape(*y.shape[:2], heads, each)
    logits_nht = jnp.einsum("nthe,he->nht", split(key_ntd), params["query"], precision=EXACTLY)
    logits_nht /= each**0.5
    if padding_nt is not None:
        logits_nht = jnp.where(padding_nt[:, None], -1e30, logits_nht)
    weights_nht = jax.nn.softmax(logits_nht)
    pooled = jnp.einsum("nht,nthe->nhe", weights_nht, split(value_ntd), precision=EXACTLY)
    return dense(params["proj"], pooled.reshape(len(pooled), -1))


class New(NamedTuple):
    """What a fresh head is made of. `scale` multiplies the last map's weights (REFERENCE §12.2);
    `layers`: of how many it learns a mixture, 0 for none; `queries` of "attentive_classes".
    """

    kind: str
    outputs: int
    initial: str  # of `INITIAL`
    scale: float = 1.0
    layers: int = 0
    queries: int = 1


def init(key: jax.Array, new: New, width: int) -> dict[str, Any]:
    """Fresh parameters of a head on tokens of `width`."""
    keys, initial = jax.random.split(key, 8), new.initial
    out = _dense(keys[:2], initial, width, new.outputs)
    params = {"out": {"kernel": out["kernel"] * new.scale, "bias": out["bias"] * new.scale}}
    if new.kind in NORMED:
        params["norm"] = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
    if new.kind == "text_classes":
        params["dense"] = _dense(keys[2:4], initial, width, width)
    if new.kind == "attentive_classes":
        params["kv"] = _dense(keys[2:4], initial, width, 2 * width)
        params["proj"] = _dense(keys[4:6], initial, width, width)
        params["query"] = jax.random.normal(keys[6], (new.queries, width // new.queries))
    if new.layers:
        params["layers"] = jnp.zeros(new.layers)
    return params


INITIAL = ("xavier", "normal", "torch")


def _dense(keys: jax.Array, initial: str, inside: int, outside: int) -> dict[str, jax.Array]:
    shape, zeros = (inside, outside), jnp.zeros(outside)
    match initial:
        case "xavier":
            return {"kernel": initializers.xavier_uniform(*shape)(keys[0], shape), "bias": zeros}
        case "normal":
            return {"kernel": 0.02 * jax.random.normal(keys[0], shape), "bias": zeros}
    draw = initializers.torch_default(inside)
    return {"kernel": draw(keys[0], shape), "bias": draw(keys[1], (outside,))}


def dense(params: Tree, x: jax.Array) -> jax.Array:
    """A linear layer in float32, on accelerators too."""
    return jnp.matmul(x, params["kernel"], precision=EXACTLY) + params["bias"]


def mean(tokens_ntd: jax.Array, padding_nt: jax.Array | None) -> jax.Array:
    """Over the tokens that are something."""
    if padding_nt is None:
        return tokens_ntd.mean(1)
    real_nt1 = ~padding_nt[:, :, None]
    return jnp.where(real_nt1, tokens_ntd, 0).sum(1) / jnp.maximum(real_nt1.sum(1), 1)


def pooled_classes(logits_ntc: jax.Array, padding_nt: jax.Array | None) -> jax.Array:
    """Linear-softmax pooling over time, P = sum(p²) / sum(p), as logits [n, c] (§12.5)."""
    log_p = jax.nn.log_sigmoid(logits_ntc)
    if padding_nt is not None:
        log_p = jnp.where(padding_nt[:, :, None], -1e30, log_p)
    pooled = jax.nn.logsumexp(2 * log_p, 1) - jax.nn.logsumexp(log_p, 1)
    return pooled - jnp.log1p(-jnp.exp(pooled))
