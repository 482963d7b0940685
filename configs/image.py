"""Every field of an image recipe, with its meaning and unit. Recipes state only differences.

The values here are those of data2vec 2.0 ViT-B/16 (REFERENCE §10) except `data.source`.
"""

from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """Returns the base recipe. `arg` must be empty: `smoke` belongs to the recipes."""
    if arg:
        raise ValueError(f"the base configs/image.py takes no argument, got {arg!r}")
    c = config_dict.ConfigDict()
    c.recipe = "image"  # name, written into the run
    c.modality = "image"  # picks the frontend and the data pipeline
    c.seed = 0  # every random draw is a function of it

    c.data = config_dict.ConfigDict()
    # A folder of images, "tfds:NAME", a pattern of *.array_record files, or "builtin:photos".
    c.data.source = "tfds:imagenet2012"
    c.data.split = "train"  # TFDS split; other sources have only "train"
    c.data.image_size = 224  # pixels along one side after the crop
    c.data.channels = 3  # 3 RGB, 1 grey
    c.data.crop_scale = (0.2, 1.0)  # area of the random crop, share of the image (§10.5)
    c.data.crop_ratio = (3 / 4, 4 / 3)  # width / height of the crop before resizing
    c.data.flip = 0.5  # probability of a horizontal flip
    c.data.threads = 8  # decoding threads per process (they release the GIL)
    c.data.workers = 0  # decoding processes; threads are faster unless transforms are Python
    c.data.max_bad_share = 0.05  # stop when a larger share of the records is unreadable

    c.frontend = config_dict.ConfigDict()
    c.frontend.patch_size = 16  # pixels along one side of a patch
    # "dataset": subtract `mean`, divide by `std`. "crop": each crop to mean 0 and std 1.
    c.frontend.normalize = "dataset"
    c.frontend.mean = (0.485, 0.456, 0.406)  # per channel, of pixels scaled to [0, 1] (§10.5)
    c.frontend.std = (0.229, 0.224, 0.225)

    c.trunk = config_dict.ConfigDict()
    c.trunk.width = 768  # D
    c.trunk.heads = 12
    c.trunk.prenet_depth = 2  # blocks before the shared trunk; never averaged into targets
    c.trunk.depth = 10  # blocks of the trunk
    c.trunk.mlp_ratio = 4.0  # MLP width / D
    c.trunk.norm_eps = 1e-6  # of every affine layer norm
    c.trunk.prefix_tokens = 1  # learned tokens in front of the patches (cls)
    c.trunk.dtype = "bfloat16"  # compute; parameters, norms, softmax, losses stay float32

    c.mask = config_dict.ConfigDict()
    c.mask.kind = "inverse_blocks"  # visible blocks are drawn, the rest is hidden (§10.3)
    c.mask.share = 0.8  # hidden share; visible = int(T * (1 - share))
    c.mask.adjust = 0.07  # added to the visible share when counting blocks to draw
    c.mask.block = 3  # side of a block, in patches
    c.mask.views = 16  # M, masked views per image; one teacher pass serves them all

    c.decoder = config_dict.ConfigDict()
    c.decoder.width = 768  # channels of the conv layers (§1.9)
    c.decoder.kernel = 3  # side of the kernel
    c.decoder.groups = 16
    c.decoder.layers = 6
    c.decoder.noise_std = 0.01  # of the random filler at hidden places

    c.targets = config_dict.ConfigDict()
    c.targets.layers = 10  # K, last trunk blocks averaged
    c.targets.site = "ffn"  # "ffn": feed-forward output before the residual; "block": block output
    c.targets.layer_norms = (
        "instance",
    )  # per layer, in order: "instance" (over T), "layer" (over D)
    c.targets.final_norms = ("layer",)  # after averaging, in order

    c.loss = config_dict.ConfigDict()
    c.loss.beta = 0.0  # 0: squared error; > 0: smooth L1 with this transition
    c.loss.scale = config_dict.placeholder(float)  # factor on the sum over D; unset: 1 / sqrt(D)
    # Weight of the mean cls term: 0.01 x images per device x views of the original run (T21).
    c.loss.cls_weight = 2.56

    c.teacher = config_dict.ConfigDict()
    # Parts of the tree the teacher averages; the rest is borrowed from the student (§2.1).
    c.teacher.owns = ("frontend", "prefix", "prenet", "trunk")
    c.teacher.decay_start = 0.9998  # EMA decay at step 0
    c.teacher.decay_end = 0.99999  # and after `decay_steps`
    c.teacher.decay_steps = 100_000  # linear in between

    c.optimizer = config_dict.ConfigDict()
    c.optimizer.learning_rate = 1e-3  # peak
    c.optimizer.warmup_steps = 50_040  # linear from 0, then cosine to 0 at `train.steps`
    c.optimizer.b1 = 0.9
    c.optimizer.b2 = 0.95
    c.optimizer.eps = 1e-8  # added to the un-bias-corrected sqrt(v), as in the originals (T24)
    c.optimizer.weight_decay = 0.05  # decoupled, multiplied by the learning rate
    # "all": every parameter decays, as in the original runs (T19). "matrices": not biases,
    # norms and prefix tokens.
    c.optimizer.decays = "all"
    c.optimizer.clip = 4.0  # global gradient norm

    c.train = config_dict.ConfigDict()
    c.train.steps = 375_300  # updates
    c.train.batch_size = 512  # images per update, over all devices
    c.train.log_every = 50  # steps between records in metrics.jsonl
    c.train.checkpoint_every = 1_000  # steps between checkpoints
    c.train.keep = 2  # newest checkpoints kept
    return c


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Shrinks a recipe to eight steps of seconds, keeping what makes it this recipe."""
    c.data.source = "builtin:photos"
    c.data.image_size = 8 * c.frontend.patch_size
    c.data.threads = 2
    c.trunk.width, c.trunk.heads = 32, 4
    c.trunk.prenet_depth = min(c.trunk.prenet_depth, 1)
    c.trunk.depth = c.targets.layers = 2
    c.decoder.width, c.decoder.groups, c.decoder.layers = 32, 4, 2
    c.mask.views = 2
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = 2
    c.train.steps = 8
    c.train.batch_size = 8
    c.train.log_every = 1
    c.train.checkpoint_every = 4
    return c


def variant(c: config_dict.ConfigDict, arg: str) -> config_dict.ConfigDict:
    """Returns the recipe as it is for "" and shrunk for "smoke"."""
    if arg not in ("", "smoke"):
        raise ValueError(f"recipe {c.recipe} has no variant {arg!r}; there is ':smoke'")
    return smoke(c) if arg else c
