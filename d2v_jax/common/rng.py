"""Named random streams: every draw is a pure function of (seed, name, step, example, view)."""

import zlib

import jax
import jax.numpy as jnp


def stream(seed: int, name: str, step: jax.Array | int = 0) -> jax.Array:
    """Returns the key of stream `name` at `step`; streams of different names are independent."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, step)


def per_view(key: jax.Array, example_id_b: jax.Array, views: int) -> jax.Array:
    """Returns keys [b * views], example-major: one per masked view of each example.

    A view's key depends on its example id and its number, never on its batch neighbours.
    """
    view_ids = jnp.arange(views, dtype=jnp.uint32)

    def keys_of_example(example_id: jax.Array) -> jax.Array:
        example_key = jax.random.fold_in(key, example_id)
        return jax.vmap(lambda view: jax.random.fold_in(example_key, view))(view_ids)

    return jax.vmap(keys_of_example)(example_id_b.astype(jnp.uint32)).reshape(-1)
