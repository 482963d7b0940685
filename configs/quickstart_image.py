"""data2vec 2.0 on the photographs inside scikit-image: minutes on a laptop.

Paper: arXiv:2212.07525, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_image --workdir runs/quickstart
Cost: about four minutes on two CPU cores.
Expected: README, Results.
"""

from d2v_jax.configs import base, image
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = image.get_config()
    c.recipe = "quickstart_image"
    c.data.source = "builtin:photos"
    c.data.image_size = 32
    c.data.channels = 1
    c.data.crop_scale = (0.3, 1.0)
    c.data.threads = 1  # more would take cores from the step
    c.frontend.patch_size = 4
    c.frontend.normalize = "crop"  # otherwise the targets of such small crops turn positional
    c.trunk.width = 128
    c.trunk.heads = 4
    c.trunk.prenet_depth = 1
    c.trunk.depth = 3
    c.trunk.dtype = "float32"
    c.mask.share = 0.65
    c.mask.views = 4
    c.decoder.width = 64
    c.decoder.groups = 1
    c.decoder.layers = 2
    c.targets.blocks = tuple(range(3))
    c.loss.cls_weight = 1.28
    c.teacher.decay_start = 0.98
    c.teacher.decay_end = 0.998
    c.teacher.decay_steps = 500
    c.optimizer.learning_rate = 4e-3
    c.optimizer.warmup_steps = 50
    c.optimizer.decays = "matrices"
    c.train.steps = 1200
    c.train.batch_size = 16
    c.train.log_every = 10
    c.train.checkpoint_every = 200
    return base.variant(c, arg, image.smoke)


def sibling(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """The recipe of another objective with this one's encoder, data, optimizer and length."""
    return base.borrowed(c, get_config())
