"""data2vec 2.0 on an invented language, synthesised as it is read: minutes on a laptop.

Paper: arXiv:2212.07525, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_audio --workdir runs/qa && d2v probe runs/qa
Cost: about four minutes on two CPU cores.
Expected: README, Results.
"""

from d2v_jax.configs import audio, base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = audio.get_config()
    c.recipe = "quickstart_audio"
    c.data.source = "builtin:tones"
    c.data.samples = c.data.min_samples = 16_000
    c.data.threads = 1  # more would take cores from the step
    # Tokens of 20 ms, as in the base recipe, from fewer and longer strides.
    c.frontend.conv_layers = ((32, 10, 5), (64, 8, 4), (96, 4, 4), (128, 4, 4))
    c.positions.conv_layers = 2
    c.positions.conv_kernel = 9
    c.positions.conv_groups = 8
    c.trunk.width = 128
    c.trunk.heads = 4
    c.trunk.depth = 4
    c.trunk.dtype = "float32"
    c.trunk.input_dropout = c.trunk.dropout = c.trunk.attention_dropout = 0.0
    c.trunk.layer_drop = 0.0
    c.mask.views = 4
    c.decoder.layers = 2
    c.decoder.width = 64
    c.decoder.groups = 1
    c.decoder.input_dropout = 0.0
    c.targets.blocks = tuple(range(1, 4))
    c.teacher.decay_start = 0.98
    c.teacher.decay_end = 0.998
    c.teacher.decay_steps = 500
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_steps = 100
    c.optimizer.decays = "matrices"
    c.train.steps = 1200
    c.train.batch_size = 16
    c.train.log_every = 10
    c.train.checkpoint_every = 200
    return base.variant(c, arg, audio.smoke)
