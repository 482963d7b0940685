"""BEST-RQ with the encoder, data and length of quickstart_audio, to compare the two.

Paper: arXiv:2202.01855, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_best_rq --workdir runs/qr && d2v probe runs/qr
Cost: about two minutes on one CPU core, reckoned from a quarter of it.
Expected: docs/results.md, Siblings.
"""

from d2v_jax.configs import bestrq, quickstart_audio
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_audio.sibling(bestrq.get_config())
    c.recipe = "quickstart_best_rq"
    c.mask.share, c.mask.block = 0.5, 4
    c.codes.entries, c.codes.width, c.codes.bands = 256, 16, 40
    return quickstart_audio.variant(c, arg, bestrq.smoke)
