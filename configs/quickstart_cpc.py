"""Contrastive predictive coding with the data and length of quickstart_audio, to compare the two.

Its encoder is what it must be: the same convolutions between zeros, and a recurrent layer, which
knows nothing of what follows, in the place of the Transformer.

Paper: arXiv:2002.02848, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_cpc --workdir runs/qc && d2v probe runs/qc
Cost: about two minutes on one CPU core, reckoned from a quarter of it.
Expected: docs/results.md, Siblings.
"""

from d2v_jax.configs import cpc, quickstart_audio
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    own = cpc.get_config()
    c = quickstart_audio.sibling(cpc.get_config())
    c.recipe = "quickstart_cpc"
    c.frontend.conv_style, c.positions = own.frontend.conv_style, own.positions
    c.trunk = own.trunk
    c.trunk.block, c.trunk.width, c.trunk.heads = "gru", 128, 4
    c.future.window, c.future.steps, c.future.negatives = c.data.samples, 12, 20
    c.future.predictor = "linear"
    return quickstart_audio.variant(c, arg, cpc.smoke)
