"""Masked autoencoder, ViT-B/16 on ImageNet-1k (arXiv:2111.06377).

Command: d2v pretrain --config mae_base --workdir runs/mae_base
    (data: TFDS imagenet2012 in ArrayRecord; --config.data.source=FOLDER for your own)
Cost: not measured; about 0.058 TFLOP per example and step by the FLOP count, so 6.0e19 FLOP
    for the whole schedule.
Expected: ImageNet-1k fine-tuning 83.7 % top-1 after 1600 epochs (released weights;
    --config.train.steps=499_200). Not yet run here.
"""

from d2v_jax.configs import mae
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps, "budget" for few devices."""
    c = mae.sized("mae_base", width=768, depth=12, heads=12)

    return mae.variant(c, arg)
