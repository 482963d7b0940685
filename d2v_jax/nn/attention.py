"""Multi-head self-attention with an additive bias and padding."""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from d2v_jax.common.rng import Keys
from d2v_jax.nn import fused, initializers
from d2v_jax.nn.dense import Dense
from d2v_jax.nn.dropout import KEPT, QUARTERS, draw_quarters, drop_quarters
from d2v_jax.nn.fused import Qkv
from d2v_jax.nn.layout import local, platform
from d2v_jax.nn.positions import RelativeBias

HIDDEN_LOGIT = -1e30  # finite, so that a row of nothing but padding does not become NaN
# A part keeps which weights it dropped: a byte each, dearer to draw again than to read.
DRAWN = jax.checkpoint_policies.save_only_these_names(KEPT)


class Attention(nn.Module):
    """x_ntd -> x_ntd; fused qkv, columns ordered q|k|v, each head-major.

    The softmax is float32 whatever `dtype` computes the products. Without `key_bias` only
    queries and values have a bias: a key's cancels in the softmax, and its gradient is
    rounding noise (REFERENCE §1.4). `relative_grid` adds a table of this layer's own.
    """

    heads: int
    dtype: str
    dropout: float = 0.0
    parts: int = 1  # of the rows, see `in_parts`
    fused: bool = False  # by one kernel where it can be, see `fused.serves`
    key_bias: bool = True
    relative_grid: tuple[int, int] | None = None
    kernel_init: initializers.Initializer = initializers.NAMED["bert"]
    out_init: initializers.Initializer = initializers.NAMED["bert"]

    @nn.compact
    def __call__(
        self,
        x_ntd: jax.Array,
        bias_nhtt: jax.Array | None = None,
        padding_nt: jax.Array | None = None,
        keys: Keys | None = None,
    ) -> jax.Array:
        width = x_ntd.shape[-1]
        dense = Dense(
            3 * width, self.key_bias, self.dtype, kernel_init=self.kernel_init, name="qkv"
        )
        q_ntd, k_ntd, v_ntd = dense.columns(x_ntd, 3)
        if not self.key_bias:
            q_bias, v_bias = (
                self.param(name, nn.initializers.zeros, (width,)) for name in ("q_bias", "v_bias")
            )
            q_ntd = q_ntd + q_bias.astype(q_ntd.dtype)
            v_ntd = v_ntd + v_bias.astype(v_ntd.dtype)
        qkv = q_ntd, k_ntd, v_ntd
        if self.relative_grid:
            own_htt = RelativeBias(self.relative_grid, self.heads, name="relative")()
            bias_nhtt = own_htt[None] if bias_nhtt is None else own_htt + bias_nhtt
        rate = 0.0 if keys is None else self.dropout
        if self.fused and fused.serves(q_ntd, rate, platform()):
            mixed_ntd = fused.attend(qkv, bias_nhtt, padding_nt, self.heads)
        else:
            mix = functools.partial(attend, heads=self.heads, rate=rate)
            mixed_ntd = in_parts(mix, self.parts, qkv, bias_nhtt, padding_nt, keys)
        return Dense(width, dtype=self.dtype, kernel_init=self.out_init, name="out")(mixed_ntd)


def attend(
    qkv: Qkv,
    bias_nhtt: jax.Array | None,
    padding_nt: jax.Array | None,
    keys: Keys | None,
    heads: int,
    rate: float,
) -> jax.Array:
    """-> [n, t, d]: the values, mixed by the softmax of queries times keys.

    Heads are [f, h]: the f of them, at most four, share what dropout draws at a time.
    """
    quarters = next(count for count in range(QUARTERS, 0, -1) if heads % count == 0)
    of_heads = functools.partial(
        rearrange, pattern="n t (f h k) -> n f h t k", f=quarters, h=heads // quarters
    )
    q_nfhtk, k_nfhtk, v_nfhtk = map(of_heads, qkv)
    q_nfhtk = q_nfhtk * q_nfhtk.shape[-1] ** -0.5
    logits_nfhtt = jnp.einsum("nfhtk,nfhsk->nfhts", q_nfhtk, k_nfhtk).astype(jnp.float32)
    if bias_nhtt is not None:
        logits_nfhtt = logits_nfhtt + rearrange(bias_nhtt, "n (f h) t s -> n f h t s", f=quarters)
    if padding_nt is not None:
        logits_nfhtt = jnp.where(padding_nt[:, None, None, None], HIDDEN_LOGIT, logits_nfhtt)
    kept_nhtt = draw_quarters(logits_nfhtt.shape, rate, keys)
    mixed_nfhtk = mix(logits_nfhtt, v_nfhtk, kept_nhtt, rate)
    return rearrange(mixed_nfhtk, "n f h t k -> n t (f h k)")


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def mix(
    logits_nfhtt: jax.Array, v_nfhtk: jax.Array, kept_nhtt: jax.Array | None, rate: float
) -> jax.Array:
    """[n, f, h, t, k]: the values, mixed by the softmax of logits, of which `kept_nhtt` is kept."""
    mixed_nfhtk, _ = _mix(logits_nfhtt, v_nfhtk, kept_nhtt, rate)
    return mixed_nfhtk


def _mix(logits_nfhtt, v_nfhtk, kept_nhtt, rate):
    exps_nfhtt = jnp.exp(logits_nfhtt - logits_nfhtt.max(-1, keepdims=True))
    weights_nfhtt = exps_nfhtt / row_sums(exps_nfhtt, v_nfhtk.dtype)
    return _values(weights_nfhtt, v_nfhtk, kept_nhtt, rate), weights_nfhtt


def _values(weights_nfhtt, v_nfhtk, kept_nhtt, rate):
    kept_nfhtt = drop_quarters(weights_nfhtt.astype(v_nfhtk.dtype), kept_nhtt, rate)
    return jnp.einsum("nfhts,nfhsk->nfhtk", kept_nfhtt, v_nfhtk)


@mix.defjvp
def _mix_jvp(rate, primals, tangents):
    """Backwards, a softmax needs each row's sum of weights times their gradients, which is that of
    what they mixed times its gradient (Dao 2023, §3.1): taken where it has far fewer terms."""
    (logits_nfhtt, v_nfhtk, kept_nhtt), (d_logits_nfhtt, d_v_nfhtk, _) = primals, tangents
    mixed_nfhtk, weights_nfhtt = _mix(logits_nfhtt, v_nfhtk, kept_nhtt, rate)
    change_nfhtt = weights_nfhtt * d_logits_nfhtt
    sums_nfht1 = change_nfhtt.sum(-1, keepdims=True)
    moved_nfhtk = _values(weights_nfhtt, d_v_nfhtk, kept_nhtt, rate)
    if mixed_nfhtk.shape[-1] * 5 < weights_nfhtt.shape[-1]:  # by the estimate of TPUs' compiler
        moved_nfhtk += _values(change_nfhtt, v_nfhtk, kept_nhtt, rate)
        return mixed_nfhtk, moved_nfhtk - (sums_nfht1 * mixed_nfhtk).astype(mixed_nfhtk.dtype)
    change_nfhtt -= weights_nfhtt * sums_nfht1
    return mixed_nfhtk, moved_nfhtk + _values(change_nfhtt, v_nfhtk, kept_nhtt, rate)


def row_sums(x: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """[..., c] -> float32 [..., 1], of terms that `dtype` is precise enough for.

    TPUs sum slowly what lies side by side in a register; a product with ones takes a tenth of
    the time. It adds in float32 what is bfloat16.
    """
    if platform() != "tpu" or dtype != jnp.bfloat16:
        return x.sum(-1, keepdims=True)
    # A single column would become a sum again, and one matrix for all another layout of x.
    ones = jnp.ones((*x.shape[:-2], x.shape[-1], 8), dtype)
    return jnp.matmul(x.astype(dtype), ones, preferred_element_type=jnp.float32)[..., :1]


def in_parts(
    mix: Callable[..., jax.Array],
    parts: int,
    qkv: Qkv,
    bias_nhtt: jax.Array | None,
    padding_nt: jax.Array | None,
    keys: Keys | None,
) -> jax.Array:
    """`mix` of some rows after the others, computed once more on the way back.

    The logits of a part, which are the largest arrays of an encoder, so need not leave the fast
    memory of an accelerator, and are not kept. Every device takes its own rows in parts, as many
    as divide them; 1 is `mix` itself, all kept. Not a loop: it would copy what it goes through.
    A CPU has no such memory, and what is not compiled for a mesh is no step.
    """
    rows = qkv[0].shape[0]
    devices = rows // local(rows)
    parts = math.gcd(parts, local(rows)) if platform() != "cpu" else 1
    if parts == 1:
        return mix(qkv, bias_nhtt, padding_nt, keys)
    shared = bias_nhtt is not None and bias_nhtt.shape[0] == 1

    @functools.partial(jax.checkpoint, policy=DRAWN)
    def part(qkv, bias_nhtt, padding_nt, each_n) -> jax.Array:
        return mix(qkv, bias_nhtt, padding_nt, each_n if keys is None else Keys(keys.all, each_n))

    def split(x: jax.Array | None) -> Sequence[jax.Array | None]:
        if x is None:
            return [None] * parts
        each = jax.lax.split(x.reshape(devices, parts, -1, *x.shape[1:]), (1,) * parts, 1)
        return [one.reshape(-1, *x.shape[1:]) for one in each]

    every = zip(
        zip(*map(split, qkv)),
        [bias_nhtt] * parts if shared else split(bias_nhtt),
        split(padding_nt),
        split(None if keys is None else keys.each_n),
    )
    mixed = [part(*rows) for rows in every]
    tail = mixed[0].shape[1:]
    return jnp.concatenate([x.reshape(devices, 1, -1, *tail) for x in mixed], 1).reshape(-1, *tail)
