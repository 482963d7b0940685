"""The door: what is wrong is named with its value and a remedy."""

import pytest

from d2v_jax.common.checks import ConfigError
from d2v_jax.train import config


def resolve(*overrides, name="v2_image_base"):
    return config.resolve(config.load(name, overrides))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.stepz=5", "Did you mean.*steps"),
        ("train.steps=abc", "steps"),
        ("train.steps=1.5", "steps"),
        ("trunk.heads=7", r"trunk.width=768 is not a multiple of trunk.heads=7"),
        ("trunk.dtype=bf16", r"trunk.dtype='bf16' is not one of .*did you mean 'bfloat16'"),
        ("frontend.normalize=crops", r"frontend.normalize='crops'.*did you mean 'crop'"),
        ("data.image_size=225", r"data.image_size=225 is not a multiple of frontend.patch_size=16"),
        ("data.channels=1", r"frontend.mean=.* must have data.channels=1 entries"),
        ("data.crop_scale=(0.5, 0.2)", r"data.crop_scale=\(0.5, 0.2\) must be two ascending"),
        ("mask.share=0.999", r"mask.share=0.999 leaves 0 of 196"),
        ("mask.share=1.5", r"mask.share=1.5 must lie between 0 and 1"),
        ("mask.block=15", r"mask.block=15 is larger than the 14 x 14 grid"),
        ("mask.block=10", r"mask.block=10 draw no visible block"),
        ("mask.views=0", r"mask.views=0 must be positive"),
        ("targets.layers=11", r"targets.layers=11 exceeds trunk.depth=10"),
        ("targets.site=ff", r"targets.site='ff'"),
        ("targets.layer_norms=('batch',)", r"targets norms='batch'"),
        ("decoder.kernel=4", r"decoder.kernel=4 must be odd"),
        ("decoder.groups=5", r"is not a multiple of decoder.groups=5"),
        ("trunk.prefix_tokens=0", r"loss.cls_weight=2.56 needs trunk.prefix_tokens >= 1"),
        ("teacher.owns=('trunk', 'decoder')", r"teacher.owns='decoder' is not one of"),
        ("teacher.owns=('frontend',)", r"must include 'trunk'"),
        ("teacher.decay_end=1.1", r"teacher.decay_end=1.1 must lie between 0 and 1"),
        ("optimizer.warmup_steps=999999", r"optimizer.warmup_steps=999999 exceeds train.steps"),
        ("seed=-1", r"seed=-1"),
    ],
)
def test_bad_values_are_named(override, words):
    with pytest.raises(ConfigError, match=words):
        resolve(f"--config.{override}")


def test_good_values_pass():
    changed = resolve("--config.train.steps=60000", "--config.optimizer.learning_rate", "1")
    assert changed.train.steps == 60_000 and changed.optimizer.learning_rate == 1.0


def test_recipe_by_name_file_or_not_at_all(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'v2_image_base'"):
        config.load("v2_image_bse")
    own = tmp_path / "mine.py"
    own.write_text("from d2v_jax.configs import v2_image_base\n"
                   "def get_config(arg=''):\n"
                   "    c = v2_image_base.get_config()\n"
                   "    c.train.batch_size = 64\n"
                   "    return c\n")  # fmt: skip
    assert config.resolve(config.load(str(own))).train.batch_size == 64
    for body, words in (
        ("def get_config(arg=''): return 3", "returned int"),
        ("def get_config(arg='')\n", "mine.py"),
        ("x = 3\n", "get_config"),
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
    ):
        own.write_text(body)
        with pytest.raises(ConfigError, match=words):
            config.load(str(own))


def test_fields_added_or_lost_in_python_are_named():
    fields = config.to_fields(resolve())
    fields["train"]["step"] = 5
    with pytest.raises(ConfigError, match="train has no field 'step'; did you mean 'steps'"):
        config.resolve(fields)
    fields = config.to_fields(resolve())
    del fields["mask"]["views"]
    with pytest.raises(ConfigError, match="mask lacks views"):
        config.resolve(fields)
    fields = config.to_fields(resolve())
    fields["trunk"]["depth"] = True
    with pytest.raises(ConfigError, match="trunk.depth=True must be of type int"):
        config.resolve(fields)


def test_leftover_words_are_refused():
    with pytest.raises(ConfigError, match="unexpected argument 'extra'"):
        config.load("v2_image_base", ["extra"])
