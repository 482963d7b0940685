"""Eight virtual CPU devices, set before any backend starts; small recipes."""

import gc
import os
import tempfile

import jax
import pytest
from systems import smoke

from d2v_jax.train.machine import mesh

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# Programs compiled in one process serve the others; removed when the first one ends.
CACHE = tempfile.TemporaryDirectory(prefix="d2v-tests-")
jax.config.update("jax_compilation_cache_dir", os.environ.setdefault("D2V_TESTS_CACHE", CACHE.name))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
# Compiling takes most of the suite's time; the commands run with all optimisations.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def tiny():
    """The quickstart recipe, shrunk: resolved, float32, seconds to compile."""
    return smoke("quickstart_image")


@pytest.fixture
def one_device(monkeypatch):
    """Half the time to compile a step."""
    whole = mesh.make_mesh
    monkeypatch.setattr(mesh, "make_mesh", lambda spec: whole(spec, jax.devices()[:1]))


@pytest.fixture(autouse=True, scope="module")
def forget(request):
    """Compiled programs live as long as the tests of one file: hundreds would fill the memory."""
    yield
    for value in vars(request.module).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    jax.clear_caches()
    gc.collect()
