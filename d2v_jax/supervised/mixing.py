"""What training does to inputs with labels: mixup, cutmix, masks over time and over channels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.common.rng import Keys
from d2v_jax.encoder import samplers
from d2v_jax.encoder.masking import Mask
from d2v_jax.supervised.sections import AugmentConfig, SupervisedConfig


class Mixed(NamedTuple):
    """Examples and their soft labels [b, c]."""

    values: jax.Array
    labels_bc: jax.Array


def smoothed(labels_b: jax.Array, classes: int, smoothing: float) -> jax.Array:
    """Soft labels [b, c]: `smoothing` of each is spread over all classes."""
    return jax.nn.one_hot(labels_b, classes) * (1 - smoothing) + smoothing / classes


def images(values: jax.Array, labels_bc: jax.Array, cfg: AugmentConfig, key: jax.Array) -> Mixed:
    """Mixup or cutmix of each picture [b, y, x, c] with its mirror image in the batch.

    One share and one rectangle for the whole batch (REFERENCE §12.2, §12.3).
    """
    if cfg.mixup == 0 and cfg.cutmix == 0:
        return Mixed(values, labels_bc)
    keys = jax.random.split(key, 5)
    mixes = jax.random.uniform(keys[0]) < cfg.mix_share
    cutmix_share = cfg.cutmix_share if cfg.mixup else 1.0
    cuts = jax.random.uniform(keys[1]) < (cutmix_share if cfg.cutmix else 0.0)
    up = jax.random.beta(keys[2], cfg.mixup, cfg.mixup) if cfg.mixup else jnp.float32(1)
    cut = jax.random.beta(keys[3], cfg.cutmix, cfg.cutmix) if cfg.cutmix else jnp.float32(1)
    inside_yx = rectangle(keys[4], values.shape[1:3], cut)
    # What stays of the example itself, everywhere or in each pixel.
    own_yx = jnp.where(cuts, 1.0 - inside_yx, up)
    own_yx = jnp.where(mixes, own_yx, 1.0)
    share = own_yx.mean()
    own_yx1 = own_yx[:, :, None]
    return Mixed(
        values * own_yx1 + values[::-1] * (1 - own_yx1),
        labels_bc * share + labels_bc[::-1] * (1 - share),
    )


def rectangle(key: jax.Array, sides: tuple[int, int], stays: jax.Array) -> jax.Array:
    """bool [y, x]: about 1 - `stays` of the area around a random centre, clipped at the edges."""
    inside = []
    for one, side in zip(jax.random.split(key), sides):
        cut = (side * jnp.sqrt(1 - stays)).astype(jnp.int32)
        centre = jax.random.randint(one, (), 0, side)
        low, high = jnp.clip(centre - cut // 2, 0, side), jnp.clip(centre + cut // 2, 0, side)
        inside.append((jnp.arange(side) >= low) & (jnp.arange(side) < high))
    return inside[0][:, None] & inside[1][None]


ERASED = (0.02, 1 / 3)  # shares of a picture's area
NARROW = 0.3  # sides of what is erased differ at most by this factor
ATTEMPTS = 10


def erased(values: jax.Array, share: float, random: Keys) -> jax.Array:
    """Pictures [b, y, x, c], of which some lose a rectangle to normal noise (REFERENCE §12.2)."""
    if share == 0:
        return values
    height, width = values.shape[1:3]

    def one(key: jax.Array, image_yxc: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 6)
        area = (
            height
            * width
            * jax.random.uniform(keys[0], (ATTEMPTS,), minval=ERASED[0], maxval=ERASED[1])
        )
        log = jnp.log(NARROW)
        aspect = jnp.exp(jax.random.uniform(keys[1], (ATTEMPTS,), minval=log, maxval=-log))
        tall = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
        wide = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
        fits = (tall < height) & (wide < width)
        first = jnp.argmax(fits)
        top = jax.random.randint(keys[2], (), 0, jnp.maximum(height - tall[first] + 1, 1))
        left = jax.random.randint(keys[3], (), 0, jnp.maximum(width - wide[first] + 1, 1))
        rows, columns = jnp.arange(height), jnp.arange(width)
        inside = ((rows >= top) & (rows < top + tall[first]))[:, None] & (
            (columns >= left) & (columns < left + wide[first])
        )
        chosen = jax.random.bernoulli(keys[4], share) & fits.any()
        noise = jax.random.normal(keys[5], image_yxc.shape)
        return jnp.where((inside & chosen)[:, :, None], noise, image_yxc)

    return jax.vmap(one)(random.each_n, values)


def waves(values: jax.Array, labels_bc: jax.Array, key: jax.Array) -> Mixed:
    """Waves [b, s], each with another of the batch, at one share from .5 to 1 (REFERENCE §12.5)."""
    share_key, order_key = jax.random.split(key)
    share = jax.random.uniform(share_key, minval=0.5, maxval=1.0)
    order_b = jax.random.permutation(order_key, len(values))
    norm = jnp.sqrt(share**2 + (1 - share) ** 2)
    return Mixed(
        (share * values + (1 - share) * values[order_b]) / norm,
        share * labels_bc + (1 - share) * labels_bc[order_b],
    )


def channels(cfg: AugmentConfig, width: int, neighbours: int, random: Keys) -> jax.Array | None:
    """Which channels are nothing in all tokens [b, d], in spans trimmed as those of time are, to
    the least among so many `neighbours` (REFERENCE §12.1).
    """
    if cfg.channel_share == 0:
        return None
    draw = lambda key: samplers.even_spans(
        key, width, jnp.int32(width), cfg.channel_share, cfg.channel_block, neighbours
    )
    return jax.vmap(draw)(random.each_n)


def hide(
    cfg: SupervisedConfig,
    x_btd: jax.Array,
    embedding_d: jax.Array | None,
    mask: Mask | None,
    channels_bd: jax.Array | None,
    random: Keys,
) -> jax.Array:
    """Tokens as training shows them: first spans of time are hidden, then spans of channels."""
    if mask is not None:
        if cfg.mask.hide == "noise":
            draw = lambda key: jax.random.normal(key, x_btd.shape[1:], x_btd.dtype)
            instead = cfg.augment.noise_std * jax.vmap(draw)(random.each_n)
        else:
            instead = embedding_d.astype(x_btd.dtype)
        x_btd = jnp.where(mask.hidden_nt[:, :, None], instead, x_btd)
    if channels_bd is not None:
        x_btd = jnp.where(channels_bd[:, None], 0, x_btd)
    return x_btd
