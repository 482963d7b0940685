"""data2vec 1.0 with the encoder, data and length of quickstart_audio, to compare the two.

Paper: arXiv:2202.03555, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_v1_audio --workdir runs/qi && d2v probe runs/qi
Cost: two minutes on two CPU cores.
Expected: docs/results.md, Siblings.
"""

from d2v_jax.configs import audio, base, quickstart_audio
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_audio.get_config()
    c.recipe = "quickstart_v1_audio"
    c.mask.hide, c.mask.kind = "replace", "spans"
    c.mask.share, c.mask.adjust, c.mask.block, c.mask.views = 0.5, 0.0, 4, 1
    c.mask.neighbours = 4
    c.decoder.layers = 0
    return base.variant(c, arg, audio.smoke)
