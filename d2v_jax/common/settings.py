"""JAX's own settings, which people export in their shells: some we fix, others we write down."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

# Draws and dtypes follow from these, and so would every number of a run.
FIXED = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_enable_custom_prng": False,
    "jax_legacy_prng_key": "allow",
    "jax_numpy_rank_promotion": "allow",
    "jax_numpy_dtype_promotion": "standard",
}
# These change the last digits, as another machine does.
NOTED = (
    "jax_default_matmul_precision",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
    "jax_softmax_custom_jvp",
)
NOTED_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """Within it, and in this thread, `FIXED` holds, whatever the environment says."""
    import jax

    with contextlib.ExitStack() as stack:
        for name, value in FIXED.items():
            was = getattr(jax.config, name, value)
            if was == value:
                continue
            state = getattr(jax, name.removeprefix("jax_"), None)
            if state is not None:
                stack.enter_context(state(value))
            else:  # of the seeds' offset there is only one for all threads
                jax.config.update(name, value)
                stack.callback(jax.config.update, name, was)
        yield


def exported() -> bool:
    """Whether the environment sets any of `FIXED`."""
    return any(name.upper() in os.environ for name in FIXED)


def noted() -> dict[str, Any]:
    """Those that change the last digits, as they stand."""
    import jax

    said = {name: getattr(jax.config, name, None) for name in NOTED}
    said |= {name: os.environ.get(name) for name in NOTED_VARIABLES}
    return {
        name: value if value is None or isinstance(value, bool) else str(value)
        for name, value in said.items()
    }
