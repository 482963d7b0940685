"""Eight virtual CPU devices, set before any backend starts; small recipes."""

import ctypes
import gc
import os
import pathlib
import secrets
import signal
import tempfile

import bucket as buckets
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
# Compiling takes most of the suite's time, of the commands it starts too.
jax.config.update("jax_disable_most_optimizations", True)
if jax.__version_info__[:2] == (0, 10):  # an XLA that does not know a flag ends the process
    QUICK = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_max_isa=SSE4_2")
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICK]).strip()
# Shells start what runs in the background deaf to Ctrl-C, and so would be the commands.
signal.signal(signal.SIGINT, signal.default_int_handler)


MOST = 1 << 30  # bytes that a process may hold between two tests
# They begin first, so that no worker is left alone with one of them at the end.
LONG = ("train/", "test_golden.py", "data2vec/", "transfer/", "supervised/", "test_cli.py")


def pytest_collection_modifyitems(items):
    """Files stay whole: with xdist each goes to one worker, in this order."""
    groups = [f"tests/{name}" for name in LONG]
    place = lambda path: next((n for n, name in enumerate(groups) if name in path), len(groups))
    items.sort(key=lambda item: place(item.path.as_posix()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Names that are not UTF-8 cannot travel from a worker to the one who counts."""
    report = yield
    plain = lambda text: text.encode(errors="backslashreplace").decode()
    report.sections = [(head, plain(text)) for head, text in report.sections]
    return report


@pytest.fixture(scope="session")
def tiny():
    """The quickstart recipe, shrunk: resolved, float32, seconds to compile."""
    return smoke("quickstart_image")


@pytest.fixture(scope="session")
def bucket():
    """gs://bucket, empty at first; the name of a folder there that is nobody else's."""
    with buckets.served():
        yield lambda: f"gs://bucket/{secrets.token_hex(4)}"


@pytest.fixture
def one_device(monkeypatch):
    """Half the time to compile a step."""
    whole = mesh.make_mesh
    monkeypatch.setattr(mesh, "make_mesh", lambda spec, _=None: whole(spec, jax.devices()[:1]))


@pytest.fixture(autouse=True, scope="module")
def forget(request):
    """Compiled programs live as long as the tests of one file: hundreds would fill the memory."""
    yield
    for value in vars(request.module).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    give_back()


@pytest.fixture(autouse=True)
def stay_small():
    """A file of many programs must not fill the memory either."""
    yield
    statm = pathlib.Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > MOST:
        give_back()


def give_back():
    """Frees what was compiled, and what the allocator holds of it."""
    jax.clear_caches()
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc keeps what was freed
        trim(0)
