"""Every field that only images have. The values are those of data2vec 2.0 base (REFERENCE §10)."""

from d2v_jax.configs import base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """Returns the base recipe. `arg` must be empty: variants belong to the recipes."""
    if arg:
        raise ValueError(f"the base configs/image.py takes no argument, got {arg!r}")
    c = base.get_config()
    c.recipe = c.modality = "image"

    # A folder of images, "tfds:NAME", a pattern of *.array_record files, or "builtin:photos".
    c.data.source = "tfds:imagenet2012"
    c.data.image_size = 224  # pixels along one side after the crop
    c.data.channels = 3  # 3 RGB, 1 grey
    c.data.crop_scale = (0.2, 1.0)  # area of the random crop, share of the image (§10.5)
    c.data.crop_ratio = (3 / 4, 4 / 3)  # width / height of the crop before resizing
    c.data.flip = 0.5  # probability of a horizontal flip
    # "exact": antialiased bicubic, as the original; "fast": 2x faster, not antialiased.
    c.data.resize = "exact"
    # Of labelled pictures: operations of RandAugment for each, and their strength of 10 (§12.2).
    c.data.operations = 0
    c.data.strength = 9.0
    c.data.most_pixels = 180_000_000  # larger pictures are left out; 4 bytes of memory for each
    c.data.central_crop = 0.875  # side of the crop for tests, in shorter sides of the picture
    c.data.jitter = 0.0  # strength of random brightness, contrast and saturation (§6.7)

    c.frontend.patch_size = 16  # pixels along one side of a patch
    # "dataset": subtract `mean`, divide by `std`. "crop": each crop to mean 0 and std 1.
    c.frontend.normalize = "dataset"
    c.frontend.mean = (0.485, 0.456, 0.406)  # per channel, of pixels scaled to [0, 1] (§10.5)
    c.frontend.std = (0.229, 0.224, 0.225)

    c.positions.add = "sincos"
    c.trunk.prenet_depth, c.trunk.depth = 2, 10
    c.trunk.norm_eps = 1e-6
    c.trunk.prefix_tokens = 1
    c.mask.kind = "inverse_blocks"
    c.mask.share, c.mask.adjust, c.mask.block, c.mask.views = 0.8, 0.07, 3, 16
    c.decoder.layers = 6
    c.targets.blocks = tuple(range(10))
    c.targets.final_norms = ("layer",)
    c.loss.cls_weight = 2.56
    c.teacher.sees = "inputs"
    c.teacher.owns = ("frontend", "prefix", "prenet", "trunk")
    c.teacher.decay_start, c.teacher.decay_steps = 0.9998, 100_000
    c.optimizer.warmup_steps = 50_040
    c.optimizer.b2, c.optimizer.eps, c.optimizer.weight_decay = 0.95, 1e-8, 0.05
    c.optimizer.clip = 4.0
    c.train.steps = 375_300
    c.train.batch_size = 512
    return c


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Shrinks a recipe to thirty steps of seconds, keeping what makes it this recipe."""
    c = base.shrink_model(c)
    c.data.source = "builtin:photos"
    c.data.image_size = 8 * c.frontend.patch_size
    c.optimizer.learning_rate = 1e-2
    return c
