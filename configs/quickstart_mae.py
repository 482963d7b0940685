"""A masked autoencoder on the photographs inside scikit-image, beside quickstart_image.

Paper: arXiv:2111.06377, scaled down; no published counterpart.
Command: d2v pretrain --config quickstart_mae --workdir runs/qm && d2v probe runs/qm
    (clothes, beside quickstart_fashion: --config.data.source=FOLDER --config.data.image_size=28
    --config.frontend.normalize=dataset "--config.frontend.mean=(.286,)"
    "--config.frontend.std=(.353,)" --config.trunk.depth=5)
Cost: not measured; less than quickstart_image, which sees four views of each picture.
Expected: not yet run here.
"""

from d2v_jax.configs import base, mae
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: "" for the recipe, "smoke" for thirty tiny steps."""
    c = mae.get_config()
    c.recipe = "quickstart_mae"
    c.data.source = "builtin:photos"
    c.data.image_size, c.data.channels = 32, 1
    c.data.crop_scale, c.data.threads = (0.3, 1.0), 1
    c.frontend.patch_size, c.frontend.normalize = 4, "crop"
    c.trunk.width, c.trunk.heads, c.trunk.depth, c.trunk.dtype = 128, 4, 4, "float32"
    c.painter.width, c.painter.depth, c.painter.heads = 64, 2, 4
    c.optimizer.learning_rate, c.optimizer.warmup_steps = 2e-3, 50
    c.train.steps, c.train.batch_size = 1200, 16
    c.train.log_every, c.train.checkpoint_every = 10, 200
    return base.variant(c, arg, mae.smoke)
