"""How the tokens to hide are drawn, for one view: static shapes, one key, no batch.

Each returns what is hidden [t], bool, or scores [t] of which the highest are taken.
"""

import math

import jax
import jax.numpy as jnp

ASPECT = 0.3  # BEiT's rectangles are at most this many times narrower than long
ATTEMPTS = 10  # and a rectangle that does not fit is drawn so often again


def highest(scores_t: jax.Array, count: int | jax.Array) -> jax.Array:
    """True at the `count` highest scores."""
    rank_t = jnp.argsort(jnp.argsort(-scores_t))
    return rank_t < count


def blocks(key: jax.Array, tokens: int, count: int, block: int) -> jax.Array:
    """Scores of a row of tokens: runs of `block` around random centres (REFERENCE §9.3).

    Centres fall uniformly, with replacement; blocks are clamped at the ends. A score is 2
    inside a block plus uniform noise, so taking the highest clears random block tokens when the
    blocks cover too much and adds random others when too little (§16).
    """
    centre_key, noise_key = jax.random.split(key)
    centres = jax.random.randint(centre_key, (count,), 0, tokens)
    places = jnp.clip(centres[:, None] + jnp.arange(block) - block // 2, 0, tokens - 1)
    covered_t = jnp.zeros(tokens).at[places].set(1)
    return 2 * covered_t + jax.random.uniform(noise_key, (tokens,))


def cubes(key: jax.Array, shape: tuple[int, ...], count: int, block: int) -> jax.Array:
    """The same on a row-major grid, with squares (or cubes) of side `block` (REFERENCE §10.3)."""
    centre_key, noise_key = jax.random.split(key)
    sides = jnp.array(shape)[:, None]
    centres_sb = jax.random.randint(centre_key, (len(shape), count), 0, sides)
    offsets = jnp.arange(block) - block // 2
    places = jnp.clip(centres_sb[:, :, None] + offsets, 0, sides[:, :, None] - 1)
    inside = [jax.nn.one_hot(places[axis], side).max(1) for axis, side in enumerate(shape)]
    letters = "xyzuvw"[: len(shape)]
    covered = jnp.einsum(
        ",".join(f"b{letter}" for letter in letters) + f"->{letters}",
        *inside,
        precision=jax.lax.Precision.HIGHEST,
    )
    tokens = math.prod(shape)
    return 2.0 * (covered > 0).reshape(-1) + jax.random.uniform(noise_key, (tokens,))


def spans(
    key: jax.Array, tokens: int, length: jax.Array, share: float, span: int, clipped: bool
) -> jax.Array:
    """Spans of `span` tokens that may overlap, in the first `length` tokens.

    int(share * length / span + u) starts without replacement, at least one. `clipped`: starts
    fall anywhere and spans end with the text (REFERENCE §7.3, T9); otherwise no start lies
    among the last `span` tokens, one more than would fit (§5.3, T8).
    """
    count_key, start_key = jax.random.split(key)
    count = (share * length / span + jax.random.uniform(count_key)).astype(jnp.int32)
    count = jnp.maximum(count, 1)
    starts = length if clipped else jnp.maximum(length - span, count + 1)
    noise_t = jax.random.uniform(start_key, (tokens,))
    start_t = highest(jnp.where(jnp.arange(tokens) < starts, noise_t, -1), count)
    begun_t = jnp.cumsum(start_t)
    ended_t = jnp.pad(begun_t, (span, 0))[:tokens]
    return (begun_t > ended_t) & (jnp.arange(tokens) < length)


def even_spans(
    key: jax.Array, tokens: int, length: jax.Array, share: float, span: int, neighbours: int
) -> jax.Array:
    """Spans of which random single tokens are given back until few are hidden.

    The originals trim to the least count in the batch, so that a mask depends on its neighbours
    (T7). Here the neighbours are drawn for this example alone: the same statistics, without
    the dependence.
    """
    keys = jax.random.split(key, neighbours + 1)
    draw = lambda k: spans(k, tokens, length, share, span, clipped=False)
    hidden_mt = jax.vmap(draw)(keys[1:])
    least = hidden_mt.sum(-1).min()
    noise_t = jax.random.uniform(keys[0], (tokens,))
    return highest(jnp.where(hidden_mt[0], noise_t, -1), least)


def rectangles(key: jax.Array, shape: tuple[int, int], target: int, least_area: int) -> jax.Array:
    """BEiT's rectangles until `target` cells are hidden or ten in a row do not fit (§6.3)."""
    rows, columns = shape

    def attempt(key: jax.Array, hidden_yx: jax.Array, room: jax.Array):
        keys = jax.random.split(key, 4)
        area = least_area + (room - least_area) * jax.random.uniform(keys[0])
        log_aspect = jnp.log(ASPECT) * jax.random.uniform(keys[1], minval=-1, maxval=1)
        height = jnp.round(jnp.sqrt(area * jnp.exp(log_aspect)))
        width = jnp.round(jnp.sqrt(area / jnp.exp(log_aspect)))
        top = jnp.floor(jax.random.uniform(keys[2]) * (rows - height + 1))
        left = jnp.floor(jax.random.uniform(keys[3]) * (columns - width + 1))
        inside_y = (jnp.arange(rows) >= top) & (jnp.arange(rows) < top + height)
        inside_x = (jnp.arange(columns) >= left) & (jnp.arange(columns) < left + width)
        both = hidden_yx | (inside_y[:, None] & inside_x[None])
        new = both.sum() - hidden_yx.sum()
        fits = (height < rows) & (width < columns) & (new > 0) & (new <= room)
        return both, fits

    def more(carry):
        _, hidden_yx, stuck = carry
        return (hidden_yx.sum() < target) & ~stuck

    def step(carry):
        key, hidden_yx, _ = carry
        key, now = jax.random.split(key)
        room = target - hidden_yx.sum()
        both, fits = jax.vmap(attempt, (0, None, None))(
            jax.random.split(now, ATTEMPTS), hidden_yx, room
        )
        chosen = jnp.where(fits.any(), both[jnp.argmax(fits)], hidden_yx)
        return key, chosen, ~fits.any()

    start = (key, jnp.zeros(shape, bool), jnp.bool_(False))
    return jax.lax.while_loop(more, step, start)[1].reshape(-1)
