"""Wires a recipe to data, state, step and loop; starts a run or continues it."""

import itertools
import logging
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from d2v_jax.common import buckets, settings, trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.data.loader import Batches, open_batches
from d2v_jax.data.quarantine import Quarantine
from d2v_jax.train import checkpoint, ending, loop, run, state, step
from d2v_jax.train.hosts.agreement import Peers
from d2v_jax.train.hosts.holding import Holder
from d2v_jax.train.machine import mesh as meshes
from d2v_jax.train.recipe.records import Config
from d2v_jax.train.recipe.resolve import to_fields
from d2v_jax.train.report import metrics
from d2v_jax.train.report.goodput import Goodput, Profile

log = logging.getLogger("d2v")

STOPPED = 75  # exit code of a run that was asked to stop, saved, and can be continued
DATA_S = 3600  # in which all processes must have opened their data


# What is trained and what is carried, of the checkpoint that `init_from` names, read and checked.
Start = Callable[[Config], tuple[Tree, Tree]]


# Evaluates what was trained so far: (trained tree, carried tree) -> what to record.
Evaluate = Callable[[Tree, Tree], metrics.Record]


def pretrain(
    config: Config,
    workdir: pathlib.Path,
    read_start: Start,
    peers: Peers | None = None,
    evaluate: Evaluate | None = None,
) -> int:
    """Trains until `train.steps`, from wherever `workdir` stands. Returns the exit code.

    `read_start` is called when `init_from` names a checkpoint and the run is new. `peers` are the
    other processes of this run, if there are any; they share `workdir`. `evaluate` is called every
    `eval.every` steps with trees of NumPy arrays, in process 0.
    """
    with settings.fixed(), buckets.Copy(workdir) as copy, Holder(workdir, peers) as holder:
        return _pretrain(config, workdir, copy, holder, read_start, peers, evaluate)


def _pretrain(config, workdir, copy, holder, read_start, peers, evaluate) -> int:
    holder.take()
    new = not (workdir / run.FILE).exists()
    spent = Goodput(copy.folder)
    mesh = meshes.make_mesh(config.mesh)
    sizes = config.data.batch_sizes(config.train.batch_size)
    meshes.check_batch(sizes, config.train.micro_batches, mesh)
    if not new:
        run.continue_or_refuse(workdir, config)
    elif workdir.is_dir() and (workdir / "checkpoints").exists():
        raise UserError(f"{workdir} holds checkpoints but no {run.FILE}; use another --workdir")

    shapes = jax.eval_shape(lambda: state.create(config))
    said = [
        f"{fact.name} {fact.count:,}"
        for fact in config.objective.facts(shapes.params, shapes.carried)
    ]
    log.info(
        "%s: parameters of %s, %d device(s)", config.recipe, ", ".join(said), mesh.devices.size
    )
    latest = checkpoint.newest(workdir, config.items[0])
    start = latest or 0
    if start >= config.train.steps:
        ending.require_learnt(copy, start)
        log.info("%s is complete at step %d; nothing to do", workdir, start)
        return 0
    quarantine = Quarantine(copy.folder, jax.process_index())
    # Bad data and a bad beginning must show before anything is written.
    config.data.check_frontend(config.frontend)
    with _open(config, start, quarantine.add) as batches:
        first = next(batches)
        begin = read_start(config) if new and config.init_from else None
        if peers:
            peers.agree("data", batches.fingerprint, DATA_S)
            peers.agree("--workdir", "new" if new else "begun")
            peers.agree("step", start)
        if new:
            holder.take(make=True)
        if new and jax.process_index() == 0:
            if (workdir / run.FILE).exists():
                raise UserError(f"{workdir} was begun by another call meanwhile; start again")
            config.data.keep(copy.folder / run.TOKENIZER)
            copy.keep()
            run.write_config(workdir, config)
        if peers:
            peers.agree("beginning", "done")  # nobody goes on before the run folder stands
        quarantine.begin()
        train = config.train
        checkpoints = checkpoint.Checkpoints(
            workdir, config.items, train.keep, train.keep_best, train.best_metric
        )
        try:
            current = _initial_state(
                config,
                mesh,
                shapes,
                checkpoints,
                batches.fingerprint,
                latest,
                lambda: begin or read_start(config),
            )
            if peers:
                peers.watch()
            stream = Stream(batches, itertools.chain([first], batches), quarantine.path)
            return _train(config, copy, stream, mesh, checkpoints, current, start, spent, evaluate)
        finally:
            checkpoints.close()


class Stream(NamedTuple):
    """The batches of a run from its first step on, and where those left out are named."""

    source: Batches
    batches: Iterator[dict[str, np.ndarray]]
    quarantine: pathlib.Path


def _open(config: Config, start: int, on_fault: Callable[[str, str], None]) -> Batches:
    return open_batches(
        config.data,
        seed=config.seed,
        batch_size=config.train.batch_size,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        on_fault=on_fault,
    )


def _initial_state(config, mesh, shapes, checkpoints, fingerprint, latest, first):
    """The state of the `latest` checkpoint; without one `init_from`'s, or a fresh one."""
    shardings = meshes.state_sharding(shapes, mesh)
    if latest is None:
        fresh = jax.jit(lambda: state.create(config), out_shardings=shardings)()
        if config.init_from:
            params, carried = jax.device_put(first(), (shardings.params, shardings.carried))
            fresh = fresh.replace(params=params, carried=carried)
        return fresh
    like = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings
    )
    current, position = checkpoints.restore(latest, like)
    if position["fingerprint"] not in (fingerprint, None):  # None: a converted checkpoint
        raise UserError(
            f"the data of this run have changed since step {latest}: {config.data.source} is not "
            "what it was. Restore the files, or start a new run in another --workdir."
        )
    log.info("continuing from step %d", latest)
    return current


def _train(config, copy, stream, mesh, checkpoints, current, start, spent, evaluate) -> int:
    index, together = jax.process_index(), jax.process_count() > 1
    history = metrics.History(copy.folder, start) if index == 0 else None
    watch = metrics.Watch(config.objective, config.optimizer.warmup_steps)
    progress = metrics.Progress(config.train.steps, config.objective.shown)
    guard = loop.Guard(
        [path for path, _ in trees.leaves(current.params)], config.train.most_skipped
    )
    profile = Profile(copy.folder, config.profiled_steps)
    train_step = step.compile_step(config, mesh, jax.tree.map(lambda x: x.sharding, current))
    log.info("compiling the step ...")
    began = time.monotonic()
    last: metrics.Record = {}
    saved, broken = start, False

    def record(one: metrics.Record) -> None:
        last.update(one)
        spent.add("data", one["data_wait_s"])
        if history:
            history.write(one)
            progress.show(one)
            watch.look(one)

    def evaluated(state_now: state.TrainState) -> metrics.Record:
        with spent.timed("evaluation"):
            params, carried = meshes.on_host((state_now.params, state_now.carried))
            return evaluate(params, carried) if index == 0 else {}

    with loop.StopRequest(3600 * config.train.stop_after, together) as stop:

        def save(state_now: state.TrainState) -> None:
            nonlocal saved, broken
            broken = not guard.row and not state.is_finite(state_now)
            if guard.row or broken:  # it would take the place of a good one
                return
            position = {"next_batch": int(state_now.step), "fingerprint": stream.source.fingerprint}
            with spent.timed("checkpoint"):
                copy.keep()  # a checkpoint never runs ahead of the history
                checkpoints.save(state_now, position, to_fields(config), last or None)
            saved = position["next_batch"]
            if index == 0:
                spent.write(start, position["next_batch"])

        copy.keep_on()
        spent.started()
        current = loop.fit(
            current,
            train_step,
            _on_devices(stream.batches, mesh, stop if together else None),
            start=start,
            clock=loop.Clock(
                config.train.steps,
                config.train.log_every,
                config.train.checkpoint_every,
                config.eval.every if evaluate else 0,
            ),
            record=record,
            save=save,
            stop=stop,
            guard=guard,
            began=profile.before,
            evaluate=evaluated,
        )
        profile.end()
        with spent.timed("checkpoint"):
            checkpoints.wait()
        if index == 0:
            spent.write(start, int(current.step))
        if history:
            history.close()
        copy.keep()
        if stream.source.faults:
            log.warning(
                "%d records were left out and %d examples replaced; %s names them with the reasons",
                len(stream.source.faults),
                stream.source.skipped,
                copy.run / stream.quarantine.name,
            )
    done = int(current.step)
    took = metrics.clock(time.monotonic() - began)
    if saved:
        log.info("step %d saved in %s after %s", saved, copy.run, took)
    if guard.skipped:
        log.warning("%d updates were skipped because they were not finite", guard.skipped)
    if guard.full or broken or (guard.row and not stop.name):
        raise UserError(
            ending.diverged(copy.run, checkpoints, guard, broken, done, max(start, guard.last))
        )
    if stop.name and done < config.train.steps:
        if index == 0:
            command = "finetune" if config.objective.own_head else "pretrain"
            log.warning("%s", ending.stopped(copy.run, command, stop.name, done, saved))
        return STOPPED
    return 0


def _on_devices(
    batches: Iterator[dict[str, np.ndarray]], mesh, stop: loop.StopRequest | None
) -> Iterator[dict[str, jax.Array]]:
    """Global batches; with them travels whether this process wants to stop."""
    split = meshes.batch_sharding(mesh)
    for batch in batches:
        if stop:
            batch["stop"] = np.full(len(batch["example_id"]), stop.wanted, np.int32)
        yield meshes.put(batch, split)
