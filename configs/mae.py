"""Every field that masked autoencoders have (arXiv:2111.06377). The values are those of ViT-B/16.

`sized` makes the published sizes of it: only the encoder grows, the decoder stays.
"""

from d2v_jax.configs import base, image
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """Returns the base recipe. `arg` must be empty: variants belong to the recipes."""
    if arg:
        raise ValueError(f"the base configs/mae.py takes no argument, got {arg!r}")
    c = image.get_config()
    c.recipe = c.objective = "mae"
    for section in ("decoder", "targets", "loss", "teacher"):
        del c[section]
    c.trunk.prenet_depth, c.trunk.depth = 0, 12
    c.trunk.block, c.trunk.init = "plain_pre_norm", "xavier"
    c.trunk.input_norm, c.trunk.output_norm = False, True
    c.mask.kind, c.mask.share, c.mask.views = "random", 0.75, 1
    c.mask.adjust, c.mask.block = 0.0, 1

    c.painter = config_dict.ConfigDict()  # the decoder, of blocks like the encoder's
    c.painter.width = 512
    c.painter.depth = 8
    c.painter.heads = 16
    c.painter.mlp_ratio = 4.0

    c.pixels = config_dict.ConfigDict()
    c.pixels.normalize = True  # each patch to mean 0 and variance 1: the published checkpoints'

    c.optimizer.learning_rate = 1.5e-4 * 4096 / 256
    c.optimizer.adam, c.optimizer.decays = "torch", "matrices"
    c.optimizer.b2, c.optimizer.weight_decay, c.optimizer.clip = 0.95, 0.05, 0.0
    c.optimizer.warmup_steps = 40 * 312
    c.train.steps, c.train.batch_size = 800 * 312, 4096
    return c


def sized(name: str, width: int, depth: int, heads: int) -> config_dict.ConfigDict:
    """A published size."""
    c = get_config()
    c.recipe = name
    c.trunk.width, c.trunk.depth, c.trunk.heads = width, depth, heads
    return c


def variant(c: config_dict.ConfigDict, arg: str) -> config_dict.ConfigDict:
    """`arg`: "", "smoke" or "budget"."""
    return base.variant(c, arg, smoke, shrink=8, micro_batches=2)


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Thirty steps of seconds."""
    c = image.smoke(c)
    c.painter.width, c.painter.depth, c.painter.heads = 32, 1, 4
    c.optimizer.learning_rate = 5e-3
    return c
