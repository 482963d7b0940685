"""The door: what is wrong is named with its value and a remedy."""

import pytest

from d2v_jax.common.checks import ConfigError
from d2v_jax.train.recipe import resolve as recipes


def resolve(*overrides, name="v2_image_base"):
    return recipes.resolve(recipes.load(name, overrides))


BAD = {
    "v2_image_base": [
        ("train.stepz=5", "Did you mean.*steps"),
        ("train.steps=abc", "steps"),
        ("train.steps=1.5", "steps"),
        ("trunk.heads=7", r"trunk.width=768 is not a multiple of trunk.heads=7"),
        ("trunk.dtype=bf16", r"trunk.dtype='bf16' is not one of .*did you mean 'bfloat16'"),
        ("trunk.block=pre", r"trunk.block='pre' is not one of .*'pre_norm'"),
        ("trunk.init=berd", r"trunk.init='berd' is not one of .*did you mean 'bert'"),
        ("trunk.drop_path=1.0", r"trunk.drop_path=1.0 must lie in \[0, 1\)"),
        ("frontend.normalize=crops", r"frontend.normalize='crops'.*did you mean 'crop'"),
        ("data.image_size=225", r"data.image_size=225 is not a multiple of frontend.patch_size=16"),
        ("data.channels=1", r"frontend.mean=.* must have data.channels=1 entries"),
        ("data.channels=4", r"data.channels=4 must be 1 \(grey\) or 3"),
        ("data.crop_scale=(0.5, 0.2)", r"data.crop_scale=\(0.5, 0.2\) must be two ascending"),
        ("positions.add=sincoss", r"positions.add='sincoss'.*did you mean 'sincos'"),
        ("mask.share=0.999", r"mask.share=0.999 hides 196 of 196 tokens; choose a share between"),
        ("mask.share=1.5", r"mask.share=1.5 must lie between 0 and 1"),
        ("mask.block=15", r"mask.block=15 is larger than the 14 x 14 grid"),
        ("mask.block=10", r"mask.block=10 draw no block from 196 tokens; lower mask.block"),
        ("mask.views=0", r"mask.views=0 must be positive"),
        ("mask.kind=beit", r"mask.kind='beit' hides a varying number .*needs one of blocks"),
        ("mask.hide=replace", r"mask.views=16: more than one view needs mask.hide='remove'"),
        ("teacher.sees=hidden", r"teacher.sees='hidden' pads ids and needs text, not image"),
        ("targets.blocks=(9, 10)", r"targets.blocks=\(9, 10\) must be .* to trunk.depth - 1 = 9"),
        ("targets.blocks=()", r"targets.blocks=\(\) must be different numbers"),
        ("targets.site=ff", r"targets.site='ff'"),
        ("targets.layer_norms=('batch',)", r"targets norms='batch'"),
        ("decoder.kernel=0", r"decoder.kernel=0 must be positive"),
        ("decoder.groups=5", r"is not a multiple of decoder.groups=5"),
        ("decoder.hidden=(0,)", r"decoder.hidden=\(0,\) must be positive widths"),
        ("loss.scale=0.0", r"loss.scale=0.0 must be positive, or unset"),
        ("trunk.prefix_tokens=0", r"loss.cls_weight=2.56 needs trunk.prefix_tokens >= 1"),
        ("teacher.owns=('trunk', 'head')", r"teacher.owns='head' is not one of"),
        ("teacher.owns=('mask',)", r"must include 'trunk'"),
        ("teacher.decay_end=1.1", r"teacher.decay_end=1.1 must lie between 0 and 1"),
        (
            "optimizer.warmup_steps=999999",
            r"optimizer.warmup_steps=999999 and optimizer.hold_steps=0 exceed train.steps",
        ),
        ("optimizer.schedule=exponential", r"'exponential' never reaches 0; set optimizer.end"),
        ("optimizer.adam=adamw", r"optimizer.adam='adamw' is not one of 'fairseq', 'torch'"),
        ("train.micro_batches=3", r"=512 makes batches of 512 examples, .* not a multiple of .*=3"),
        ("teacher.starts_as=me", r"teacher.starts_as='me' is not one of 'checkpoint', 'student'"),
        ("seed=-1", r"seed=-1"),
        ("profile=10..12", r"profile='10..12' is not understood; write steps:FIRST..LAST"),
        ("profile=steps:4..3", r"profile='steps:4..3' is not understood"),
        ("mesh=model:2", r"mesh='model:2': 'model:2' is not understood"),
        ("mask.micro_views=3", r"mask.views=16 is not a multiple of mask.micro_views=3"),
        ("trunk.remat=all", r"trunk.remat='all' is not one of 'none', 'cheap', 'blocks'"),
    ],
    "v1_image_base": [
        ("trunk.prefix_tokens=0", r"positions.bias='relative' needs trunk.prefix_tokens=1"),
        ("mask.block=200", r"mask.block=200 is larger than the 14 x 14 grid"),
    ],
    "v1_audio_base": [
        ("positions.add=sincos", r"positions.add='sincos' needs tokens on a grid, as images have"),
        ("positions.bias=relative", r"positions.bias=.relative. needs tokens on a grid .*"),
        ("positions.conv_groups=7", r"trunk.width=768 is not a multiple of .*conv_groups=7"),
        ("positions.zero_padding=no", r"positions.zero_padding='no' is not one of 'each_layer'"),
        ("frontend.conv_layers=()", r"frontend.conv_layers=\(\) must be positive"),
        ("mask.hide=input", r"mask.hide='input' replaces ids and needs text, not audio"),
        ("data.buckets=(300,)", r"shape \(300,\) become 0 tokens; use longer ones"),
        ("data.buckets=(500,)", r"shape \(500,\) become 1 tokens; use longer ones"),
        ("data.buckets=(900,800)", r"data.buckets=\(900, 800\) must be positive .* ascending"),
        ("train.batch_size=1", r"= 160000 samples is too small for one .* set data.buckets to"),
        ("train.micro_batches=7", r"batches of 1920 examples of 32000 samples, .* not a mul"),
        ("data.weights=(1.0,-1.0)", r"data.weights=\(1.0, -1.0\) must be positive"),
        ("data.temperature=0", r"data.temperature=0.0 must be positive"),
        ("mask.kind=beit", r"mask.kind='beit' draws on a grid and needs images"),
    ],
    "v2_audio_base": [
        ("teacher.owns=('trunk', 'frontend')", r"teacher.sees='tokens' never uses; set"),
    ],
    "v1_text_base": [
        ("data.tokens=600", r"data.tokens=600 exceeds frontend.max_tokens=512"),
        ("frontend.mask_id=60000", r"frontend.mask_id=60000 is outside frontend.vocab_size"),
        ("teacher.sees=tokens", r"teacher.sees='tokens' would show the teacher `<mask>`"),
        ("data.blocks=document", r"data.blocks='document'.*did you mean 'documents'"),
    ],
}


@pytest.mark.parametrize(
    ("name", "override", "words"), [(name, *rest) for name, rows in BAD.items() for rest in rows]
)
def test_bad_values_are_named(name, override, words):
    with pytest.raises(ConfigError, match=words):
        resolve(f"--config.{override}", name=name)


def test_heads_too_wide_for_the_kernel_are_named():
    with pytest.raises(ConfigError, match=r"fused_attention=True: .* not 192 .*; leave it False"):
        resolve("--config.trunk.fused_attention=True", "--config.trunk.heads=4")


def test_good_values_pass():
    changed = resolve("--config.train.steps=60000", "--config.optimizer.learning_rate", "1")
    assert changed.train.steps == 60_000 and changed.optimizer.learning_rate == 1.0


def test_recipe_by_name_file_or_not_at_all(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'v2_image_base'"):
        recipes.load("v2_image_bse")
    own = tmp_path / "mine.py"
    own.write_text(
        "from d2v_jax.configs import v2_image_base\n"
        "def get_config(arg=''):\n"
        "    c = v2_image_base.get_config()\n"
        "    c.train.batch_size = 64\n"
        "    return c\n"
    )
    assert recipes.resolve(recipes.load(str(own))).train.batch_size == 64
    for body, words in (
        ("def get_config(arg=''): return 3", "returned int"),
        ("def get_config(arg='')\n", "mine.py"),
        ("x = 3\n", "get_config"),
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
    ):
        own.write_text(body)
        with pytest.raises(ConfigError, match=words):
            recipes.load(str(own))


def test_fields_added_or_lost_in_python_are_named():
    fields = recipes.to_fields(resolve())
    fields["train"]["step"] = 5
    with pytest.raises(ConfigError, match="train has no field 'step'; did you mean 'steps'"):
        recipes.resolve(fields)
    fields = recipes.to_fields(resolve())
    del fields["mask"]["views"]
    with pytest.raises(ConfigError, match="mask lacks views"):
        recipes.resolve(fields)
    fields = recipes.to_fields(resolve())
    fields["trunk"]["depth"] = True
    with pytest.raises(ConfigError, match="trunk.depth=True must be of type int"):
        recipes.resolve(fields)


def test_leftover_words_are_refused():
    with pytest.raises(ConfigError, match="unexpected argument 'extra'"):
        recipes.load("v2_image_base", ["extra"])
