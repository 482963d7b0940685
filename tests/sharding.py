"""Who holds what: the table of a recipe's cuts, and what its compiled step sends between devices.

python tests/sharding.py --write            # the tables in tests/sharding/, which a test compares
python tests/sharding.py --compile v2_audio_large v2_image_huge14
    # compiles the whole step for eight devices (minutes, gigabytes of memory, nothing is run)
python tests/sharding.py --scale v2_image_base:budget v2_audio_base:budget v2_text_base:budget
    # arithmetic and bytes per device on one device and on eight
"""

import collections
import dataclasses
import math
import pathlib
import re
import sys

import jax

from d2v_jax.common import trees
from d2v_jax.measure import plan, program, setting
from d2v_jax.train import state, step
from d2v_jax.train.machine import mesh
from d2v_jax.train.recipe import records, resolve

FOLDER = pathlib.Path(__file__).parent / "sharding"
MESHES = ("data:8", "data:2,fsdp:4", "fsdp:8")
MIB = 2**20
MOST_MIB = 64  # of what is whole on every device
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
EXPECTED = {"all-gather", "all-reduce", "reduce-scatter"}
RESULT = re.compile(r"= (\(.*?\)|\S+) (" + "|".join(KINDS) + r")(?:-start)?\(")
SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def names() -> list[str]:
    """Published recipes."""
    root = pathlib.Path(__file__).parents[1] / "configs"
    found = sorted(path.stem for path in root.glob("v[12]_*.py"))
    assert found, root
    return found


def table(name: str) -> str:
    """Bytes per device on each mesh, and the cut of every leaf; blocks are alike."""
    resolved = resolve.resolve(resolve.load(name))
    shapes = jax.eval_shape(lambda: state.create(resolved))
    lines = [f"{'MiB per device':24}{'student':>10}{'teacher':>10}{'optimiser':>11}"]
    for spec in MESHES:
        shardings = mesh.state_sharding(shapes, mesh.make_mesh(spec))
        held = [
            plan.held_bytes(getattr(shapes, part), getattr(shardings, part)) / MIB
            for part in ("params", "carried", "opt_state")
        ]
        lines.append(f"{spec:24}{held[0]:10.1f}{held[1]:10.1f}{held[2]:11.1f}")
    lines += ["", "cut by fsdp:8 (student, and wherever the teacher and Adam have the like)"]
    grid = mesh.make_mesh("fsdp:8")
    seen: dict[str, int] = collections.Counter()
    for path, leaf in trees.leaves(shapes.params):
        cut = mesh.leaf_spec(leaf.shape, grid)
        sides = [
            f"{side}/8" if i < len(cut) and cut[i] else str(side)
            for i, side in enumerate(leaf.shape)
        ]
        pattern = re.sub(r"(block|conv)_\d+", r"\1_*", path)
        seen[f"{pattern} [{', '.join(sides)}]"] += 1
    lines += [f"{count:4} x {line}" for line, count in seen.items()]
    return "\n".join(lines) + "\n"


def compiled(resolved: records.Config, devices: list[jax.Device] | None = None):
    """The step of a recipe for its mesh."""
    grid = mesh.make_mesh(resolved.mesh, devices)
    shapes = jax.eval_shape(lambda: state.create(resolved))
    shardings = mesh.state_sharding(shapes, grid)
    size = resolved.train.batch_size
    batch = setting.abstract_batch(resolved, resolved.data.example_shapes[0], size)
    return step.compile_step(resolved, grid, shardings).lower(shapes, batch).compile()


def sent(text: str) -> dict[str, list[int]]:
    """Bytes of every array that a compiled program communicates, by kind.

    An all-reduce of gradients of which a device keeps its part is a reduce-scatter on
    accelerators; the CPU's compiler does not make that of it.
    """
    found: dict[str, list[int]] = collections.defaultdict(list)
    for result, kind in RESULT.findall(text):
        found[kind] += [
            program.BYTES[letters] * math.prod(map(int, filter(None, sides.split(","))))
            for letters, sides in SHAPE.findall(result)
            if letters in program.BYTES
        ]
    return dict(found)


def largest_copied(resolved: records.Config) -> float:
    """MiB of the largest leaf of the state that is whole on all devices."""
    grid = mesh.make_mesh(resolved.mesh)
    shapes = jax.tree.leaves(jax.eval_shape(lambda: state.create(resolved)))
    return max(plan.bytes_of([x]) for x in shapes if not any(mesh.leaf_spec(x.shape, grid))) / MIB


def report(name: str) -> bool:
    """Compiles and prints; whether nothing large is whole on every device."""
    resolved = resolve.resolve(resolve.load(name, ["--config.mesh=fsdp:8"]))
    step_of_it = compiled(resolved)
    communicated = sent(step_of_it.as_text())
    print(f"{name}, fsdp:8, {resolved.train.batch_size} examples")
    for kind, sizes in communicated.items():
        print(
            f"  {kind:20}{len(sizes):6}  {sum(sizes) / MIB:10,.1f} MiB, "
            f"largest {max(sizes) / MIB:8,.1f} MiB"
        )
    need = step_of_it.memory_analysis()
    print(
        f"  state {need.argument_size_in_bytes / MIB:,.0f} MiB, the rest "
        f"{need.temp_size_in_bytes / MIB:,.0f} MiB per device"
    )
    copied = largest_copied(resolved)
    sent_most = max(max(sizes) for sizes in communicated.values()) / MIB
    print(
        f"  largest tensor that is whole on each device: of the state {copied:.2f} MiB, on the "
        f"way {sent_most:.1f} MiB"
    )
    return max(sent_most, copied) <= MOST_MIB and communicated.keys() <= EXPECTED


def scaling(resolved: records.Config) -> dict[str, tuple[float, float, float]]:
    """{mesh: (FLOP, bytes of the state, all other bytes) per device}, batch and recipe alike."""
    found = {}
    for spec in ("data:1", *MESHES):
        devices = jax.devices()[: 1 if spec == "data:1" else 8]
        step_of_it = compiled(dataclasses.replace(resolved, mesh=spec), devices)
        need = step_of_it.memory_analysis()
        flops = step_of_it.cost_analysis()["flops"]
        found[spec] = flops, need.argument_size_in_bytes, need.temp_size_in_bytes
    return found


def scale(name: str) -> bool:
    """Compiles for each mesh and prints what a device does and holds."""
    found = scaling(resolve.resolve(resolve.load(name)))
    whole = found["data:1"]
    print(f"{name:24}{'GFLOP':>20}{'MiB of state':>20}{'MiB besides':>20}")
    for spec, one in found.items():
        cells = [
            f"{value / unit:12,.1f} ({value / first:.3f})".rjust(20)
            for value, first, unit in zip(one, whole, (1e9, MIB, MIB))
        ]
        print(f"  {spec:22}" + "".join(cells), flush=True)
    return all(one[0] < 1.05 * whole[0] / 8 for spec, one in found.items() if spec != "data:1")


def main(words: list[str]) -> int:
    if words[:1] == ["--write"]:
        FOLDER.mkdir(exist_ok=True)
        for name in names():
            (FOLDER / f"{name}.txt").write_text(table(name))
        return 0
    if words[:1] == ["--compile"]:
        return 0 if all([report(name) for name in words[1:]]) else 1
    if words[:1] == ["--scale"]:
        return 0 if all([scale(name) for name in words[1:]]) else 1
    print(__doc__)
    return 2


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    sys.exit(main(sys.argv[1:]))
