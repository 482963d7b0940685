"""wav2vec 2.0 with the encoder, data and length of quickstart_audio, to compare the two.

Paper: arXiv:2006.11477, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_wav2vec2 --workdir runs/qw && d2v probe runs/qw
Cost: about two minutes on one CPU core, reckoned from a quarter of it.
Expected: docs/results.md, Siblings.
"""

from d2v_jax.configs import quickstart_audio, wav2vec2
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_audio.sibling(wav2vec2.get_config())
    c.recipe = "quickstart_wav2vec2"
    c.mask.share, c.mask.block, c.mask.neighbours = 0.5, 4, 4
    c.contrast.entries, c.contrast.width, c.contrast.projected = 40, 64, 64
    c.contrast.negatives = 20
    c.contrast.noise_decay = 0.999  # so that it ends within these steps
    c.contrast.penalty = 1.0
    c.contrast.input_dropout = c.contrast.target_dropout = 0.0
    return quickstart_audio.variant(c, arg, wav2vec2.smoke)
