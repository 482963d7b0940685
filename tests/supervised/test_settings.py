"""Recipes with labels: every published setting is the one of the reference's tables."""

import importlib
import pathlib
import re

import jax
import pytest
import test_precision

from d2v_jax.common import rng
from d2v_jax.common.checks import ConfigError
from d2v_jax.measure import setting
from d2v_jax.train import groups, state, step
from d2v_jax.train.recipe import resolve
from d2v_jax.transfer import finetune
from d2v_jax.transfer.encoder import Encoder

REFERENCE = pathlib.Path(__file__).parents[2] / "docs" / "reference.md"
asr, glue, imagenet = (
    importlib.import_module(f"d2v_jax.configs.finetune_{name}")
    for name in ("asr", "glue", "imagenet")
)
NAMES = {
    "audio": [f"finetune_asr:{name}" for name in asr.SETTINGS]
    + ["finetune_tags", "finetune_probe:audio"],
    "image": [f"finetune_imagenet:{name}" for name in imagenet.SETTINGS]
    + ["finetune_image", "finetune_probe"],
    "text": [f"finetune_glue:{name}{v}" for name in glue.TASKS for v in ("", "_v2")]
    + ["finetune_text", "finetune_probe:text"],
}


def rows(section):
    """Cells of all tables of a section, by their first one."""
    text = REFERENCE.read_text().split(f'<a id="s{section}"></a>')[1].split("<a id=")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("*"): row[1:] for row in cells}


def number(words):
    """ "13 000" -> 13000; "3.2M" -> 3200000; "640k"; ".65"; "1e-4"."""
    words = words.replace(" ", "").replace("*", "")
    found = re.match(r"[\d.]+(?:e-?\d+)?", words)
    scale = {"M": 1e6, "k": 1e3}.get(words[found.end() : found.end() + 1], 1)
    return float(found[0]) * scale


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder of weights of each modality, smoke-sized."""
    found = {}
    for modality in NAMES:
        name = {"audio": "v2_audio_base", "image": "v1_image_base", "text": "v2_text_base"}
        config = resolve.resolve(resolve.load(f"{name[modality]}:smoke"))
        shape = config.data.example_shape
        params = jax.jit(lambda key, c=config, s=shape: c.objective.init(key, s))(
            rng.stream(0, "init")
        )
        folder = tmp_path_factory.mktemp(modality) / "weights"
        Encoder(config, jax.device_get(params), None, None, 0).save(folder)
        found[modality] = folder
    return found


def whole(checkpoints, modality, name, *more):
    """The recipe with the encoder of its modality, and two labels."""
    labels = "('a','b')" if "stsb" not in name else "('value',)"
    words = [f"--config.init_from={checkpoints[modality]}", "--config.augment.channel_block=8"]
    if "asr" not in name:
        words.append(f"--config.data.label_names={labels}")
    return finetune.recipe(name, [*words, *more])[0]


@pytest.mark.parametrize(
    ("modality", "name"),
    [
        ("audio", "finetune_asr:base_10h"),
        ("audio", "finetune_asr:vox_1h_2"),
        ("audio", "finetune_tags"),
        ("image", "finetune_imagenet:v2_base"),
        ("image", "finetune_probe"),
        ("text", "finetune_glue:stsb"),
    ],
)
def test_no_product_is_rounded(checkpoints, modality, name):
    """Lowered for accelerators: heads and losses stay float32."""
    config = whole(checkpoints, modality, name, "--config.trunk.dtype=bfloat16")
    shapes = jax.eval_shape(lambda: state.create(config))
    batch = setting.abstract_batch(config, config.data.example_shape, 2)
    traced = jax.jit(step.make_train_step(config)).trace(shapes, batch)
    for platform in test_precision.PLATFORMS:
        assert test_precision.rounded(traced, platform) == [], platform


@pytest.mark.parametrize(("modality", "name"), [(m, n) for m in NAMES for n in NAMES[m]])
def test_builds(checkpoints, modality, name):
    """Whole with any encoder of its modality; every parameter is in a group."""
    config = whole(checkpoints, modality, name)
    shapes = jax.eval_shape(lambda: state.create(config))
    found = groups.groups(config.optimizer, shapes.params)
    assert found["head/out/kernel"].rate == 1 and not found["head/out/kernel"].still
    assert not shapes.carried
    assert resolve.resolve(resolve.to_fields(config)) == config
    assert config.recipe.startswith(name.partition(":")[0])


def test_speech_is_the_table():
    found = rows("12.1")
    shared = {f"vox_{hours}_{n}" for hours in ("100h", "960h") for n in (2, 3)}
    assert set(asr.SETTINGS) - set(found) == shared
    for name, one in asr.SETTINGS.items():
        row = found[name if name in found else f"{name[:-2]}_2 / _3"]
        gpus, samples, *rest = [part.strip() for part in row[0].split("×")]
        each = samples.split("/")[-1 if name.endswith("_3") else 0]
        scale = 1e6 if "M" in samples else 1
        each = number(each) * (scale if "M" not in each and "k" not in each else 1)
        assert one.samples == pytest.approx(number(gpus) * each * number(rest[0])), name
        assert one.steps == number(row[1]), name
        assert one.rate == number(row[2]), name
        spans = row[3].split("/")
        assert one.share == number(spans[0]), name
        assert one.span == (number(spans[1]) if len(spans) > 1 else 10), name
        assert (one.channels, one.layer_drop) == (number(row[4]), number(row[5])), name
        assert one.frozen == number(row[6]), name
        stages = row[2].split("/ cosine")[name.endswith("_3") and name in shared]
        if (name in found and "cosine" in row[2]) or (name in shared and name.endswith("_3")):
            assert one.tri == (number(re.search(r"w (\d+)", row[2])[1]),), name
        elif "tri" in stages:
            assert one.tri == tuple(map(number, stages.split("tri")[1].split("/")[:3])), name
        else:
            assert one.tri == (0.1, 0.4, 0.5), name


def test_text_is_the_table():
    titles = {"cola": "CoLA", "sst2": "SST-2", "stsb": "STS-B"}
    found = rows("12.4")
    for name, task in glue.TASKS.items():
        row = found[titles.get(name, name.upper())]
        assert [task.batch, task.steps, task.warmup, *task.rates] == list(map(number, row[:5]))


def test_images_are_the_tables():
    first, second = rows("12.2"), rows("12.3")
    for column, name in enumerate(("v1_base", "v1_large")):
        one = imagenet.SETTINGS[name]
        assert one.rate == number(first["lr (peak), min"][column].split(",")[0])
        epochs = number(first["epochs, warm-up"][column].split(",")[0])
        assert one.steps == epochs * (imagenet.EPOCH // one.batch)
        decay = first["layer decay"]
        assert one.layer_decay == number(decay[column])
        assert one.drop_path == number(first["drop path / dropout / attn drop"][column])
        assert one.weight_decay == number(first["weight decay"][column])
    for column, name in enumerate(("v2_base", "v2_large", "v2_huge")):
        one = imagenet.SETTINGS[name]
        rate, warmup, least = second["lr, warm-up, min lr"][column].split(",")
        assert (one.rate, one.warmup, one.least) == tuple(map(number, (rate, warmup, least)))
        assert one.steps == number(second["updates (epochs)"][column].split("(")[0])
        assert one.layer_decay == number(second["layer decay"][column])
        assert one.drop_path == number(second["drop path"][column])
        clip = second["clip"][column]
        assert one.clip == (0 if clip == "off" else number(clip))


def test_a_recipe_with_labels_is_no_pretraining():
    with pytest.raises(ConfigError, match="finetune_image takes its encoder from a checkpoint"):
        resolve.resolve(resolve.load("finetune_image"))


@pytest.mark.parametrize("name", ["finetune_asr", "finetune_glue", "finetune_imagenet"])
def test_settings_that_do_not_exist(name):
    with pytest.raises(ConfigError, match="has no (setting|task) 'nonsense'"):
        resolve.load(f"{name}:nonsense")
