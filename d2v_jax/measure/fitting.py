"""Which settings make a recipe fit on a slice: tried with its compiler, one after the other."""

import contextlib
import copy
import dataclasses
import hashlib
import json
import logging
import math
import pathlib
import threading
import time
import types
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from d2v_jax.common import trees
from d2v_jax.common.files import cache_folder, write_whole
from d2v_jax.measure import plan as plans
from d2v_jax.measure import program
from d2v_jax.measure.plan import Cost, Plan
from d2v_jax.measure.program import Collective
from d2v_jax.measure.setting import Setting
from d2v_jax.measure.slices import Slice
from d2v_jax.train.recipe import resolve
from d2v_jax.train.recipe.records import Config

log = logging.getLogger("d2v")

TELL_S = 30
SPARE = 0.97  # of the memory: estimates of how many parts are needed are a little short
Settings = dict[str, Any]  # "train.micro_batches": 2


def made_to_fit(
    config: Config,
    where: Slice,
    search: bool = True,
    quick: bool = False,
    given: Mapping[str, Any] = types.MappingProxyType({}),
) -> tuple[Plan, Plan]:
    """The plan of the recipe as it is, and of what fits: the same one where that is it.

    Where nothing does, the second is of the last that was tried. Without `search` only the first
    is made. Settings are tried by quick plans; one that is not is made of what fits, unless
    `quick`. Compiling takes minutes; plans are kept, by program, slice and versions. `given`
    are fields in which `config` differs from its recipe, by path, which a plan is to name.
    """

    def tried(settings: Settings) -> Plan:
        words = tuple(f"{path}={value}" for path, value in {**given, **settings}.items())
        program = _Program(changed(config, settings), where, words)
        found = program.kept(quick=False) or program.compiled(quick=True)
        return found if quick or not found.fits else program.compiled(quick=False)

    settings: Settings = {}
    first = last = tried(settings)
    while search and not last.fits:
        more = further(config, last, settings)
        if more is None:
            break
        settings = more
        last = tried(settings)
    return first, last


def further(config: Config, plan: Plan, settings: Settings) -> Settings | None:
    """What to try when `settings` did not fit; None where nothing is left.

    Parameters are cut where they take half of the memory. Then the batch is taken in as many
    parts as should do; then activations are computed again; then views are taken in parts.
    """
    state = sum(size for name, size in plan.held.items() if name != "batch")
    if state > plan.has / 2 and "fsdp" not in plan.mesh:
        return settings | {"mesh": "fsdp:-1"}
    fields = resolve.to_fields(changed(config, settings))
    free = SPARE * plan.has - state
    times = (plan.needs - state) / free if free > 0 else math.inf
    sizes = config.data.batch_sizes(config.train.batch_size)
    each = math.gcd(*sizes) // plan.devices
    parts = fields["train"]["micro_batches"]
    for size in range(parts + 1, each + 1):
        if each % size == 0 and size >= parts * times:
            return settings | {"train.micro_batches": size}
    if fields.get("trunk", {}).get("remat", "blocks") != "blocks":
        return settings | {"trunk.remat": "blocks"}
    if parts < each:
        return settings | {"train.micro_batches": each}
    mask = fields.get("mask", {})
    views, parts = mask.get("views", 1), mask.get("micro_views", 1)
    for size in range(parts + 1, views + 1):
        if views % size == 0:
            return settings | {"mask.micro_views": size}
    return None


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """The recipe with other values in some fields, checked."""
    fields = copy.deepcopy(resolve.to_fields(config))
    for path, value in settings.items():
        *sections, name = path.split(".")
        holder = fields
        for section in sections:
            holder = holder[section]
        holder[name] = value
    return resolve.resolve(fields)


def differences(config: Config, recipe: Config) -> Settings:
    """The fields of `config` that have another value in `recipe`, by path."""
    before = dict(trees.leaves(resolve.to_fields(recipe)))
    return {
        path.replace("/", "."): value
        for path, value in trees.leaves(resolve.to_fields(config))
        if before.get(path) != value
    }


class _Program:
    """The step of a recipe for a slice, of which plans are made and kept."""

    def __init__(self, config: Config, where: Slice, words: tuple[str, ...]):
        """`words`: the settings in which `config` differs from its recipe."""
        self._config, self._where, self._words = config, where, words
        self._text = Setting(config, devices=where.devices).lower().as_text()

    def kept(self, quick: bool) -> Plan | None:
        """Of the last time that these versions compiled it, or one that was found too large."""
        try:
            found = json.loads(self._path(quick).read_text())
            plan = dataclasses.replace(from_json(found["plan"]), settings=self._words)
            return plan if found["sources"] == sources() else _without_lines(plan)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def compiled(self, quick: bool) -> Plan:
        """`plan.plan`, unless it is kept."""
        if found := self.kept(quick):
            return found
        called = " ".join((self._config.recipe, *self._words))
        aim = "" if quick else ", with an estimate of its time"
        with telling(f"compiling {called} for {self._where.name}{aim}; this takes minutes"):
            memory = round(self._where.chip.memory_gib * 2**30)
            plan = plans.plan(self._config, self._where.devices, memory, self._words, quick)
        log.info("%s after %.0f s", "compiled" if plan.fits else "too large", plan.compile_s)
        path = self._path(quick)
        try:
            write_whole(path, json.dumps({"sources": sources(), "plan": dataclasses.asdict(plan)}))
        except OSError as error:
            log.warning("the plan is not kept: %s: %s", path, error.strerror)
        return plan

    def _path(self, quick: bool) -> pathlib.Path:
        words = (self._where.name, *versions().values(), *(["quick"] if quick else []), self._text)
        key = hashlib.sha256("\n".join(words).encode()).hexdigest()
        return cache_folder() / "plans" / f"{key}.json"


def versions() -> dict[str, str]:
    """Of what compiles."""
    found = {one.name: one.version for one in metadata.distributions()}
    return {name: found.get(name, "unknown") for name in ("jax", "jaxlib", "libtpu")}


@contextlib.contextmanager
def telling(what: str) -> Iterator[None]:
    """Says what is done and, every `TELL_S` seconds, for how long: compilers are silent."""
    log.info("%s ...", what)
    done, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not done.wait(TELL_S):
            log.info("... %.0f s", time.monotonic() - began)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def sources() -> str:
    """A hash of this package's code: lines of plans that were made with another have moved."""
    files = sorted(pathlib.Path(program.ROOT).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _without_lines(plan: Plan) -> Plan:
    costliest = tuple(dataclasses.replace(cost, line="") for cost in plan.costliest)
    return dataclasses.replace(plan, costliest=costliest)


def from_json(fields: dict[str, Any]) -> Plan:
    """A plan that was kept as JSON. Raises `TypeError` or `KeyError` where it is another's."""
    whole = dict(fields)
    whole["collectives"] = tuple(Collective(**one) for one in whole["collectives"])
    whole["costliest"] = tuple(Cost(**one) for one in whole["costliest"])
    whole["largest"] = tuple((name, size) for name, size in whole["largest"])
    for name in ("settings", "example_shape"):
        whole[name] = tuple(whole[name])
    return Plan(**whole)
