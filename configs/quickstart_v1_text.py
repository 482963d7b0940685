"""data2vec 1.0 with the encoder, data and length of quickstart_text, to compare the two.

Paper: arXiv:2202.03555, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_v1_text --workdir runs/qi && d2v probe runs/qi
Cost: two minutes on two CPU cores.
Expected: docs/results.md, Siblings.
"""

from d2v_jax.configs import base, quickstart_text, text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_text.get_config()
    c.recipe = "quickstart_v1_text"
    c.mask.hide, c.mask.kind = "input", "clipped_spans"
    c.mask.share, c.mask.block, c.mask.views = 0.35, 4, 1
    c.decoder.layers = 0
    c.targets.layer_norms = ("layer",)
    c.loss.beta = 4.0
    return base.variant(c, arg, text.smoke)
