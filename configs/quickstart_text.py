"""data2vec 2.0 on the documentation inside CPython, byte by byte: minutes on a laptop.

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
    c.data.source, c.data.tokenizer = "builtin:python-docs", "bytes"
    c.data.tokens = c.frontend.max_tokens = 256
    c.data.threads = 1  # more would take cores from the step
    c.frontend.vocab_size, c.frontend.mask_id = 261, 260
    c.frontend.dropout = c.trunk.dropout = c.trunk.attention_dropout = 0.0
    c.positions.bias = "alibi"
    c.trunk.width = 128
    c.trunk.heads = 4
    c.trunk.depth = 4
    c.trunk.dtype = "float32"
    # Single bytes are guessed from their neighbours; whole words are not.
    c.mask.kind, c.mask.share, c.mask.adjust, c.mask.block, c.mask.views = "blocks", 0.5, 0.05, 5, 4
    c.decoder.layers, c.decoder.width, c.decoder.kernel, c.decoder.hidden = 2, 64, 5, ()
    c.decoder.input_dropout = 0.0
    c.loss.scale = None
    c.targets.blocks = tuple(range(4))
    c.teacher.decay_start = 0.98
    c.teacher.decay_end = 0.998
    c.teacher.decay_steps = 500
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_steps = 100
    c.optimizer.decays = "matrices"
    c.train.steps = 1200
    c.train.batch_size = 8
    c.train.log_every = 10
    c.train.checkpoint_every = 200
    return base.variant(c, arg, text.smoke)
