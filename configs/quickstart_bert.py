"""BERT without pairs on the documentation inside CPython, beside quickstart_text.

Paper: arXiv:1810.04805, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_bert --workdir runs/qb && d2v probe runs/qb
Cost: not measured; the encoder of quickstart_text, once per step.
Expected: not yet run here.
"""

from d2v_jax.configs import base, bert
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = bert.single(bert.get_config())
    c.recipe = "quickstart_bert"
    c.data.source = c.data.tokenizer = "builtin:python-docs"
    c.data.tokens = c.frontend.max_tokens = 64
    c.frontend.vocab_size, c.frontend.mask_id, c.frontend.types = 4096, 4095, 0
    c.frontend.dropout = c.trunk.dropout = c.trunk.attention_dropout = 0.0
    c.frontend.positions, c.positions.bias = "none", "alibi"
    c.frontend.norm_eps = c.trunk.norm_eps = 1e-5
    c.trunk.width, c.trunk.heads, c.trunk.depth, c.trunk.dtype = 128, 4, 3, "float32"
    c.optimizer.learning_rate, c.optimizer.warmup_steps = 3e-3, 50
    c.optimizer.schedule, c.optimizer.b2 = "cosine", 0.98
    c.train.steps, c.train.batch_size = 1300, 32
    c.train.log_every, c.train.checkpoint_every = 10, 200
    return base.variant(c, arg, bert.smoke)
