"""Eight virtual CPU devices, set before any backend starts; small recipes."""

import jax
import pytest
from systems import smoke

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")
# Compiling takes most of the suite's time; the commands run with all optimisations.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def tiny():
    """The quickstart recipe, shrunk: resolved, float32, seconds to compile."""
    return smoke("quickstart_image")
