"""A recipe with labels becomes whole: the encoder is a checkpoint's, label names the data's."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from d2v_jax.common import buckets
from d2v_jax.common.checks import UserError
from d2v_jax.common.letters import ENGLISH
from d2v_jax.data.labelled.chosen import shown
from d2v_jax.data.modality import data_class
from d2v_jax.encoder.objective import SUPERVISED
from d2v_jax.train import run
from d2v_jax.train.recipe import resolve
from d2v_jax.train.recipe.records import Config
from d2v_jax.transfer import reading
from d2v_jax.transfer.reading import Loaded

log = logging.getLogger("d2v")

OF_THE_CHECKPOINT = ("frontend", "positions", "trunk")
INIT = "--config.init_from="


def recipe(spec: str, overrides: Sequence[str]) -> tuple[Config, Loaded]:
    """The resolved recipe of `d2v finetune --config SPEC`, and the checkpoint it starts from.

    Its encoder is that of the checkpoint, but for the fields that recipe or `overrides` set.
    """
    folder = buckets.place(spec)
    buckets.reach(folder)
    if folder.is_dir():
        fields = run.read_recipe(folder)
    else:
        fields = resolve.load(spec).to_dict()
    if fields.get("objective") not in SUPERVISED:
        raise UserError(
            f"--config {spec} is a recipe of objective={fields.get('objective')!r}; d2v finetune "
            "takes those with labels, such as finetune_image"
        )
    path = next(
        (word.removeprefix(INIT) for word in reversed(overrides) if word.startswith(INIT)),
        fields["init_from"],
    )
    if not path:
        raise UserError(
            "there is no encoder to start from; name a checkpoint with "
            "--config.init_from=RUN (to train its architecture from nothing, add "
            "--config.start.encoder=untrained)"
        )
    loaded = reading.read(path)
    theirs = resolve.to_fields(loaded.recipe)
    if theirs["modality"] != fields["modality"]:
        raise UserError(
            f"init_from={path!r} holds a model of {theirs['modality']}, but the recipe is of "
            f"{fields['modality']}; use a recipe of its modality"
        )
    for section in OF_THE_CHECKPOINT:
        fields[section] = {**theirs[section], **fields[section]}
    fields["data"] |= data_class(fields["modality"]).of_the_encoder(
        fields["data"], theirs["data"], fields["frontend"]
    )
    whole = resolve.edited(fields, overrides, spec).to_dict()
    if not whole["data"]["label_names"]:
        names = _names(whole, loaded)
        whole["data"]["label_names"] = names
        log.info("%d labels: %s", len(names), shown(names))
    whole["head"]["outputs"] = max(len(whole["data"]["label_names"]), 1)
    return resolve.resolve(whole), loaded


def _names(fields: Mapping[str, Any], loaded: Loaded) -> tuple[str, ...]:
    """What the outputs stand for, where the recipe does not say."""
    head = loaded.head or {}
    match fields["data"]["labels"]:
        case "value":
            return ("value",)
        case "letters":
            return tuple(head.get("labels") or ENGLISH)
        case _ if fields["start"]["head"] == "checkpoint" and head.get("labels"):
            return tuple(head["labels"])
    data = resolve.resolve(fields).data
    names: set[str] = set()
    ordered: tuple[str, ...] = ()
    for one in data.each():
        found = one.labelled_source().class_names
        ordered, names = found, names | set(found)
    return ordered if len(names) == len(ordered) else tuple(sorted(names))


def tested(config: Config) -> Config:
    """The recipe whose data are those to evaluate on: `eval.source` and `eval.split`.

    Raises `UserError` where there are none that were not learnt from.
    """
    source = config.eval.source or config.data.source
    split = config.eval.split or _test_split(config, source)
    data = dataclasses.replace(config.data, source=source, split=split, per_class=0, balance=False)
    if (source, split) == (config.data.source, config.data.split):
        raise UserError(
            f"eval.split={split!r} of {source!r} is what was learnt from; name others with "
            "--config.eval.source or --config.eval.split"
        )
    return dataclasses.replace(config, data=data)


def _test_split(config: Config, source: str) -> str:
    known = config.data.test_splits(source)
    if known:
        return known[0]
    if source != config.data.source:
        return "train"
    raise UserError(
        f"{source!r} has no split for tests; give --config.eval.source, or learn from a part: "
        "--config.data.split='train[:80%]' --config.eval.split='train[80%:]'"
    )
