"""wav2vec 2.0 large on LibriSpeech 960 h (arXiv:2006.11477): the frontend of base, a larger trunk.

Not all of its configuration was published: sizes follow the released checkpoint, learning rate
and length are from memory of the paper, the rest is that of base.

Command: d2v pretrain --config wav2vec2_large_960 --workdir runs/wav2vec2_large_960
    (data: --config.data.source=FOLDER of wav or flac files)
Cost: not measured; about 1.8 TFLOP per crop of 15 s and step by the FLOP count, so 2.9e20 FLOP for
    the whole schedule.
Expected: between base and wav2vec2_large. Not yet run here.
"""

from d2v_jax.configs import base, wav2vec2
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = wav2vec2.get_config()
    c.recipe = "wav2vec2_large_960"
    c.trunk.width, c.trunk.heads, c.trunk.depth = 1024, 16, 24
    c.trunk.layer_drop = 0.2
    c.contrast.width = c.contrast.projected = 768
    c.contrast.noise_end = 0.1
    c.optimizer.learning_rate = 3e-4
    c.train.steps, c.train.batch_size = 250_000, 640
    return base.variant(c, arg, wav2vec2.smoke, shrink=4, micro_batches=16)
