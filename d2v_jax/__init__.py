"""d2v_jax: data2vec 1.0 and 2.0 as pure functions over parameter trees.

import d2v_jax as d2v
encoder = d2v.load("runs/a")
encoder.params                   # the pure tree: a nested dict of arrays
encoder.features(images_byxc)    # NumPy in, NumPy out
"""

__version__ = "0.5.0.dev0"


def __getattr__(name: str):
    # Only what is asked for is imported, so `import d2v_jax` does not wait for JAX.
    if name in ("load", "Encoder"):
        from d2v_jax.transfer import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module 'd2v_jax' has no attribute {name!r}")
