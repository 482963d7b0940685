"""Every field that only recipes with labels have, on top of their modality's."""

from d2v_jax.configs import base
from ml_collections import config_dict

# Sections of pretraining that learning from labels does not have.
UNUSED = ("decoder", "targets", "loss", "teacher")
# Sections that d2v finetune takes from the checkpoint; a recipe states what it changes in them.
OF_THE_CHECKPOINT = ("frontend", "positions", "trunk")


def get_config(modality) -> config_dict.ConfigDict:
    """The base of recipes for d2v finetune; `modality`: the module of its base recipe."""
    c = modality.get_config()
    for section in UNUSED:
        del c[section]
    for section in OF_THE_CHECKPOINT:
        c[section] = config_dict.ConfigDict()
    c.objective = "classify"  # or "ctc", "regress", "tag"

    # "replace": hidden tokens become the learned embedding (1.0); "noise": noise (2.0); "none".
    c.mask.hide = "none"
    c.mask.kind, c.mask.views = "spans", 1
    c.mask.share, c.mask.adjust, c.mask.block, c.mask.neighbours = 0.65, 0.0, 10, 1

    c.augment = config_dict.ConfigDict()
    c.augment.noise_std = 0.01  # of what hidden tokens become with mask.hide = "noise"
    c.augment.channel_share = 0.0  # of the channels set to zero, in spans that may overlap
    c.augment.channel_block = 64  # channels in such a span
    # Pictures, each with its mirror image in the batch: alpha of mixup and of cutmix (0: none),
    # the share of batches that are mixed, and of those the share of cutmix (§12.2, §12.3).
    c.augment.mixup = 0.0
    c.augment.cutmix = 0.0
    c.augment.mix_share = 1.0
    c.augment.cutmix_share = 0.5
    c.augment.erase = 0.0  # share of pictures that lose a rectangle to noise
    c.augment.waves = False  # each recording with another of the batch (§12.5)
    c.augment.smoothing = 0.0  # of labels

    c.head = config_dict.ConfigDict()
    # "mean_classes": mean over tokens, layer norm, linear; "text_classes": the first token, linear
    # with tanh, linear; "audio_classes": linear, pooled over time; "ctc": linear of each token;
    # "attentive_classes": tokens pooled by the attention of so many learned `queries`, linear.
    c.head.kind = "mean_classes"
    c.head.outputs = 1  # d2v finetune: as many as there are label names
    c.head.dropout = 0.0  # in front of each of its linear maps
    # Initial values: "xavier" uniform, "normal" N(0, 0.02), "torch" U(1/sqrt(fan_in)); the last
    # map's times `scale`.
    c.head.init = "normal"
    c.head.scale = 1.0
    c.head.norm_eps = 1e-6
    c.head.layers = "last"  # or "weighted": a learned mixture of all blocks
    c.head.queries = 1
    c.head.blank = 0  # the output of "ctc" that stands for nothing

    c.start = config_dict.ConfigDict()
    c.start.encoder = "student"  # of the checkpoint, its "teacher", or "untrained" numbers
    c.start.head = "new"  # or the "checkpoint"'s
    return c


def variant(c: config_dict.ConfigDict, arg: str) -> config_dict.ConfigDict:
    """The recipe as it is for "", or thirty tiny steps for "smoke"."""
    if arg == "smoke":
        c.data.threads = 2
        c.train.steps, c.train.batch_size, c.train.micro_batches = 30, 8, 1
        c.train.log_every, c.train.checkpoint_every = 1, 10
        c.optimizer.warmup_steps, c.optimizer.hold_steps = 3, 0
        c.augment.channel_block = 8
        c.eval.every, c.eval.examples = 10, 40
        c.optimizer.frozen = tuple((name, min(steps, 10)) for name, steps in c.optimizer.frozen)
        if "buckets" in c.data:
            c.data.buckets = (80_000, 200_000)
        return c
    return base.variant(c, arg, None)
