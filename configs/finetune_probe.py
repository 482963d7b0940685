"""A frozen encoder with a head that learns: how good is the representation itself?

Paper: SUPERB's learned weights of layers (arXiv:2105.01051) under an attentive probe. With
--config.head.kind=mean_classes it is linear, with --config.head.layers=last only of the last block.
Command: d2v finetune --config finetune_probe --workdir RUN --config.init_from=CHECKPOINT
    --config.data.source=FOLDER (pictures; of sounds finetune_probe:audio, of texts :text)
Cost: that of one pass of the encoder for each update; nothing flows back into it.
Expected: depends on the data.
"""

from d2v_jax.configs import audio, image, supervised, text
from ml_collections import config_dict

MODALITIES = {"": image, "image": image, "audio": audio, "text": text}


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: a modality, by default "image"; "smoke" for thirty tiny steps on pictures."""
    if arg != "smoke" and arg not in MODALITIES:
        raise ValueError(f"finetune_probe has no modality {arg!r}; there are audio, image and text")
    c = supervised.get_config(MODALITIES.get(arg, image))
    c.recipe = "finetune_probe"
    c.data.labels = "class"
    c.trunk.dropout = c.trunk.attention_dropout = c.trunk.activation_dropout = 0.0
    c.trunk.input_dropout = c.trunk.drop_path = c.trunk.layer_drop = 0.0
    c.head.kind, c.head.layers, c.head.queries = "attentive_classes", "weighted", 4
    c.optimizer.frozen = (("head/*", 0), ("*", -1))
    c.optimizer.learning_rate, c.optimizer.warmup_steps = 1e-3, 50
    c.optimizer.decays = "matrices"
    c.train.steps, c.train.batch_size = 1_000, 64
    c.train.log_every, c.train.checkpoint_every = 20, 500
    c.eval.every = 500
    if arg == "audio":
        c.data.samples, c.data.buckets = 80_000, (80_000, 160_000, 320_000)
        c.positions.zero_padding = "each_layer"
        c.data.min_samples = 400
    if arg == "text":
        c.data.buckets = (32, 64, 128, 256)
        c.frontend.dropout = 0.0
    return supervised.variant(c, arg if arg == "smoke" else "")
