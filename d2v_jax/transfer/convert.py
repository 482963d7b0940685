"""A checkpoint from one format into another, with a report of what became of it."""

import logging
import pathlib

import jax
import jax.numpy as jnp

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.data2vec import teacher as teachers
from d2v_jax.interop import hf_write, safetensors_io
from d2v_jax.train import checkpoint, config, optimizer, run, state
from d2v_jax.transfer import checkpoints
from d2v_jax.transfer.checkpoints import Loaded

log = logging.getLogger("d2v")

TARGETS = ("run", "safetensors", "hf")


def convert(source: pathlib.Path, out: pathlib.Path, to: str = "run") -> str:
    """Writes what `source` holds into the new folder `out`; returns a report.

    `to`: "run" makes a run at step 0 that can be probed and trained further, "safetensors" one
    file of weights and a JSON, "hf" a folder for transformers (data2vec 1.0 only). The report
    lists every leaf with the key it came from, and the largest difference after reading the
    result back.
    """
    if to not in TARGETS:
        raise UserError(f"--to {to!r} is not one of {', '.join(TARGETS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; convert into a new folder, so that nothing is "
                        "overwritten")  # fmt: skip
    loaded = checkpoints.read(source)
    left_out: list[str] = []
    match to:
        case "run":
            _write_run(loaded, out, source.name)
        case "safetensors":
            content = {"recipe": config.to_fields(loaded.recipe), "step": loaded.step,
                       "origin": f"converted from {source.name}"}  # fmt: skip
            safetensors_io.save(out, loaded.student, loaded.teacher, loaded.head, content)
        case _:
            fields = config.to_fields(loaded.recipe)
            left_out = hf_write.write_hf(
                out, loaded.system, fields, loaded.student, loaded.head
            )  # fmt: skip
    return _report(loaded, checkpoints.read(out), out, to, left_out)


def _write_run(loaded: Loaded, out: pathlib.Path, origin: str) -> None:
    recipe, student = loaded.recipe, dict(loaded.student)
    shapes = jax.eval_shape(lambda: state.create(recipe)).student
    missing = [part for part in shapes if part not in student]
    owned = loaded.teacher
    if owned is None:
        log.warning("the checkpoint holds no teacher; it starts as a copy of the student")
        have = [part for part in recipe.model.teacher.owns if part in student]
        owned = teachers.start(student, tuple(have))
    if loaded.head is not None:
        student["head"] = loaded.head["params"]
    run.write_config(out, recipe, f"converted from {origin}", loaded.head, missing)
    # Without all parts nothing can be trained, so there is no optimiser to begin with.
    adam = {} if missing else optimizer.make_optimizer(recipe).init(loaded.student)
    if missing:
        log.warning("without %s: features can be taken; to train on, use --config.init_from",
                    ", ".join(missing))  # fmt: skip
    saver = checkpoint.Checkpoints(out, keep=1)
    saver.save(
        state.TrainState(
            step=jnp.zeros((), jnp.int32),
            student=jax.tree.map(jnp.asarray, student),
            teacher=jax.tree.map(jnp.asarray, owned),
            opt_state=adam,
        ),
        {"next_batch": 0, "fingerprint": None},
        config.to_fields(recipe),
    )
    saver.wait()
    saver.close()


def _report(
    loaded: Loaded, back: Loaded, out: pathlib.Path, to: str, left_out: list[str]
) -> str:  # fmt: skip
    lines = [_row(*row) for row in loaded.report]
    kept = {path: leaf for path, leaf in trees.leaves(loaded.student) if path not in left_out}
    gap = checkpoints.largest_difference(trees.from_leaves(kept), back.student)
    if to != "hf" and loaded.teacher is not None:
        gap = max(gap, checkpoints.largest_difference(loaded.teacher, back.teacher or {}))
    if loaded.head is not None:
        head = back.head["params"] if back.head else {}
        gap = max(gap, checkpoints.largest_difference(loaded.head["params"], head))
    taught = trees.count(loaded.teacher) if loaded.teacher is not None else 0
    lines.append(
        f"{loaded.system}: {trees.count(kept):,} student and "
        f"{0 if to == 'hf' else taught:,} teacher parameters"
        + (f", a {loaded.head['kind']} head" if loaded.head else "")
        + f" -> {out}"
    )
    if left_out:
        lines.append(f"left out, as the format has no place for them: {', '.join(left_out)}")
    lines.append(f"largest difference after reading them back: {gap:g}")
    return "\n".join(lines)


def _row(ours: str, theirs: str, shape: tuple[int, ...]) -> str:
    return f"{ours:48}  {'x'.join(map(str, shape)):>14}  {theirs}"
