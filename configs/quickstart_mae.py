"""A masked autoencoder with the encoder, data and length of quickstart_image, to compare the two.

Paper: arXiv:2111.06377, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_mae --workdir runs/qm && d2v probe runs/qm
Cost: a minute on two CPU cores; a sixth of the arithmetic of quickstart_image, which sees four
    views of each picture.
Expected: docs/results.md, Siblings.
"""

from d2v_jax.configs import base, mae, quickstart_image
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_image.sibling(mae.get_config())
    c.recipe = "quickstart_mae"
    c.optimizer.learning_rate = 1e-3  # at that of data2vec the painter ends with one answer for all
    c.painter.width, c.painter.depth, c.painter.heads = 64, 2, 4
    return base.variant(c, arg, mae.smoke)
