"""Another project's checkpoint becomes a run folder of ours."""

import logging
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.data2vec import teacher
from d2v_jax.interop import fairseq
from d2v_jax.train import checkpoint, config, optimizer, run
from d2v_jax.train.state import TrainState

log = logging.getLogger("d2v")


def convert(source: pathlib.Path, workdir: pathlib.Path) -> str:
    """Writes student, teacher and recipe of `source` into `workdir`; returns a report.

    The result is a run at step 0: it can be probed, inspected and trained further.
    """
    if workdir.exists() and any(workdir.iterdir()):
        raise UserError(f"{workdir} is not empty; convert into a new folder, so that nothing is "
                        "overwritten")  # fmt: skip
    imported = fairseq.read_fairseq(source)
    recipe = config.resolve(imported.config)
    owned = imported.teacher
    if owned is None:
        log.warning("%s holds no teacher; it starts as a copy of the student", source)
        owned = teacher.start(imported.student, recipe.model.teacher.owns)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        student=jax.tree.map(jnp.asarray, imported.student),
        teacher=jax.tree.map(jnp.asarray, owned),
        opt_state=optimizer.make_optimizer(recipe).init(imported.student),
    )
    run.write_config(workdir, recipe, origin=f"converted from {source.name}")
    checkpoints = checkpoint.Checkpoints(workdir, keep=1)
    checkpoints.save(state, {"next_batch": 0, "fingerprint": None}, config.to_fields(recipe))
    checkpoints.wait()
    checkpoints.close()

    _, student_back, teacher_back = checkpoint.load_trees(workdir)
    back = {"student": student_back, "teacher": teacher_back}
    gap = _largest_difference(back, {"student": imported.student, "teacher": owned})
    return "\n".join([
        *_mapping(imported.report),
        f"{trees.count(imported.student):,} student and {trees.count(owned):,} teacher "
        f"parameters -> {workdir}",
        f"largest difference after reading them back: {gap:g}",
    ])  # fmt: skip


def _mapping(report: list[tuple[str, str, tuple[int, ...]]]) -> list[str]:
    width = max(len(ours) for ours, _, _ in report)
    return [f"{ours.ljust(width)}  {'x'.join(map(str, shape)):>14}  {theirs}"
            for ours, theirs, shape in report]  # fmt: skip


def _largest_difference(a: trees.Tree, b: trees.Tree) -> float:
    pairs = zip(trees.leaves(a), trees.leaves(b), strict=True)
    return max(
        float("inf") if path_a != path_b else float(np.abs(np.asarray(x) - np.asarray(y)).max())
        for (path_a, x), (path_b, y) in pairs
    )
