"""What fine-tuning put on top of an encoder, as functions of its parameters (REFERENCE §12)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.nn.norm import standardize

KINDS = ("ctc", "audio_classes", "image_classes", "text_classes", "image_pooler", "text_pooler")


def apply(
    head: Mapping[str, Any], out_npd: jax.Array, prefix: int, padding_nt: jax.Array | None
) -> jax.Array:
    """The encoder's output, `prefix` tokens in front -> logits [n, c] or, of "ctc", [n, t, c].

    Poolers give [n, d]. `padding_nt` says which tokens behind the prefix are nothing.
    """
    params = head["params"]
    tokens_ntd = out_npd[:, prefix:].astype(jnp.float32)
    first_nd = out_npd[:, 0].astype(jnp.float32)
    match head["kind"]:
        case "ctc":
            return dense(params["out"], tokens_ntd)
        case "audio_classes":
            return pooled_classes(dense(params["out"], tokens_ntd), padding_nt)
        case "image_classes" | "image_pooler":
            x_nd = first_nd
            if "norm" in params:
                norm = params["norm"]
                x_nd = standardize(tokens_ntd.mean(1), -1, head["norm_eps"])
                x_nd = x_nd * norm["scale"] + norm["bias"]
            return dense(params["out"], x_nd) if "out" in params else x_nd
        case "text_classes" | "text_pooler":
            x_nd = jnp.tanh(dense(params["dense"], first_nd))
            return dense(params["out"], x_nd) if "out" in params else x_nd
    raise UserError(f"a head of kind {head['kind']!r} is not known; known: {', '.join(KINDS)}")


def dense(params: Tree, x: jax.Array) -> jax.Array:
    """A linear layer in float32, on accelerators too."""
    return jnp.matmul(x, params["kernel"], precision=jax.lax.Precision.HIGHEST) + params["bias"]


def pooled_classes(logits_ntc: jax.Array, padding_nt: jax.Array | None) -> jax.Array:
    """Linear-softmax pooling over time, P = sum(p²) / sum(p), as logits [n, c] (§12.5)."""
    log_p = jax.nn.log_sigmoid(logits_ntc)
    if padding_nt is not None:
        log_p = jnp.where(padding_nt[:, :, None], -1e30, log_p)
    pooled = jax.nn.logsumexp(2 * log_p, 1) - jax.nn.logsumexp(log_p, 1)
    return pooled - jnp.log1p(-jnp.exp(pooled))
