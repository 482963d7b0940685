"""Attention by cuDNN's kernel: the mathematics of `attention.attend`, no logits in memory."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

Qkv = tuple[jax.Array, jax.Array, jax.Array]  # queries, keys and values, each [n, t, d]

# Below any logit, and finite: of nothing but padding every place gets the same weight, as by
# `attention.HIDDEN_LOGIT`, and what only makes a length even gets none. Not larger, as JAX has
# found cuDNN wrong about differences of larger ones.
HIDDEN, ABSENT = -(2.0**40), -(2.0**41)


def serves(q_ntd: jax.Array, rate: float, platform: str) -> bool:
    """Whether the kernel computes this: for GPUs, in bfloat16, where no weight is dropped.

    Its dropout knows no keys of examples. Rows must divide among the devices.
    """
    devices = jax.sharding.get_abstract_mesh().size or 1
    divides = q_ntd.shape[0] % devices == 0
    return platform == "gpu" and q_ntd.dtype == jnp.bfloat16 and rate == 0 and divides


def attend(
    qkv: Qkv,
    bias_nhtt: jax.Array | None,
    padding_nt: jax.Array | None,
    heads: int,
    implementation: str = "cudnn",
) -> jax.Array:
    """Three [n, t, d] -> [n, t, d]; every device its own rows.

    A bias is rounded to the queries' dtype. `bias_nhtt` may have one row for all; that row's
    gradient is the sum over devices.
    """
    mix = functools.partial(_rows, heads=heads, implementation=implementation)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return mix(qkv, bias_nhtt, padding_nt)
    split, copied = PartitionSpec(mesh.axis_names), PartitionSpec()
    shared = bias_nhtt is not None and bias_nhtt.shape[0] == 1
    # Its own rule for meshes asks that a bias is cut as the queries are, and does not see to it.
    return jax.shard_map(
        mix,
        in_specs=(split, copied if shared else split, split),
        out_specs=split,
        check_vma=False,  # the kernel's derivative knows nothing of a shared bias
    )(qkv, bias_nhtt, padding_nt)


def _rows(
    qkv: Qkv,
    bias_nhtt: jax.Array | None,
    padding_nt: jax.Array | None,
    heads: int,
    implementation: str,
) -> jax.Array:
    q_ntd, k_ntd, v_ntd = qkv
    rows, tokens, width = q_ntd.shape
    if padding_nt is not None:
        # Its logits are added to, not replaced: of nothing but padding they would have a gradient.
        q_ntd = jnp.where(padding_nt.all(1)[:, None, None], 0, q_ntd)
        bias_nhtt = jnp.zeros((1, 1, 1, 1)) if bias_nhtt is None else bias_nhtt
        bias_nhtt = jnp.where(padding_nt[:, None, None], HIDDEN, bias_nhtt)
    odd = tokens % 2  # with a gradient it takes even lengths only
    real_n = None
    if bias_nhtt is not None:
        bias_nhtt = jnp.broadcast_to(bias_nhtt, (*bias_nhtt.shape[:2], tokens, tokens))
        bias_nhtt = jnp.pad(bias_nhtt, ((0, 0), (0, 0), (0, odd), (0, 0)))
        bias_nhtt = jnp.pad(
            bias_nhtt, ((0, 0), (0, 0), (0, 0), (0, odd)), constant_values=ABSENT
        ).astype(q_ntd.dtype)
    elif odd:
        real_n = jnp.full(rows, tokens, jnp.int32)
    each_nthk = (
        jnp.pad(x_ntd, ((0, 0), (0, odd), (0, 0))).reshape(rows, tokens + odd, heads, -1)
        for x_ntd in (q_ntd, k_ntd, v_ntd)
    )
    mixed_nthk = jax.nn.dot_product_attention(
        *each_nthk, bias=bias_nhtt, key_value_seq_lengths=real_n, implementation=implementation
    )
    return mixed_nthk.reshape(rows, tokens + odd, width)[:, :tokens]
