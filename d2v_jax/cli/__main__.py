"""`python -m d2v_jax.cli`, the same as `d2v`."""

from d2v_jax.cli.start import entry

entry()
