"""Orbax: what a run is, on disk. One item per tree, committed atomically, newest kept."""

import contextlib
import json
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from d2v_jax.common import buckets, trees
from d2v_jax.common.checks import MachineError, UserError, require_utf8
from d2v_jax.common.files import on_disk
from d2v_jax.common.quiet import quiet_reads
from d2v_jax.train import digests
from d2v_jax.train.state import TrainState

FOLDER = "checkpoints"
COMMITTED = "commit_success.txt"  # Orbax's, in buckets
RECIPE, TRAIN = "recipe", "train"  # items
DIVERGED = "diverged"  # where those go from which no update was finite
WORST = 1e30  # of a metric that is not known yet


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(
        self,
        workdir: pathlib.Path,
        items: tuple[str, str],
        keep: int,
        best: int = 0,
        by: str = "loss",
    ):
        """Keeps the `keep` newest and the `best` lowest `by` ("-NAME": highest).

        Two at least: whether the newest is good shows in the update that follows it.

        `items`: what the trained and the carried tree are called there (`Objective.params_name`).
        """
        self._items = items
        self.folder = _folder(workdir)
        self._failed = False
        self._by, self._highest = by.removeprefix("-"), by.startswith("-")
        policies = [preservation_policy.LatestN(max(2, keep))]
        if best:
            policies.append(
                preservation_policy.BestN(
                    get_metric_fn=lambda metrics: metrics["value"],
                    reverse=not self._highest,
                    n=best,
                )
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            cleanup_tmp_directories=True,
            # Alone, a folder that cannot be made says so at once. Made in the background, for which
            # many processes need not wait for each other, it lets Orbax wait for five minutes.
            async_options=ocp.AsyncOptions(
                create_directories_asynchronously=jax.process_count() > 1
            ),
        )
        with self._on_disk("cannot be opened"):
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(
        self,
        state: TrainState,
        position: dict[str, Any],
        recipe: dict[str, Any],
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts saving in the background; `position` says where the data stands, `record` how
        the run does.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        metrics = record and {"value": self._value(record)}
        trees_of = self._trees(state)
        named = {name: digests.of(tree) for name, tree in trees_of.items()}
        with self._on_disk(f"step {step} cannot be saved there, or the one before could not"):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardSave(tree) for name, tree in trees_of.items()},
                    data=ocp.args.JsonSave(position),
                    **{RECIPE: ocp.args.JsonSave(recipe)},
                    **{digests.ITEM: ocp.args.JsonSave(named)},
                ),
                metrics=metrics,
            )

    @contextlib.contextmanager
    def _on_disk(self, what: str) -> Iterator[None]:
        """What fails in it is the disk's fault."""
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise many kinds
            if self._failed:  # and again when they are closed
                return
            self._failed = True
            why = f"{self.folder}: {what}: {_reason(error)}"
            if not on_disk(self.folder):
                why = buckets.trouble(error, str(self.folder)) or why
            raise MachineError(
                f"{why}. Older checkpoints stay; see to the disk and run the same command again"
            ) from error

    def _trees(self, state: TrainState) -> dict[str, Any]:
        """The trees of a state by item; what an objective does not carry is not stored empty."""
        both = zip(self._items, (state.params, state.carried), strict=True)
        train = {"step": state.step, "opt_state": state.opt_state}
        return {name: tree for name, tree in both if tree} | {TRAIN: train}

    def _value(self, record: Mapping[str, Any]) -> float:
        if self._by not in record and self._by.startswith("eval/"):  # not evaluated yet
            return -WORST if self._highest else WORST
        if self._by not in record:
            raise UserError(
                f"train.best_metric={self._by!r} is not in the records of this run; there are "
                f"{', '.join(sorted(record))}"
            )
        return float(record[self._by])

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Returns (state, data position); `like` holds shapes and shardings, not data."""
        args = {name: ocp.args.StandardRestore(tree) for name, tree in self._trees(like).items()}
        try:
            with quiet_reads():
                saved = self._manager.restore(
                    step, args=ocp.args.Composite(**args, data=ocp.args.JsonRestore())
                )
            for name in args:
                digests.require_as_saved(self.folder / str(step), name, saved[name])
        except Exception as error:  # Orbax and TensorStore raise many kinds
            raise self._damaged(step, error) from error
        train = saved[TRAIN]
        params, carried = (saved.get(name) or {} for name in self._items)
        state = TrainState(train["step"], params, carried, train["opt_state"])
        # Restored buffers may be shared with Orbax; the step donates its own.
        return jax.tree.map(lambda x: x.copy(), state), saved["data"]

    def _damaged(self, step: int, error: Exception) -> UserError:
        older = [s for s in self._manager.all_steps() if s < step]
        remedy = (
            f"the run then continues from step {max(older)}"
            if older
            else "no older checkpoint is left, so the run then starts again"
        )
        return UserError(
            f"the checkpoint {self.folder / str(step)} cannot be read: {_reason(error)}; "
            f"move that folder out of {self.folder} and start again; {remedy}"
        )

    def wait(self) -> None:
        """Returns when everything handed to `save` is on disk."""
        with self._on_disk("a checkpoint cannot be saved there"):
            self._manager.wait_until_finished()

    def close(self) -> None:
        with self._on_disk("a checkpoint cannot be saved there"):
            self._manager.close()

    def good(self, finite: int) -> int | None:
        """The newest that was followed by a finite update, where `finite` is the last such one."""
        return max((step for step in self._manager.all_steps() if step < finite), default=None)

    def set_aside(self, finite: int) -> list[pathlib.Path]:
        """Moves those that were not, which lead nowhere, out of the way of the next call; -> where
        they are now.
        """
        moved = []
        for step in [step for step in self._manager.all_steps() if step >= finite]:
            moved.append(self.folder.parent / DIVERGED / str(step))
            _move(self.folder / str(step), moved[-1])
        return moved


def newest(workdir: pathlib.Path, item: str) -> int | None:
    """Step of the newest complete checkpoint of a run folder, None where there is none."""
    return max(
        (
            int(p.name)
            for p in _folder(workdir).glob("*")
            if p.name.isdigit() and _complete(p, item)
        ),
        default=None,
    )


def saved_recipe(workdir: pathlib.Path) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint's step and the recipe that it was saved with, if it holds one."""
    folder = _folder(workdir)
    steps = (int(path.name) for path in folder.glob("*") if path.name.isdigit())
    for step in sorted(steps, reverse=True):
        try:
            fields = json.loads((folder / str(step) / RECIPE / "metadata").read_text())
        except (OSError, ValueError):
            continue
        if isinstance(fields, dict):
            return step, fields
    return None


def _reason(error: Exception) -> str:
    """Its first line, and of a name of the system's in it only what people know."""
    words = str(error).strip()
    known = re.search(r"OS error code: \d+ ([A-Z][\w ,-]+?)(?:'|\)|\]|$)", words)
    if known:
        return known[1]
    return words.splitlines()[0][:300] if words else type(error).__name__


def load_trees(
    workdir: pathlib.Path, items: tuple[str, str]
) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Reads the newest checkpoint as NumPy, without its devices -> (step, trained, carried)."""
    step = newest(workdir, items[0])
    if step is None:
        raise UserError(
            f"{workdir} holds no checkpoint; is it a run folder made by `d2v pretrain` or "
            "`d2v convert`?"
        )
    path = _folder(workdir) / str(step)
    try:
        with quiet_reads():
            params, carried = (
                _load_tree(path, item) if (path / item).is_dir() else {} for item in items
            )
        return step, params, carried
    except Exception as error:  # Orbax and TensorStore raise many kinds
        raise UserError(
            f"the checkpoint {path} cannot be read: {_reason(error)}; "
            "move that folder away to use the one before it"
        ) from error


def _folder(workdir: pathlib.Path) -> pathlib.Path:
    folder = (workdir.absolute() if on_disk(workdir) else workdir) / FOLDER
    require_utf8(folder.parent, "checkpoints")
    return folder


def _complete(path: pathlib.Path, item: str) -> bool:
    """On disk a folder gets its name at the end, in a bucket an object that says so."""
    if not on_disk(path):
        return bool(ocp.utils.is_checkpoint_finalized(path))
    return (path / "_CHECKPOINT_METADATA").exists() or (path / item).is_dir()


def _move(folder: pathlib.Path, place: pathlib.Path) -> None:
    """In a bucket, which renames nothing, it is copied first and then ceases to count."""
    if on_disk(folder):
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True)
        folder.rename(place)
        return
    if place.exists():
        place.rmtree()
    _copy(folder, place)
    (folder / COMMITTED).unlink(missing_ok=True)
    folder.rmtree()


def _copy(folder: pathlib.Path, place: pathlib.Path) -> None:
    for path in folder.iterdir():  # a bucket has no names with "**"
        if path.is_dir():
            _copy(path, place / path.name)
        else:
            path.copy(place / path.name)


def _load_tree(checkpoint: pathlib.Path, item: str) -> dict[str, Any]:
    path = checkpoint / item
    with ocp.PyTreeCheckpointer() as checkpointer:
        listed = checkpointer.metadata(path).item_metadata
        if listed is None:
            raise ValueError(f"the list of the arrays in {item} is damaged or missing")
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), listed.tree)
        tree = checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    tree = trees.map_with_path(lambda _, leaf: np.asarray(leaf), tree)
    digests.require_as_saved(checkpoint, item, tree)
    return tree
