"""Masked autoencoder, ViT-H/14 on ImageNet-1k (arXiv:2111.06377).

Command: d2v pretrain --config mae_huge14 --workdir runs/mae_huge14
    (data: TFDS imagenet2012 in ArrayRecord; --config.data.source=FOLDER for your own)
Cost: not measured; about 0.29 TFLOP per example and step by the FLOP count, so 3.0e20 FLOP
    for the whole schedule.
Expected: ImageNet-1k fine-tuning 86.9 % top-1 after 1600 epochs (released weights;
    --config.train.steps=499_200). Not yet run here.
"""

from d2v_jax.configs import mae
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = mae.sized("mae_huge14", width=1280, depth=32, heads=16)
    c.frontend.patch_size = 14
    return mae.variant(c, arg)
