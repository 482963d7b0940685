"""Twenty updates of the recorded fine-tuned models: what is asked of torch and of ours alike.

Run as a script, with torch and transformers installed, it records what they make of it:

    python tests/supervised/finetuning.py
"""

import json
import pathlib
import sys
from typing import NamedTuple

import numpy as np

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden"
RECORDED = HERE / "finetuning.json"
STEPS, WARMUP, RATE, DECAY, LAYER_DECAY = 20, 2, 5e-3, 0.05, 0.65
FROZEN = 5  # updates in which all but the head stands still
BETAS, EPS = (0.9, 0.98), 1e-8
BATCH = 4
MEAN, STD = 0.5, 0.5  # of pixels


class Case(NamedTuple):
    """Names of theirs: what lies before the blocks, a block, what always stands still."""

    before: tuple[str, ...]
    block: str
    frozen: tuple[str, ...] = ()


CASES = {
    "hf_audio_ctc": Case(
        ("feature_extractor.", "feature_projection."), "encoder.layers.", ("feature_extractor.",)
    ),
    "hf_vision_cls": Case(("embeddings.",), "encoder.layer."),
    "hf_text_cls": Case(("embeddings.",), "encoder.layer.", ("token_type_embeddings",)),
}


def batch(case: str) -> dict[str, np.ndarray]:
    """As it travels: "inputs", "labels" and what more a modality has."""
    rng = np.random.default_rng(len(case))
    match case:
        case "hf_audio_ctc":
            lengths = np.array([9_600, 8_000, 9_600, 6_400], np.int32)
            inputs = rng.normal(0, 3000, (BATCH, 9_600)).astype(np.int16)
            inputs[np.arange(9_600) >= lengths[:, None]] = 0
            labels = np.full((BATCH, 8), -1, np.int32)
            for row, count in enumerate((8, 5, 3, 6)):
                labels[row, :count] = rng.integers(5, 12, count)
            labels[1, 1] = labels[1, 0]  # a letter twice
            scale = np.full(BATCH, 1 / 3000, np.float32)
            offset = np.full(BATCH, 10, np.float32)
            return {
                "inputs": inputs,
                "offset": offset,
                "scale": scale,
                "length": lengths,
                "labels": labels,
            }
        case "hf_vision_cls":
            inputs = rng.integers(0, 256, (BATCH, 64, 64, 3), np.uint8)
            return {"inputs": inputs, "labels": rng.integers(0, 10, BATCH, np.int32)}
    inputs = rng.integers(4, 98, (BATCH, 24), np.int32)
    inputs[:, 0] = 0
    for row, count in enumerate((24, 18, 12, 20)):
        inputs[row, count - 1], inputs[row, count:] = 2, 1
    return {"inputs": inputs, "labels": rng.integers(0, 3, BATCH, np.int32)}


SEEDS = range(4)


def utterances(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random logits [7, t, c], lengths [7], labels [7, l]: repeats, no labels at all, more labels
    than frames, and at last labels that only their repeats make too many."""
    draw = np.random.default_rng(seed)
    frames, most, symbols = 12, 8, 5
    logits = draw.normal(0, 2, (7, frames, symbols)).astype(np.float32)
    lengths = np.array([12, 7, 5, 3, 9, 12, 5])
    counts = np.array([4, 3, 0, 8, 5, 6, 4])
    labels = np.full((7, most), -1, np.int32)
    for row, count in enumerate(counts):
        labels[row, :count] = draw.integers(1, 3 if row % 2 else symbols, count)
    labels[6, :4] = 2
    return logits, lengths, labels


def record_ctc(seed: int) -> dict[str, list[float]]:
    """What torch makes of `utterances`: losses, and squares of their gradients' norms."""
    import torch

    logits, lengths, labels = map(torch.from_numpy, utterances(seed))
    logits.requires_grad_()
    losses = torch.nn.functional.ctc_loss(
        torch.nn.functional.log_softmax(logits, -1).transpose(0, 1),
        labels.clamp(min=0),
        lengths,
        (labels >= 0).sum(1),
        0,
        "none",
        zero_infinity=True,
    )
    losses.sum().backward()
    squares = logits.grad.square().sum((1, 2))
    return {"losses": losses.tolist(), "squares": squares.tolist()}


def rate(step: int) -> float:
    """Up to the peak in two updates, then linearly to nothing."""
    if step < WARMUP:
        return RATE * step / WARMUP
    return RATE * (1 - (step - WARMUP) / (STEPS - WARMUP))


def record(case: str) -> list[float]:
    """The losses of torch and transformers."""
    import torch
    import transformers

    about = CASES[case]
    kinds = {
        "hf_audio_ctc": transformers.Data2VecAudioForCTC,
        "hf_vision_cls": transformers.Data2VecVisionForImageClassification,
        "hf_text_cls": transformers.Data2VecTextForSequenceClassification,
    }
    model = kinds[case].from_pretrained(GOLDEN / case / "pretrained").train()
    if case == "hf_text_cls":
        _without_types(torch, model.data2vec_text.embeddings)
    one = {name: torch.from_numpy(array) for name, array in batch(case).items()}
    blocks = model.config.num_hidden_layers
    groups = []
    for name, weight in model.named_parameters():
        inner, head = name.partition(".")[2], not name.startswith("data2vec")
        factor, always = 1.0, any(part in name for part in about.frozen)
        if inner.startswith(about.before) and not head:
            factor = LAYER_DECAY ** (blocks + 1)
        elif inner.startswith(about.block):
            number = int(inner.removeprefix(about.block).split(".")[0])
            factor = LAYER_DECAY ** (blocks - number)
        pooler = "pooler" in name  # the norm in front of the classes
        still = STEPS if always else 0 if head or pooler else FROZEN
        groups.append({"params": [weight], "factor": factor, "still": still})
    adam = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPS, weight_decay=DECAY)
    losses = []
    for step in range(STEPS):
        adam.zero_grad()
        loss = _loss(torch, model, case, one)
        loss.backward()
        for group in adam.param_groups:
            (weight,) = group["params"]
            still = step < group["still"]
            if weight.grad is None or still:
                weight.grad = torch.zeros_like(weight)
            group["lr"] = 0.0 if still else rate(step) * group["factor"]
        adam.step()
        losses.append(float(loss))
    return losses


def _without_types(torch, embeddings) -> None:
    """Ours has no token types, of which there is one: it joins a table that is learnt."""
    with torch.no_grad():
        types = embeddings.token_type_embeddings.weight
        embeddings.position_embeddings.weight += types[0]
        types.zero_()


def _loss(torch, model, case: str, one):
    """Of the batch, in train mode but without any dropout, as the checkpoints have none."""
    functional = torch.nn.functional
    if case == "hf_audio_ctc":
        real = torch.arange(one["inputs"].shape[1]) < one["length"][:, None]
        wave = (one["inputs"].float() - one["offset"][:, None]) * one["scale"][:, None]
        logits = model(torch.where(real, wave, 0.0), attention_mask=real.long()).logits
        frames = model._get_feat_extract_output_lengths(one["length"]).long()
        counts = (one["labels"] >= 0).sum(1)
        log_p = functional.log_softmax(logits, -1).transpose(0, 1)
        return (
            functional.ctc_loss(
                log_p, one["labels"].clamp(min=0), frames, counts, 0, "sum", zero_infinity=True
            )
            / BATCH
        )
    if case == "hf_vision_cls":
        pixels = (one["inputs"].float() / 255 - MEAN) / STD
        logits = model(pixels.permute(0, 3, 1, 2)).logits
    else:
        logits = model(one["inputs"].long(), attention_mask=(one["inputs"] != 1).long()).logits
    return functional.cross_entropy(logits, one["labels"].long())


if __name__ == "__main__":
    found = {case: record(case) for case in CASES}
    shown = {case: (ones[0], ones[-1]) for case, ones in found.items()}
    found["ctc"] = [record_ctc(seed) for seed in SEEDS]
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(f"{shown}\n")
