"""data2vec 2.0 ViT-B/16 on ImageNet-1k (arXiv:2212.07525; REFERENCE §10.5, base).

The published YAML gives 256 images per update on 16 devices; 375 300 updates at 512 are exactly
the paper's 150 epochs, so 512 is the batch here. Use --config.train.batch_size=256 for the YAML.

Command: d2v pretrain --config v2_image_base --workdir runs/v2_image_base
    (data: TFDS imagenet2012 in ArrayRecord; --config.data.source=FOLDER for your own)
Cost: not measured; about 0.4 TFLOP per image and step by the FLOP count of student, teacher and
    decoder, so 8e19 FLOP for the whole schedule.
Expected: ImageNet-1k fine-tuning 84.5 % top-1 (paper, from memory). Not yet run here.
"""

from d2v_jax.configs import base, image
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = image.get_config()
    c.recipe = "v2_image_base"
    return base.variant(c, arg, image.smoke, shrink=4, micro_batches=4)
