"""Which tokens a view hides. Drawn on the device, blind to batch neighbours."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.common.checks import require
from d2v_jax.common.fields import anything, one_of, positive
from d2v_jax.common.rng import Keys
from d2v_jax.encoder import samplers

# Kinds that hide the same number of tokens from every view, as "remove" needs.
EXACT = ("blocks", "inverse_blocks", "random")
KINDS = (*EXACT, "spans", "clipped_spans", "beit")
# What becomes of hidden tokens; the last two only of labelled examples.
HIDES = ("remove", "replace", "input", "noise", "none")
GRIDS = ("inverse_blocks", "beit")  # kinds that draw on a grid
EXACTLY = jax.lax.Precision.HIGHEST  # numbers are moved, not rounded


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    """Fields: configs/base.py."""

    hide: str = one_of(*HIDES)
    kind: str = one_of(*KINDS)
    share: float = anything()
    adjust: float = anything()
    block: int = positive()
    neighbours: int = positive()
    views: int = positive()
    micro_views: int = positive(free=True)


class Mask(NamedTuple):
    """The tokens hidden from each of n views.

    Views may hide different numbers of tokens; `hidden_ids_nu` has room for the most, and
    `weight_nu` is 0 where an id only fills. Ids ascend.
    """

    hidden_nt: jax.Array  # bool
    hidden_ids_nu: jax.Array  # int32
    weight_nu: jax.Array  # float32, 0 or 1
    visible_ids_nv: jax.Array  # int32; the visible tokens where every view hides u tokens


def from_hidden(hidden_nt: jax.Array, most: int) -> Mask:
    """The record of masks of which none hides more than `most` tokens."""
    order_nt = jnp.argsort(~hidden_nt, axis=-1, stable=True).astype(jnp.int32)
    hidden_ids_nu = order_nt[:, :most]
    weight_nu = jnp.take_along_axis(hidden_nt, hidden_ids_nu, -1).astype(jnp.float32)
    return Mask(hidden_nt, hidden_ids_nu, weight_nu, order_nt[:, most:])


def hidden_most(cfg: MaskConfig, tokens: int) -> int:
    """Most tokens that a view may hide, U; of the exact kinds the number that each hides.

    Integers are rounded as the originals do, some through the visible share (T10, T12).
    """
    match cfg.kind:
        case "blocks":
            most = int(tokens * cfg.share)
        case "inverse_blocks" | "random":
            most = tokens - int(tokens * (1 - cfg.share))
        case "beit":
            most = round(tokens * cfg.share)
        case _:
            most = min((int(cfg.share * tokens / cfg.block) + 1) * cfg.block, tokens)
    lower, upper = 1 / tokens, 1 - 1 / tokens
    require(
        0 < most < tokens + (cfg.kind == "clipped_spans"),
        f"mask.share={cfg.share} hides {most} of {tokens} tokens; "
        f"choose a share between {lower:.3f} and {upper:.3f}, or longer examples",
    )
    return most


def block_count(cfg: MaskConfig, shape: tuple[int, ...]) -> int:
    """Blocks drawn before trimming: int(T * (share + adjust) / block area) (§9.3, §10.3)."""
    tokens, share, area = math.prod(shape), cfg.share, cfg.block
    if cfg.kind == "inverse_blocks":
        share, area = 1 - cfg.share, cfg.block ** len(shape)
    blocks = int(tokens * (share + cfg.adjust) / area)
    require(
        blocks > 0,
        f"mask.share={cfg.share}, mask.adjust={cfg.adjust} and mask.block={cfg.block} draw no "
        f"block from {tokens} tokens; lower mask.block or raise mask.adjust",
    )
    return blocks


def check(cfg: MaskConfig, shape: tuple[int, ...]) -> None:
    """Raises `ConfigError` where such masks cannot be drawn on a grid of tokens."""
    hidden_most(cfg, math.prod(shape))
    if cfg.kind in GRIDS:
        require(
            len(shape) > 1 if cfg.kind == "inverse_blocks" else len(shape) == 2,
            f"mask.kind={cfg.kind!r} draws on a grid and needs images, or others whose tokens "
            "have rows and columns",
        )
        least = cfg.block if cfg.kind == "inverse_blocks" else cfg.block**0.5
        require(
            least <= min(shape),
            f"mask.block={cfg.block} is larger than the {' x '.join(map(str, shape))} grid of "
            "patches; lower it or raise data.image_size / frontend.patch_size",
        )
    if cfg.kind in ("blocks", "inverse_blocks"):
        block_count(cfg, shape)


def draw(
    cfg: MaskConfig, keys: Keys, shape: tuple[int, ...], lengths_n: jax.Array | None = None
) -> Mask:
    """Draws the mask of each view from its own key; tokens stand row-major on a grid of `shape`.

    `lengths_n` counts the tokens in front that are not padding; only the span kinds heed it.
    """
    tokens = math.prod(shape)
    most = hidden_most(cfg, tokens)
    if lengths_n is None:
        lengths_n = jnp.full(keys.each_n.shape, tokens)

    def one(key: jax.Array, length: jax.Array) -> jax.Array:
        match cfg.kind:
            case "blocks":
                scores_t = samplers.blocks(key, tokens, block_count(cfg, shape), cfg.block)
                return samplers.highest(scores_t, most)
            case "inverse_blocks":
                scores_t = samplers.cubes(key, shape, block_count(cfg, shape), cfg.block)
                return ~samplers.highest(scores_t, tokens - most)
            case "random":
                return samplers.highest(jax.random.uniform(key, (tokens,)), most)
            case "spans":
                return samplers.even_spans(
                    key, tokens, length, cfg.share, cfg.block, cfg.neighbours
                )
            case "clipped_spans":
                return samplers.spans(key, tokens, length, cfg.share, cfg.block, clipped=True)
            case "beit":
                return samplers.rectangles(key, shape, most, cfg.block)
        raise ValueError(cfg.kind)  # the recipe was checked

    return from_hidden(jax.vmap(one)(keys.each_n, lengths_n), most)


def gather(tokens_btd: jax.Array, ids_bmk: jax.Array) -> jax.Array:
    """Takes tokens by id for every view: -> [b * m, k, d]. Nothing is rounded on the way.

    A matrix product, whose way back is one too: accelerators are slow at adding to rows that they
    have to look up. At default precision they would round float32 on the way.
    """
    picks = jax.nn.one_hot(ids_bmk, tokens_btd.shape[1], dtype=tokens_btd.dtype)
    taken = jnp.einsum("bmkt,btd->bmkd", picks, tokens_btd, precision=EXACTLY)
    return taken.reshape(-1, *taken.shape[2:])


def scatter(x_nvd: jax.Array, ids_nv: jax.Array, tokens: int) -> jax.Array:
    """The inverse of `gather` for one view each: -> [n, tokens, d], zero where nothing was put."""
    places = jax.nn.one_hot(ids_nv, tokens, dtype=x_nvd.dtype)
    return jnp.einsum("nvt,nvd->ntd", places, x_nvd, precision=EXACTLY)
