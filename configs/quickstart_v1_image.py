"""data2vec 1.0 with the encoder, data and length of quickstart_image, to compare the two.

Paper: arXiv:2202.03555, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_v1_image --workdir runs/qi && d2v probe runs/qi
Cost: two minutes on two CPU cores.
Expected: docs/results.md, Siblings.
"""

from d2v_jax.configs import base, image, quickstart_image
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_image.get_config()
    c.recipe = "quickstart_v1_image"
    c.mask.hide, c.mask.kind = "replace", "beit"
    c.mask.share, c.mask.adjust, c.mask.block, c.mask.views = 0.6, 0.0, 4, 1
    c.decoder.layers, c.decoder.init = 0, "beit"
    c.targets.site, c.targets.layer_norms = "block", ("layer",)
    c.targets.final_norms = ()
    c.loss.beta, c.loss.scale, c.loss.cls_weight = 2.0, 1 / 128, 0.0
    return base.variant(c, arg, image.smoke)
