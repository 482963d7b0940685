"""data2vec 2.0 on the documentation inside CPython: minutes on a laptop.

Paper: arXiv:2212.07525, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_text --workdir runs/qt && d2v probe runs/qt
Cost: about four minutes on two CPU cores.
Expected: README, Results.
"""

from d2v_jax.configs import base, text
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = text.get_config()
    c.recipe = "quickstart_text"
    c.data.source = c.data.tokenizer = "builtin:python-docs"
    c.data.tokens = c.frontend.max_tokens = 64
    c.frontend.vocab_size, c.frontend.mask_id = 4096, 4095
    c.frontend.dropout = c.trunk.dropout = c.trunk.attention_dropout = 0.0
    # In a table of places as large as the words', places would make up half of each target, and
    # soon all of it: what is near is told by the attention's bias alone.
    c.frontend.positions, c.positions.bias = "none", "alibi"
    c.trunk.width = 128
    c.trunk.heads = 4
    c.trunk.depth = 3
    c.trunk.dtype = "float32"
    c.mask.share, c.mask.views = 0.3, 2  # so small a model cannot guess more
    c.decoder.layers, c.decoder.width, c.decoder.kernel, c.decoder.hidden = 1, 128, 5, ()
    c.decoder.input_dropout = 0.0
    c.targets.blocks = tuple(range(3))
    # A frontend of its own, and not too fast: the targets shall not lose their variety.
    c.teacher.sees, c.teacher.owns = "inputs", ("frontend", "trunk")
    c.teacher.decay_start, c.teacher.decay_end, c.teacher.decay_steps = 0.999, 0.9995, 1000
    c.loss.scale = None
    c.optimizer.learning_rate = 3e-3
    c.optimizer.warmup_steps = 50
    c.optimizer.decays = "matrices"
    c.train.steps = 1300
    c.train.batch_size = 32
    c.train.log_every = 10
    c.train.checkpoint_every = 200
    return base.variant(c, arg, text.smoke)


def sibling(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """The recipe of another objective with this one's encoder, data, optimizer and length."""
    return base.borrowed(c, get_config())
