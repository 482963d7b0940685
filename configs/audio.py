"""Every field that only speech has. The values are those of data2vec 2.0 base (REFERENCE §9)."""

from d2v_jax.configs import base
from ml_collections import config_dict


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """Returns the base recipe. `arg` must be empty: variants belong to the recipes."""
    if arg:
        raise ValueError(f"the base configs/audio.py takes no argument, got {arg!r}")
    c = base.get_config()
    c.recipe = c.modality = "audio"

    # A folder of wav or flac files, LibriSpeech's tree, a fairseq manifest (.tsv), "tfds:NAME",
    # what `d2v data prepare` made, "builtin:speech", "builtin:tones".
    c.data.source = "librispeech"
    c.data.samples = 160_000  # at 16 kHz, length of a random crop; shorter utterances are dropped
    # Lengths of crops, in samples: each utterance is cut to the longest that it can fill. A batch
    # has one length, and as many as batch_size * samples hold (§16). (): `samples` alone.
    c.data.buckets = ()
    # Of "letters": the most that an utterance may have. "exact": transcripts hold nothing but what
    # there is an output for; "spoken": punctuation is left out.
    c.data.most_letters = 600
    c.data.spelling = "exact"
    c.data.min_samples = 32_000  # utterances shorter than this are never used
    # Labels of frames that crops bring along, for each label set a folder of `d2v units` or
    # fairseq's MANIFEST.km (its MANIFEST.tsv and dict.km.txt beside it), and
    # what the objective that learns them says of them, which is set there: `clusters`.
    # "builtin:bands": the loudest of 23 mel bands, which needs no folder.
    c.data.units = ()
    c.data.unit_rate = 50.0
    c.data.unit_classes = ()
    c.data.unit_special = 0

    # Width, kernel and stride of each convolution of the waveform encoder (§1.1).
    c.frontend.conv_layers = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)
    # "wav2vec": then a norm and a projection to D. "cpc": each between zeros, with a bias, a norm
    # by unbiased variance and ReLU; nothing behind the last; the next four fields say nothing.
    c.frontend.conv_style = "wav2vec"
    # Behind "each" of them a layer norm over channels, or one over time behind the "first" alone.
    c.frontend.conv_norm = "each"
    c.frontend.conv_bias = False
    c.frontend.norm_eps = 1e-5  # of the layer norm before the projection to D (§1.2)
    c.frontend.gradient = 1.0  # factor of the gradient that reaches the convolutions; 0: they rest
    # What of a padded example is padding: frames that are so "partly", or "wholly" alone (HuBERT).
    c.frontend.padded_frames = "partly"

    c.positions.add = "conv"
    c.positions.bias = "alibi"
    c.trunk.input_dropout = c.trunk.dropout = c.trunk.attention_dropout = 0.1
    c.trunk.layer_drop = 0.05
    c.mask.kind = "blocks"
    c.mask.share, c.mask.adjust, c.mask.block, c.mask.views = 0.5, 0.05, 5, 8
    c.decoder.layers, c.decoder.width, c.decoder.kernel = 4, 384, 7
    c.decoder.input_dropout = 0.1
    c.targets.blocks = tuple(range(4, 12))
    c.teacher.owns = ("positions", "prenet", "trunk")
    c.optimizer.learning_rate = 7.5e-4
    c.optimizer.warmup_steps = 8_000
    return c


def smoke(c: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Shrinks a recipe to thirty steps of seconds, keeping what makes it this recipe."""
    c = base.shrink_model(c)
    c.data.source = "builtin:tones"
    c.data.samples, c.data.min_samples, c.data.buckets = 16_000, 8_000, ()
    c.frontend.conv_layers = tuple(
        (16, kernel, stride) for _, kernel, stride in c.frontend.conv_layers
    )
    c.optimizer.learning_rate = 2e-3
    return c
