"""Speech recognition: CTC on letters, with the settings of the papers for LibriSpeech (§12.1).

Papers: arXiv:2202.03555 and arXiv:2212.07525. The argument names the published setting, such as
"base_10h"; without one it is "base_100h".
Command: d2v finetune --config finetune_asr:base_10h --workdir RUN --config.init_from=CHECKPOINT
    --config.data.source=MANIFEST --config.eval.source=OTHER
Cost: not measured; 20,000 to 320,000 updates of 400 s of sound.
Expected: REFERENCE §13, for example 2.77 / 7.08 % WER of 1.0 base on 960 h. Not yet run here.
"""

from typing import NamedTuple

from d2v_jax.configs import audio, supervised
from ml_collections import config_dict


class Setting(NamedTuple):
    """A row of REFERENCE §12.1. `samples` of sound in an update; `tri`: shares or steps of the
    three stages; of the cosine only its warm-up.
    """

    samples: int
    steps: int
    rate: float
    share: float
    span: int
    channels: float
    layer_drop: float
    frozen: int
    tri: tuple[float, ...] = (0.1, 0.4, 0.5)


M = 1_000_000
SETTINGS = {
    "base_10m": Setting(2 * 3_200_000 * 4, 13_000, 5e-5, 0.65, 10, 0.25, 0.1, 10_000),
    "base_1h": Setting(2 * 3_200_000 * 4, 13_000, 5e-5, 0.65, 10, 0.25, 0.1, 10_000),
    "base_10h": Setting(2 * 3_200_000 * 4, 20_000, 5e-5, 0.65, 10, 0.5, 0.05, 10_000),
    "base_100h": Setting(2 * 3_200_000 * 4, 80_000, 3e-5, 0.65, 10, 0.5, 0.1, 0),
    "base_960h": Setting(8 * 3_200_000, 320_000, 1e-4, 0.5, 10, 0.1, 0.1, 0),
    "vox_10m": Setting(4 * 1_280_000 * 5, 13_000, 1e-4, 0.65, 10, 0.25, 0.1, 10_000),
    "vox_1h": Setting(4 * 1_280_000 * 5, 13_000, 3e-4, 0.75, 10, 0.25, 0.1, 10_000),
    "vox_10h": Setting(4 * 1_280_000 * 5, 20_000, 1e-4, 0.75, 10, 0.25, 0.1, 10_000),
    "vox_100h": Setting(4 * 1_280_000 * 5, 80_000, 3e-5, 0.5, 10, 0.5, 0.1, 10_000),
    "vox_960h": Setting(24 * 1_280_000, 320_000, 3e-5, 0.5, 10, 0.25, 0.1, 10_000),
    "vox_10m_2": Setting(4 * M * 4, 10_000, 2e-6, 0.4, 3, 0.25, 0.1, 100, (1_000,)),
    "vox_10m_3": Setting(4 * 1_280_000 * 5, 13_000, 2e-5, 0.65, 10, 0.25, 0.1, 10_000),
    "vox_1h_2": Setting(8 * M, 60_000, 1e-5, 0.65, 5, 0.25, 0.1, 100, (4_000,)),
    "vox_1h_3": Setting(8 * 640_000 * 5, 13_000, 6e-5, 0.3, 3, 0.25, 0.1, 10_000, (4_000,)),
    "vox_1h_4": Setting(8 * 640_000 * 5, 13_000, 6e-5, 0.65, 10, 0.25, 0.1, 10_000),
    "vox_10h_2": Setting(4 * 1_280_000, 60_000, 2e-5, 0.5, 5, 0.1, 0.1, 100, (8_000,)),
    "vox_100h_2": Setting(8 * 1_280_000, 100_000, 1e-5, 0.4, 5, 0.1, 0.1, 100, (8_000, 0, 72_000)),
    "vox_100h_3": Setting(8 * M, 100_000, 1e-5, 0.4, 5, 0.1, 0.1, 100, (8_000,)),
    "vox_960h_2": Setting(16 * M, 200_000, 1e-5, 0.4, 5, 0.1, 0.1, 100, (8_000, 0, 200_000)),
    "vox_960h_3": Setting(16 * M, 200_000, 1e-5, 0.4, 5, 0.1, 0.1, 100, (8_000,)),
    "vox_960h_2_aws": Setting(
        16 * 1_280_000, 200_000, 2e-5, 0.3, 5, 0.1, 0.0, 100, (8_000, 0, 192_000)
    ),
}


def get_config(arg: str = "") -> config_dict.ConfigDict:
    """`arg`: a name of `SETTINGS`, or "smoke" for thirty tiny steps."""
    smoke = arg == "smoke"
    name = "base_100h" if smoke or not arg else arg
    if name not in SETTINGS:
        raise ValueError(f"finetune_asr has no setting {name!r}; there are {', '.join(SETTINGS)}")
    one = SETTINGS[name]
    c = supervised.get_config(audio)
    c.recipe = f"finetune_asr:{name}"
    c.objective = "ctc"
    c.data.labels = "letters"
    c.data.samples = 80_000
    c.data.buckets = (40_000, 80_000, 120_000, 160_000, 200_000, 240_000, 320_000, 400_000, 560_000)
    c.data.min_samples = 2_000
    c.head.kind, c.head.init = "ctc", "xavier"
    # Padded frames must not reach others, so that neighbours in a batch do not matter.
    c.positions.zero_padding = "each_layer"
    c.trunk.dropout = c.trunk.attention_dropout = c.trunk.input_dropout = 0.0
    c.trunk.activation_dropout = 0.1
    c.trunk.layer_drop = one.layer_drop
    c.mask.hide = "replace" if not name.endswith(("_2", "_3", "_4", "_aws")) else "noise"
    c.mask.share, c.mask.block = one.share, one.span
    c.mask.neighbours = 8  # utterances that shared a device
    c.augment.channel_share = one.channels
    c.optimizer.learning_rate = one.rate
    c.optimizer.b2, c.optimizer.eps, c.optimizer.weight_decay = 0.98, 1e-8, 0.0
    if len(one.tri) == 1:
        c.optimizer.schedule, c.optimizer.warmup_steps = "cosine", int(one.tri[0])
    else:
        stages = one.tri if one.tri[0] > 1 else [one.steps * share for share in one.tri]
        c.optimizer.schedule = "exponential"
        c.optimizer.start_share, c.optimizer.end_share = 0.01, 0.05
        c.optimizer.warmup_steps, c.optimizer.hold_steps = round(stages[0]), round(stages[1])
    c.optimizer.frozen = (("frontend/conv_*", -1), ("head/*", 0))
    if one.frozen:
        c.optimizer.frozen += (("*", one.frozen),)
    if name == "vox_10m_2":
        c.augment.noise_std = 0.0
        c.optimizer.b2 = 0.95
        c.optimizer.frozen = (("positions/alibi_scale", -1), *c.optimizer.frozen)
    c.train.steps = one.steps
    c.train.batch_size = one.samples // c.data.samples
    c.train.keep_best, c.train.best_metric = 1, "eval/wer"
    c.eval.every = 1_000
    return supervised.variant(c, "smoke" if smoke else "")
