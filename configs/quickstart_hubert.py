"""HuBERT on synthetic speech, first iteration, with the encoder and length of quickstart_audio.

Paper: arXiv:2106.07447, scaled down; no published counterpart.
Command: d2v units builtin:speech runs/units && d2v pretrain --config quickstart_hubert --workdir
    runs/qh && d2v probe runs/qh
    (the second iteration: docs/hubert.md)
Cost: three minutes on two busy CPU cores, five more for the units.
Expected: docs/hubert.md (both iterations) and docs/results.md, Siblings.
"""

from d2v_jax.configs import hubert, quickstart_audio
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_audio.sibling(hubert.get_config())
    c.recipe = "quickstart_hubert"
    c.data.source = "builtin:speech"
    c.clusters.classes, c.clusters.special = (100,), 0
    c.clusters.rate = 100.0  # of MFCCs, and of these frames
    c.clusters.projected = 64
    c.clusters.penalty, c.clusters.input_dropout = 1.0, 0.0
    c.mask.share, c.mask.block, c.mask.neighbours = 0.5, 4, 4
    return quickstart_audio.variant(hubert.with_units(c, ("runs/units",)), arg, hubert.smoke)
