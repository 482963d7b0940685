"""Fine-tuning takes the steps that torch takes: losses of twenty updates, layer decay and all."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from finetuning import (
    BETAS,
    CASES,
    DECAY,
    EPS,
    FROZEN,
    GOLDEN,
    LAYER_DECAY,
    MEAN,
    RATE,
    RECORDED,
    STD,
    STEPS,
    WARMUP,
    batch,
)

from d2v_jax.train import state, step
from d2v_jax.transfer import finetune, reading

RECIPES = {
    "hf_audio_ctc": ("finetune_asr", "ctc"),
    "hf_vision_cls": ("finetune_image", "image_classes"),
    "hf_text_cls": ("finetune_text", "text_classes"),
}
# The head, and what its norm is called by theirs, learn from the first update on.
FREE = (("head/*", 0), ("*", FROZEN))


def words(case: str) -> list[str]:
    """The settings of `finetuning.py`, as a user would give them."""
    _, kind = RECIPES[case]
    frozen = (("frontend/conv_*", -1), *FREE) if case == "hf_audio_ctc" else FREE
    fields = {
        "init_from": GOLDEN / case / "pretrained",
        "start.head": "checkpoint",
        "head.kind": kind,
        "data.label_names": {"hf_vision_cls": tuple("abcdefghij"), "hf_text_cls": tuple("abc")}.get(
            case, ()
        ),
        "mask.hide": "none",
        "augment.channel_share": 0.0,
        "augment.smoothing": 0.0,
        "trunk.drop_path": 0.0,
        "trunk.layer_drop": 0.0,
        "trunk.activation_dropout": 0.0,
        "trunk.dtype": "float32",
        "optimizer.adam": "torch",
        "optimizer.b1": BETAS[0],
        "optimizer.b2": BETAS[1],
        "optimizer.eps": EPS,
        "optimizer.weight_decay": DECAY,
        "optimizer.decays": "all",
        "optimizer.clip": 0.0,
        "optimizer.learning_rate": RATE,
        "optimizer.schedule": "linear",
        "optimizer.warmup_steps": WARMUP,
        "optimizer.hold_steps": 0,
        "optimizer.start_share": 0.0,
        "optimizer.end_share": 0.0,
        "optimizer.layer_decay": LAYER_DECAY,
        "optimizer.decay_before": True,
        "optimizer.frozen": frozen,
        "train.steps": STEPS,
    }
    if case == "hf_vision_cls":
        fields |= {"frontend.mean": (MEAN,) * 3, "frontend.std": (STD,) * 3}
    if case == "hf_audio_ctc":
        fields |= {"positions.zero_padding": "input", "data.samples": 9_600, "data.buckets": ()}
    return [f"--config.{name}={value}" for name, value in fields.items()]


@pytest.mark.parametrize("case", CASES)
def test_twenty_updates_equal_torch(case):
    recipe, _ = RECIPES[case]
    config, loaded = finetune.recipe(recipe, words(case))
    if case == "hf_audio_ctc":  # theirs has its own blank
        head = dataclasses.replace(config.objective.cfg.head, blank=0)
        config = config.with_sections(head=head)
    params, carried = reading.start_from(config, loaded)
    now = jax.jit(lambda: state.create(config))()
    now = now.replace(params=jax.tree.map(jax.numpy.asarray, params), carried=carried)
    train_step = jax.jit(step.make_train_step(config))
    one = batch(case) | {"example_id": np.arange(4, dtype=np.int32)}
    losses = []
    for _ in range(STEPS):
        now, metrics = train_step(now, one)
        losses.append(float(metrics["loss"][0]))
    theirs = json.loads(RECORDED.read_text())[case]
    assert theirs[-1] < 0.7 * theirs[0]
    np.testing.assert_allclose(losses, theirs, rtol=1e-4)
