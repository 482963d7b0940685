"""Where the recorded checkpoints lie, and inputs that fit them."""

import pathlib

import numpy as np

from d2v_jax.transfer.encoder import Encoder

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CASES = ("v1_audio", "v1_text", "v1_vision", "v2_audio", "v2_image", "v2_text")
AUDIO = ("v1_audio", "v2_audio")
LENGTHS = (9_000, 16_000, 2_345, 20_001, 400)  # samples of waves


def checkpoint(case: str) -> pathlib.Path:
    """A file as the original code writes it, or a folder of Hugging Face."""
    inside = "pretrained" if case.startswith("hf_") else "checkpoint.pt"
    return GOLDEN / case / inside


def examples(one: Encoder, count: int = 5) -> list[np.ndarray]:
    """`count` random inputs of the modality, of different lengths where they can be."""
    rng = np.random.default_rng(7)
    match one.recipe.modality:
        case "image":
            shape = one.recipe.data.example_shape
            return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]
        case "audio":
            lengths = [LENGTHS[i % len(LENGTHS)] for i in range(count)]
            return [rng.normal(0.1, 0.3, length).astype(np.float32) for length in lengths]
        case _:
            most = one.config.frontend.max_tokens
            lengths = [(1, 7, most, 16, most - 3)[i % 5] for i in range(count)]
            return [np.r_[0, rng.integers(4, 90, length - 1)] for length in lengths]
