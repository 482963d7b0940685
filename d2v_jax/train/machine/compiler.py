"""What the compiler of a platform is told about a step."""

import functools

import jax
from jax.sharding import Mesh

# XLA:CPU hands products and sums to YNNPACK. Its products are fast; its sums over rows, of which
# every norm's and bias's gradient is one, took a seventh of a step of v1_audio_base.
FOR_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    # Else Adam's moments, read twice and written where they were, are copied first.
    "xla_cpu_copy_insertion_use_region_analysis": True,
}


def options(mesh: Mesh) -> dict[str, str | bool] | None:
    """For `jax.jit(compiler_options=...)` of a program over `mesh`; nothing it does not know."""
    return FOR_CPU if mesh.devices.flat[0].platform == "cpu" and _known() else None


@functools.cache
def _known() -> bool:
    """Whether this jaxlib has those options: they are experimental."""
    probe = jax.jit(lambda: jax.numpy.zeros(()), compiler_options=FOR_CPU)
    try:
        probe.trace().lower(lowering_platforms=("cpu",)).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
