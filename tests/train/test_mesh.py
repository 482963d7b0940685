"""Meshes as people write them, and how each leaf is cut."""

import jax
import pytest
import sharding
from jax.sharding import PartitionSpec

from d2v_jax.common import trees
from d2v_jax.common.checks import ConfigError
from d2v_jax.train import state
from d2v_jax.train.machine import mesh
from d2v_jax.train.recipe import resolve


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        ("data:-1", (8, 1)),
        ("fsdp:-1", (1, 8)),
        ("data:2,fsdp:-1", (2, 4)),
        ("fsdp:2", None),
        ("data:-1, fsdp:2", (4, 2)),
        ("data:8,fsdp:1", (8, 1)),
    ],
)
def test_axes(spec, sizes):
    if sizes is None:
        with pytest.raises(ConfigError, match="'fsdp:2' has 2 places for 8 devices; use"):
            mesh.axis_sizes(spec, 8)
    else:
        assert mesh.axis_sizes(spec, 8) == sizes


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("data:-1,fsdp:3", "8 devices are no multiple of 3; use a divisor of 8"),
        ("data:-1,fsdp:-1", "only one size can be -1"),
        ("model:2", "'model:2' is not understood"),
        ("data", "is not understood"),
        ("data:0", "is not understood"),
        ("", "is not understood"),
        ("data:2,data:4", "'data:4' is not understood"),
    ],
)
def test_bad_meshes_are_named(spec, words):
    with pytest.raises(ConfigError, match=words):
        mesh.axis_sizes(spec, 8)


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((768, 3072), (None, "fsdp")),
        ((3072, 768), ("fsdp",)),
        ((768, 768), (None, "fsdp")),
        ((3072,), ()),
        ((), ()),
        ((8, 8), ()),
        ((50_265, 768), (None, "fsdp")),
        ((10, 1, 512), (None, None, "fsdp")),
        ((769, 771), ()),
    ],
)
def test_a_leaf_is_cut_along_its_longest_side(shape, spec):
    assert mesh.leaf_spec(shape, mesh.make_mesh("fsdp:8")) == PartitionSpec(*spec)
    assert mesh.leaf_spec(shape, mesh.make_mesh("data:8")) == PartitionSpec()


# Millions of bytes a device holds of student, teacher and optimiser: whole, and cut in eight.
BYTES = {
    "v2_audio_base": (1479.6, 186.8),
    "v2_image_base": (1401.4, 177.0),
    "v1_text_base": (1857.2, 233.9),
}


@pytest.mark.parametrize("name", sorted(BYTES))
def test_bytes_per_device(name):
    shapes = jax.eval_shape(lambda: state.create(resolve.resolve(resolve.load(name))))
    for spec, expected in zip(("data:8", "fsdp:8"), BYTES[name]):
        grid = mesh.make_mesh(spec)
        held = jax.tree.map(
            lambda x, s: 4 * int(jax.numpy.prod(jax.numpy.array(s.shard_shape(x.shape)))),
            shapes,
            mesh.state_sharding(shapes, grid),
        )
        assert sum(jax.tree.leaves(held)) / 1e6 == pytest.approx(expected, rel=1e-3)


def test_twins_lie_beside_each_other():
    """Student, teacher and both moments of Adam are cut alike, leaf by leaf."""
    shapes = jax.eval_shape(lambda: state.create(resolve.resolve(resolve.load("v2_image_large"))))
    grid = mesh.make_mesh("data:2,fsdp:4")
    student, teacher = (
        dict(trees.leaves(tree))
        for tree in (
            mesh.state_sharding(shapes.params, grid),
            mesh.state_sharding(shapes.carried, grid),
        )
    )
    assert all(student[path] == cut for path, cut in teacher.items())
    cut = [path for path, sharding in student.items() if any(sharding.spec)]
    whole = {path: leaf.shape for path, leaf in trees.leaves(shapes.params) if path not in cut}
    assert all(len(shape) < 2 or 1024 > shape[0] * shape[1] for shape in whole.values()), whole


@pytest.mark.parametrize("name", sharding.names())
def test_tables_of_cuts(name):
    """tests/sharding/*.txt; python tests/sharding.py --write where a change is meant."""
    assert sharding.table(name) == (sharding.FOLDER / f"{name}.txt").read_text()
