"""A checkpoint from one format into another, with a report of what became of it."""

import itertools
import logging
import pathlib
import shutil

import jax
import jax.numpy as jnp

from d2v_jax.common import buckets, trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.files import on_disk
from d2v_jax.interop.huggingface import hf_write
from d2v_jax.interop.ours import safetensors_io
from d2v_jax.train import checkpoint, optimizer, run, state
from d2v_jax.train.recipe import resolve
from d2v_jax.transfer import reading
from d2v_jax.transfer.reading import Loaded

log = logging.getLogger("d2v")

TARGETS = ("run", "safetensors", "hf")
COPY = "(copy) "  # of the student's, in their teacher


def convert(source: pathlib.Path, out: pathlib.Path, to: str = "run") -> str:
    """Writes what `source` holds into the new folder `out`; returns a report.

    `to`: "run" makes a run at step 0 that can be probed and trained further, "safetensors" one
    file of weights and a JSON, "hf" a folder for transformers (data2vec 1.0 and its siblings).
    The report lists every leaf with the key it came from, and the largest difference after
    reading the result back.
    """
    if to not in TARGETS:
        raise UserError(f"--to {to!r} is not one of {', '.join(TARGETS)}")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a new folder")
    if out.exists() and any(out.iterdir()):
        raise UserError(
            f"{out} is not empty; convert into a new folder, so that nothing is overwritten"
        )
    loaded = reading.read(source)
    try:
        if to == "run":
            _write_run(loaded, out, source.name)
            left_out = []
        else:
            with buckets.Copy(out) as copy:
                left_out = _write(loaded, copy.folder, to, source.name)
        return _report(loaded, reading.read(out), out, to, left_out)
    except BaseException as error:
        _clear(out)  # half a checkpoint is of no use, and in the way of the next attempt
        if isinstance(error, OSError):
            raise UserError(f"{out} cannot be written: {error.strerror or error}") from None
        raise


def _write(loaded: Loaded, out: pathlib.Path, to: str, origin: str) -> list[str]:
    """Returns the paths of the leaves for which the format has no place."""
    fields = resolve.to_fields(loaded.recipe)
    if to == "safetensors":
        content = {"recipe": fields, "step": loaded.step, "origin": f"converted from {origin}"}
        safetensors_io.save(out, loaded.params, loaded.carried, loaded.beside, content)
        return []
    system, params = loaded.system, loaded.params
    if loaded.recipe.objective.own_head:
        # Of what system the encoder was, its own fields tell.
        system = hf_write.system_of(fields)
        params = _headless(params)
    left_out = hf_write.write_hf(out, system, fields, params, loaded.head)
    try:
        loaded.recipe.data.keep(out, loaded.recipe.frontend)
    except UserError as error:
        log.warning("no tokenizer is written (%s); put the model's own beside it", error)
    return left_out


def _headless(params: trees.Tree) -> trees.Tree:
    return {part: tree for part, tree in params.items() if part != "head"}


def _clear(out: pathlib.Path) -> None:
    """It was empty or did not exist."""
    if not on_disk(out):
        out.rmtree(missing_ok=True)
    elif out.is_dir():
        for path in out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        out.rmdir()


def _write_run(loaded: Loaded, out: pathlib.Path, origin: str) -> None:
    recipe, params, carried = loaded.recipe, dict(loaded.params), loaded.carried
    missing = [part for part in reading.shapes_of(recipe) if part not in params]
    if carried is None and not missing:
        carried, words = recipe.objective.adopt(params, None)
        if words:
            log.warning("the checkpoint holds no %s: %s", recipe.objective.carried_name, words)
    if loaded.beside is not None:
        params["head"] = loaded.beside["params"]
    run.write_config(out, recipe, f"converted from {origin}", loaded.beside, missing)
    # Without all parts nothing can be trained, so there is no optimiser to begin with.
    adam = {} if missing else optimizer.make_optimizer(recipe).init(loaded.params)
    if missing:
        log.warning(
            "without %s: features can be taken; to train on, use --config.init_from",
            ", ".join(missing),
        )
    saver = checkpoint.Checkpoints(out, recipe.items, keep=1)
    saver.save(
        state.TrainState(
            step=jnp.zeros((), jnp.int32),
            params=jax.tree.map(jnp.asarray, params),
            carried=jax.tree.map(jnp.asarray, carried or {}),
            opt_state=adam,
        ),
        {"next_batch": 0, "fingerprint": None},
        resolve.to_fields(recipe),
    )
    saver.wait()
    saver.close()


def _report(loaded: Loaded, back: Loaded, out: pathlib.Path, to: str, left_out: list[str]) -> str:
    lines = [_row("ours", "shape", "theirs")] if loaded.report else []
    lines += [
        _row(ours.replace("copy/", COPY, 1), "x".join(map(str, shape)), _folded(theirs))
        for ours, theirs, shape in loaded.report
    ]
    if any(ours.startswith("copy/") for ours, _, _ in loaded.report):
        lines.append(f"{COPY.strip()}: what their teacher only copies from the student is not kept")
    params, there = loaded.params, back.params
    if loaded.recipe.objective.own_head:
        params, there = _headless(params), _headless(there)
    kept = {path: leaf for path, leaf in trees.leaves(params) if path not in left_out}
    gap = reading.largest_difference(trees.from_leaves(kept), there)
    said = f"{loaded.system}: {trees.count(kept):,} student parameters"
    if loaded.carried is None:
        said += ", no teacher"
    elif to == "hf":
        left_out = [*left_out, "the teacher"]
    else:
        gap = max(gap, reading.largest_difference(loaded.carried, back.carried or {}))
        said += f", {trees.count(loaded.carried):,} of the teacher"
    if loaded.head is not None:
        head = back.head["params"] if back.head else {}
        gap = max(gap, reading.largest_difference(loaded.head["params"], head))
        said += f", {trees.count(loaded.head['params']):,} of a {loaded.head['kind']} head"
    lines.append(f"{said} -> {out}")
    if left_out:
        lines.append(f"left out, as the format has no place for them: {', '.join(left_out)}")
    lines.append(f"largest difference after reading them back: {gap:g}")
    return "\n".join(lines)


def _row(ours: str, shape: str, theirs: str) -> str:
    return f"{ours:48}  {shape:>14}  {theirs}"


def _folded(theirs: str) -> str:
    """ "a.q_proj.bias + a.k_proj.bias" -> "a.{q,k}_proj.bias"."""
    keys = theirs.split(" + ")
    if len(keys) == 1:
        return theirs
    front = _common(keys)
    rest = [key.removeprefix(front) for key in keys]
    back = _common([key[::-1] for key in rest])[::-1]
    return f"{front}{{{','.join(key.removesuffix(back) for key in rest)}}}{back}"


def _common(words: list[str]) -> str:
    """The letters with which all of them begin."""
    columns = zip(*words, strict=False)
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, columns)
    return "".join(letters[0] for letters in same)
