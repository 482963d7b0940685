"""Which tokens a view hides. Drawn on the device, exact counts, blind to batch neighbours."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.common.checks import require
from d2v_jax.data2vec.config import MaskConfig


class Mask(NamedTuple):
    """The tokens hidden from each of n views. All ids ascend."""

    hidden_nt: jax.Array  # bool
    visible_ids_nv: jax.Array  # int32
    hidden_ids_nu: jax.Array  # int32


def visible_count(cfg: MaskConfig, tokens: int) -> int:
    """Visible tokens of every view: int(T * (1 - share)), rounded as the originals do (T12)."""
    visible = int(tokens * (1 - cfg.share))
    require(
        0 < visible < tokens,
        f"mask.share={cfg.share} leaves {visible} of {tokens} tokens visible; "
        f"choose a share between {1 / tokens:.3f} and {1 - 1 / tokens:.3f}",
    )
    return visible


def block_count(cfg: MaskConfig, tokens: int) -> int:
    """Visible blocks drawn before trimming: int(T * (visible share + adjust) / block²) (§10.3)."""
    blocks = int(tokens * ((1 - cfg.share) + cfg.adjust) / cfg.block**2)
    require(
        blocks > 0,
        f"mask.share={cfg.share}, mask.adjust={cfg.adjust} and mask.block={cfg.block} draw no "
        f"visible block from {tokens} tokens; lower mask.block or raise mask.adjust",
    )
    return blocks


def draw(cfg: MaskConfig, keys_n: jax.Array, grid: int) -> Mask:
    """Draws the mask of each view from its own key: inverse blocks on a grid x grid image."""
    tokens = grid * grid
    visible, blocks = visible_count(cfg, tokens), block_count(cfg, tokens)
    scores_nt = jax.vmap(lambda key: inverse_blocks(key, grid, blocks, cfg.block))(keys_n)
    return highest_scores_visible(scores_nt, visible)


def inverse_blocks(key: jax.Array, grid: int, blocks: int, block: int) -> jax.Array:
    """Scores [grid²] of one view; the highest are to be visible.

    Block centres fall uniformly, with replacement; blocks are clamped at the border. A score is
    2 inside a block plus uniform noise, so keeping the top V clears random block cells when the
    blocks cover too much and adds random other cells when too little (REFERENCE §10.3, §16).
    """
    centre_key, noise_key = jax.random.split(key)
    centres_2b = jax.random.randint(centre_key, (2, blocks), 0, grid)
    offsets = jnp.arange(block) - block // 2
    rows, columns = jnp.clip(centres_2b[:, :, None] + offsets, 0, grid - 1)
    in_rows = jax.nn.one_hot(rows, grid).max(1)  # [blocks, grid]
    in_columns = jax.nn.one_hot(columns, grid).max(1)
    covered = jnp.einsum("by,bx->yx", in_rows, in_columns) > 0
    return 2.0 * covered.reshape(-1) + jax.random.uniform(noise_key, (grid * grid,))


def highest_scores_visible(scores_nt: jax.Array, visible: int) -> Mask:
    """The `visible` tokens with the highest scores are visible, the others hidden."""
    order_nt = jnp.argsort(-scores_nt, axis=-1).astype(jnp.int32)
    visible_ids_nv = jnp.sort(order_nt[:, :visible], axis=-1)
    hidden_ids_nu = jnp.sort(order_nt[:, visible:], axis=-1)
    hidden_nt = jax.nn.one_hot(visible_ids_nv, scores_nt.shape[-1]).sum(1) == 0
    return Mask(hidden_nt, visible_ids_nv, hidden_ids_nu)


def gather(tokens_btd: jax.Array, ids_bmk: jax.Array) -> jax.Array:
    """Takes tokens by id for every view: -> [b * m, k, d]."""
    picks = jax.nn.one_hot(ids_bmk, tokens_btd.shape[1], dtype=tokens_btd.dtype)
    taken = jnp.einsum("bmkt,btd->bmkd", picks, tokens_btd)
    return taken.reshape(-1, *taken.shape[2:])


def scatter(x_nvd: jax.Array, ids_nv: jax.Array, tokens: int) -> jax.Array:
    """The inverse of `gather` for one view each: -> [n, tokens, d], zero where nothing was put."""
    places = jax.nn.one_hot(ids_nv, tokens, dtype=x_nvd.dtype)
    return jnp.einsum("nvt,nvd->ntd", places, x_nvd)
