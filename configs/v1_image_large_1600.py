"""data2vec 1.0 ViT-L/16, the second 800 epochs of 1600 (arXiv:2202.03555; REFERENCE §6.7).

Starts from the student of the first 800, its own teacher included, with all schedules anew.

Command: d2v pretrain --config v1_image_large_1600 --workdir runs/v1_image_large_1600
    --config.init_from=runs/v1_image_large
    (data: TFDS imagenet2012 in ArrayRecord; --config.data.source=FOLDER for your own)
Cost: not measured; as v1_image_large.
Expected: ImageNet-1k fine-tuning 86.6 % top-1 (paper, from memory). Not yet run here.
"""

from d2v_jax.configs import base, image
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = image.get_config()
    c.recipe = "v1_image_large_1600"
    c.data.crop_scale = (0.08, 1.0)
    c.data.jitter = 0.4
    c.positions.add, c.positions.bias = "none", "relative"
    c.trunk.prenet_depth, c.trunk.depth = 0, 12
    c.trunk.block, c.trunk.init = "pre_norm", "beit"
    c.trunk.input_norm, c.trunk.output_norm = False, True
    c.trunk.drop_path, c.trunk.attention_dropout = 0.25, 0.05
    c.mask.hide, c.mask.kind = "replace", "beit"
    c.mask.share, c.mask.adjust, c.mask.block, c.mask.views = 120 / 196, 0.0, 16, 1
    c.decoder.layers, c.decoder.init = 0, "beit"
    c.targets.blocks = tuple(range(6, 12))
    c.targets.site, c.targets.layer_norms = "block", ("layer",)
    c.loss.beta, c.loss.scale, c.loss.cls_weight = 2.0, 1 / 768, 0.0
    c.teacher.owns = ("frontend", "positions", "mask", "prefix", "trunk", "decoder")
    c.teacher.decay_start = c.teacher.decay_end = 0.9998
    c.optimizer.adam, c.optimizer.decays = "torch", "matrices"
    c.optimizer.b2 = 0.999
    c.optimizer.clip = 3.0

    c.trunk.width, c.trunk.heads, c.trunk.depth = 1024, 16, 24
    c.trunk.drop_path, c.trunk.attention_dropout, c.trunk.layer_scale = 0.2, 0.15, 1e-5
    c.targets.blocks = tuple(range(18, 24))
    c.loss.scale = 1 / 1024
    c.optimizer.learning_rate, c.optimizer.end_share = 1e-3, 1e-5 / 1e-3

    c.teacher.starts_as = "student"
    c.teacher.decay_start = c.teacher.decay_end = 0.9999
    # The original's warm-up arrives at its last step, and stays there for one.
    c.optimizer.warmup_steps, c.optimizer.hold_steps = 40 * 312 - 1, 1
    c.train.steps, c.train.batch_size = 800 * 312, 4096
    return base.variant(c, arg, image.smoke, shrink=8, micro_batches=8)
