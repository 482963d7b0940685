"""Wires a recipe to data, state, step and loop; starts a run or continues it."""

import contextlib
import itertools
import logging
import pathlib
import shlex
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from d2v_jax.common import lock, settings, trees
from d2v_jax.common.checks import UserError
from d2v_jax.common.trees import Tree
from d2v_jax.data.loader import Batches, open_batches
from d2v_jax.data.quarantine import Quarantine
from d2v_jax.train import checkpoint, loop, run, state, step
from d2v_jax.train.hosts.agreement import Peers
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
    with contextlib.ExitStack() as stack:
        stack.enter_context(settings.fixed())
        hold = lambda: stack.enter_context(lock.held(workdir, IN_USE))
        return _pretrain(config, workdir, read_start, peers, evaluate, hold)


def _pretrain(config, workdir, read_start, peers, evaluate, hold) -> int:
    new = not (workdir / run.FILE).exists()
    if held := workdir.is_dir():
        _hold_together(hold, peers)
    spent = Goodput(workdir)
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
        _require_learnt(workdir, start)
        log.info("%s is complete at step %d; nothing to do", workdir, start)
        return 0
    quarantine = Quarantine(workdir, jax.process_index())
    # Bad data and a bad beginning must show before anything is written.
    config.data.check_frontend(config.frontend)
    with _open(config, start, quarantine.add) as batches:
        first = next(batches)
        begin = read_start(config) if new and config.init_from else None
        if peers:
            peers.agree("data", batches.fingerprint, DATA_S)
            peers.agree("--workdir", "new" if new else "begun")
            peers.agree("step", start)
        if new and not held:
            _hold_together(hold, peers, lambda: workdir.mkdir(parents=True, exist_ok=True))
        if new and jax.process_index() == 0:
            if (workdir / run.FILE).exists():
                raise UserError(f"{workdir} was begun by another call meanwhile; {IN_USE}")
            config.data.keep(workdir / run.TOKENIZER)
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
            return _train(
                config, workdir, stream, mesh, checkpoints, current, start, spent, evaluate
            )
        finally:
            checkpoints.close()


ANEW = (
    "Lower optimizer.learning_rate, set optimizer.clip, or compute in trunk.dtype=float32, in a "
    "new --workdir"
)
IN_USE = "wait for it or end it, or use another --workdir"


def _hold_together(hold, peers, before=lambda: None) -> None:
    """Process 0 holds the run folder for all; where it cannot, all are told."""
    refused = None
    if jax.process_index() == 0:
        try:
            before()
            hold()
        except (UserError, OSError) as error:
            refused = error
    try:
        if peers:
            peers.agree("the run folder", str(refused) if refused else "free")
    finally:
        if refused:
            raise refused


def _require_learnt(workdir: pathlib.Path, step: int) -> None:
    """Raises where the last updates of a complete run were not finite."""
    if metrics.ends_unfinished(workdir):
        raise UserError(
            f"{workdir} is complete at step {step}, but its last updates were not finite. {ANEW}"
        )


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


def _train(config, workdir, stream, mesh, checkpoints, current, start, spent, evaluate) -> int:
    index, together = jax.process_index(), jax.process_count() > 1
    history = metrics.History(workdir, start) if index == 0 else None
    watch = metrics.Watch(config.objective, config.optimizer.warmup_steps)
    progress = metrics.Progress(config.train.steps, config.objective.shown)
    guard = loop.Guard(
        [path for path, _ in trees.leaves(current.params)], config.train.most_skipped
    )
    profile = Profile(workdir, config.profiled_steps)
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
                checkpoints.save(state_now, position, to_fields(config), last or None)
            saved = position["next_batch"]
            if index == 0:
                spent.write(start, position["next_batch"])

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
        if stream.source.faults:
            log.warning(
                "%d records were left out and %d examples replaced; %s names them with the reasons",
                len(stream.source.faults),
                stream.source.skipped,
                stream.quarantine,
            )
    done = int(current.step)
    took = metrics.clock(time.monotonic() - began)
    if saved:
        log.info("step %d saved in %s after %s", saved, workdir, took)
    if guard.skipped:
        log.warning("%d updates were skipped because they were not finite", guard.skipped)
    if guard.full or broken or (guard.row and not stop.name):
        raise UserError(
            _diverged(workdir, checkpoints, guard, broken, done, max(start, guard.last))
        )
    if stop.name and done < config.train.steps:
        if index == 0:
            command = "finetune" if config.objective.own_head else "pretrain"
            log.warning(
                f"Stopped by {stop.name} at step {done}; "
                f"{'everything' if saved == done else f'step {saved}'} is saved. Go on with:\n"
                f"  d2v {command} --workdir {shlex.quote(str(workdir))}"
            )
        return STOPPED
    return 0


def _diverged(workdir, checkpoints, guard, broken, done, finite) -> str:
    """What to say of a run whose last update that was finite is number `finite`.

    A checkpoint from which none was leads nowhere, and is set aside.
    """
    rows = f"the last {guard.row} updates were not finite"
    words = [f"at step {done} the parameters are not finite" if broken else rows]
    good = checkpoints.good(finite)
    if guard.full and jax.process_index() == 0:
        moved = checkpoints.set_aside(finite)
        words += [f"no update from {place.name} on was, so it is in {place} now" for place in moved]
    if good is None:
        words.append("there is no good checkpoint")
        return f"{'; '.join(words)}. {ANEW}"
    words.append(f"checkpoint {good} is good")
    return f"{'; '.join(words)}. {ANEW} with --config.init_from={workdir}"


def _on_devices(
    batches: Iterator[dict[str, np.ndarray]], mesh, stop: loop.StopRequest | None
) -> Iterator[dict[str, jax.Array]]:
    """Global batches; with them travels whether this process wants to stop."""
    split = meshes.batch_sharding(mesh)
    for batch in batches:
        if stop:
            batch["stop"] = np.full(len(batch["example_id"]), stop.wanted, np.int32)
        yield meshes.put(batch, split)
