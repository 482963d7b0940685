"""data2vec 2.0 ViT-H/14 on ImageNet-1k (arXiv:2212.07525; REFERENCE §10.5, huge/14).

256 images per update, as in the published YAML: 500 000 updates are 99.9 epochs. The teacher is
frozen once its decay has reached 1.

Command: d2v pretrain --config v2_image_huge14 --workdir runs/v2_image_huge14
    (data: TFDS imagenet2012 in ArrayRecord; --config.data.source=FOLDER for your own)
Cost: not measured; about 4.4 TFLOP per image and step by the FLOP count of student, teacher and
    decoder, so 5.6e20 FLOP for the whole schedule.
Expected: ImageNet-1k fine-tuning 87.4 % top-1 (benchmark listing). Not yet run here.
"""

from d2v_jax.configs import base, image
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = image.get_config()
    c.recipe = "v2_image_huge14"
    c.trunk.width, c.decoder.width = 1280, 1024
    c.trunk.heads = 16
    c.trunk.prenet_depth, c.trunk.depth = 0, 32
    c.mask.share, c.mask.adjust = 0.75, 0.1
    c.decoder.kernel, c.decoder.layers = 5, 3
    c.targets.blocks = tuple(range(8, 32))
    c.loss.cls_weight = 1.28
    c.teacher.decay_steps = 150_000
    c.optimizer.learning_rate = 4e-4
    c.frontend.patch_size = 14
    c.teacher.decay_end, c.teacher.decay_steps = 1.0, 300_000
    c.train.steps = 500_000
    c.train.batch_size = 256
    return base.variant(c, arg, image.smoke, shrink=2, micro_batches=16)
