"""data2vec 2.0 on Fashion-MNIST: 60,000 small pictures of clothes, on a laptop.

Paper: arXiv:2212.07525, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_fashion --workdir runs/fashion
    --config.data.source=FOLDER with the idx files (Debian: apt install dataset-fashion-mnist, then
    /usr/share/datasets/fashion-mnist), or tfds:fashion_mnist
Cost: 33 minutes on two CPU cores, alone on the machine; 49 beside other work.
Expected: on all 60,000 a linear probe of .889, 20 nearest neighbours .850; docs/results.md has
    the rest.
"""

from d2v_jax.configs import base, image
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = image.get_config()
    c.recipe = "quickstart_fashion"
    c.data.source = "/usr/share/datasets/fashion-mnist"
    c.data.image_size, c.data.channels = 28, 1
    c.data.crop_scale = (0.5, 1.0)
    c.data.central_crop = 1.0  # the pictures are as small as they can be
    c.data.threads = 1  # more would take cores from the step
    c.frontend.patch_size = 4
    c.frontend.mean, c.frontend.std = (0.286,), (0.353,)
    c.trunk.width, c.trunk.heads = 128, 4
    c.trunk.prenet_depth, c.trunk.depth = 1, 4
    c.trunk.dtype = "float32"
    c.mask.share, c.mask.block, c.mask.views = 0.7, 2, 4
    c.decoder.width, c.decoder.groups, c.decoder.layers = 64, 1, 2
    c.targets.blocks = tuple(range(4))
    c.loss.cls_weight = 1.28
    c.teacher.decay_start, c.teacher.decay_end, c.teacher.decay_steps = 0.99, 0.999, 2_000
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_steps = 200
    c.optimizer.decays = "matrices"
    c.train.steps, c.train.batch_size = 5_000, 32
    c.train.log_every, c.train.checkpoint_every = 50, 500
    return base.variant(c, arg, image.smoke)
