"""BERT without pairs with the encoder, data and length of quickstart_text, to compare the two.

Paper: arXiv:1810.04805, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_bert --workdir runs/qb && d2v probe runs/qb
Cost: two minutes on two CPU cores.
Expected: docs/results.md, Siblings.
"""

from d2v_jax.configs import base, bert, quickstart_text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = quickstart_text.sibling(bert.single(bert.get_config()))
    c.recipe = "quickstart_bert"
    return base.variant(c, arg, bert.smoke)
