"""The six systems and their siblings as smoke recipes, and small batches for them."""

import dataclasses
import functools

import numpy as np

from d2v_jax.train.recipe import resolve as recipes
from d2v_jax.train.recipe.records import Config

NAMES = (
    "v1_audio_base",
    "v1_image_base",
    "v1_text_base",
    "v2_audio_base",
    "v2_image_base",
    "v2_text_base",
)
SIBLINGS = ("bert_base", "hubert_base", "mae_base", "wav2vec2_base")
NOISE = ("input_dropout", "dropout", "attention_dropout", "drop_path", "layer_drop")


@functools.cache
def smoke(name: str) -> Config:
    """A recipe's smoke variant, resolved."""
    return recipes.resolve(recipes.load(f"{name}:smoke"))


@functools.cache
def small(name: str, noise: bool = False) -> Config:
    """A smoke recipe that compiles sooner: fewer layers, shorter examples, no dropout unless
    `noise`."""
    config = smoke(name)
    data, model = config.data, config.objective.cfg
    if config.modality == "audio":
        data = dataclasses.replace(data, samples=8_000)
    model = dataclasses.replace(
        model,
        trunk=dataclasses.replace(model.trunk, depth=2),
        targets=dataclasses.replace(model.targets, blocks=(0, 1)),
        positions=dataclasses.replace(model.positions, conv_layers=2),
        decoder=dataclasses.replace(model.decoder, layers=min(model.decoder.layers, 1)),
    )
    if not noise:
        trunk = dataclasses.replace(model.trunk, **dict.fromkeys(NOISE, 0.0))
        decoder = dataclasses.replace(model.decoder, input_dropout=0.0)
        frontend = model.frontend
        if config.modality == "text":
            frontend = dataclasses.replace(frontend, dropout=0.0)
        model = dataclasses.replace(model, trunk=trunk, decoder=decoder, frontend=frontend)
    sections = {name: getattr(model, name) for name in vars(model)}
    return dataclasses.replace(config.with_sections(**sections), data=data)


def batch(config: Config, size: int, seed: int = 0, pad: int = 0) -> dict[str, np.ndarray]:
    """Random examples as the loader delivers them; texts end in `pad` tokens of padding."""
    rng = np.random.default_rng(seed)
    shape = (size, *config.data.example_shape)
    ids = {"example_id": np.arange(size, dtype=np.int32) + 100 * seed}
    match config.modality:
        case "audio":
            waves = rng.integers(-3000, 3000, shape).astype(np.int16)
            return {
                "inputs": waves,
                "offset": np.zeros(size, np.float32),
                "scale": np.full(size, 1 / 1700, np.float32),
                **ids,
            }
        case "image":
            return {"inputs": rng.integers(0, 256, shape, dtype=np.uint8), **ids}
    tokens = rng.integers(4, 200, shape, dtype=np.int32)
    tokens[:, 0] = 0
    if pad:
        tokens[:, -pad:] = 1
    return {"inputs": tokens, **ids}
