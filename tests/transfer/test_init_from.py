"""A new run that begins where anyone's checkpoint ended."""

import json

import jax
import numpy as np
import pytest
from recorded import CASES, checkpoint

from d2v_jax.cli import main
from d2v_jax.common import rng, trees
from d2v_jax.data import loader
from d2v_jax.data2vec import loss, targets
from d2v_jax.data2vec.model import Model
from d2v_jax.train import pretrain, run, state
from d2v_jax.train.recipe import resolve
from d2v_jax.transfer import convert, reading

BUILTIN = {
    "audio": [
        "--config.data.source=builtin:tones",
        "--config.data.samples=8000",
        "--config.data.min_samples=8000",
        "--config.data.buckets=()",
    ],
    "image": ["--config.data.source=builtin:photos"],
    "text": ["--config.data.source=builtin:python-docs", "--config.data.tokenizer=bytes"],
}
SHORT = [
    "--config.train.steps=1",
    "--config.train.batch_size=4",
    "--config.data.threads=1",
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.hold_steps=0",
]
MODALITY = {"v1_vision": "image"} | {case: case[3:] for case in CASES if case != "v1_vision"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """case -> a run converted from it."""
    folder = tmp_path_factory.mktemp("runs")

    def converted(case):
        if not (folder / case).exists():
            convert.convert(checkpoint(case), folder / case)
        return folder / case

    return converted


@pytest.fixture
def begin(tmp_path, monkeypatch, one_device):
    """Starts a run up to its first step, whose state is returned; None for a refusal."""

    def start(base, init_from, modality, *more):
        seen = []
        states = lambda args: [each for each in args if isinstance(each, state.TrainState)]
        monkeypatch.setattr(pretrain, "_train", lambda *args: seen.extend(states(args)) or 0)
        words = [
            "pretrain",
            "--config",
            str(base),
            "--workdir",
            str(tmp_path / "w"),
            *SHORT,
            *BUILTIN[modality],
        ]
        words += [f"--config.init_from={init_from}"] if init_from else []
        assert main.main([*words, *more]) == (0 if seen else 2)
        assert bool(seen) == (tmp_path / "w").exists(), "a refused run left something behind"
        return seen[0] if seen else None

    return start


def same(a, b):
    assert reading.largest_difference(jax.device_get(a), jax.device_get(b)) == 0


@pytest.mark.parametrize("case", [case for case in CASES if "text" not in case])
def test_starts_with_student_and_teacher(runs, begin, caplog, case):
    caplog.set_level("INFO", "d2v")
    theirs = reading.read(checkpoint(case))
    begun = begin(runs(case), checkpoint(case), MODALITY[case])
    same(begun.params, theirs.params)
    same({part: begun.carried[part] for part in theirs.carried}, theirs.carried)
    assert set(begun.carried) == set(theirs.recipe.objective.cfg.teacher.owns)
    assert int(begun.step) == 0
    [line] = [line for line in caplog.messages if line.startswith("init_from=")]
    assert f"{theirs.system} at step 0, {trees.count(theirs.params):,} parameters of" in line
    assert f"teacher: {', '.join(theirs.recipe.objective.cfg.teacher.owns)}" in line
    assert "new:" not in line and "head" not in line


@pytest.mark.parametrize("case", ["v1_text", "v2_text"])
def test_a_vocabulary_that_does_not_fit(runs, begin, capsys, case):
    assert begin(runs(case), checkpoint(case), "text") is None
    err = capsys.readouterr().err
    assert "data.tokenizer='bytes' has 261 ids" in err and "frontend.vocab_size=99" in err
    assert "set them to 261 and 260" in err
    assert (
        begin(
            runs(case),
            "",
            "text",
            "--config.frontend.vocab_size=261",
            "--config.frontend.mask_id=98",
        )
        is None
    )
    assert "frontend.mask_id=98" in capsys.readouterr().err
    sizes = ["--config.frontend.vocab_size=261", "--config.frontend.mask_id=260"]
    assert begin(runs(case), checkpoint(case), "text", *sizes) is None
    err = capsys.readouterr().err
    assert "frontend/tokens/embedding is (99, 32), the recipe expects (261, 32)" in err


def test_from_every_kind_of_folder(runs, begin, tmp_path, monkeypatch):
    case = "v1_vision"
    theirs = reading.read(checkpoint(case))
    convert.convert(checkpoint(case), tmp_path / "folder", "safetensors")
    resolved = resolve.resolve(resolve.load(str(_recipe(tmp_path, runs(case)))))
    for place in (runs(case), tmp_path / "folder"):
        student, owned = reading.start_from(_with_start(resolved, place))
        same(student, theirs.params)
        same(owned, theirs.carried)
    monkeypatch.chdir(tmp_path)
    begun = begin(runs(case), "folder", "image", "--config.teacher.starts_as=student")
    same(begun.carried, {part: begun.params[part] for part in begun.carried})


def _recipe(tmp_path, workdir):
    """A recipe file with the fields of a run."""
    path = tmp_path / "mine.py"
    fields = json.dumps(json.dumps(run.read_recipe(workdir)))
    path.write_text(
        "import json\nfrom ml_collections import config_dict\n\n\ndef get_config():\n"
        f"    return config_dict.ConfigDict(json.loads({fields}))\n"
    )
    return path


def _with_start(resolved, place):
    return resolve.resolve(resolve.to_fields(resolved) | {"init_from": str(place)})


@pytest.mark.parametrize("case", ["hf_audio", "hf_audio_ctc", "hf_vision", "hf_text_cls"])
def test_what_hugging_face_lacks_is_new(begin, tmp_path, caplog, case):
    caplog.set_level("INFO", "d2v")
    convert.convert(checkpoint(case), tmp_path / "run")
    recipe = run.read_config(tmp_path / "run")
    student, owned = reading.start_from(_with_start(recipe, checkpoint(case)))
    line = caplog.messages[-1]
    again, _ = reading.start_from(_with_start(recipe, tmp_path / "run"))
    same(student, again)
    theirs = reading.read(checkpoint(case))
    same({part: student[part] for part in theirs.params}, theirs.params)
    assert "decoder" in student and "head" not in student
    same(owned, {part: student[part] for part in recipe.objective.cfg.teacher.owns})
    fresh = state.create(recipe).params
    assert set(student) == set(fresh)
    for (path, a), (_, b) in zip(
        trees.leaves(student["decoder"]), trees.leaves(fresh["decoder"]), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7, err_msg=path)
    assert "the teacher starts as the student; new: decoder" in line
    head = theirs.head
    assert (f"its {head['kind']} head is left behind" in line) if head else "head" not in line


def test_a_run_without_its_decoder_cannot_be_continued(begin, tmp_path, capsys, caplog):
    convert.convert(checkpoint("hf_audio"), tmp_path / "w")
    assert "without decoder" in caplog.text
    assert main.main(["pretrain", "--workdir", str(tmp_path / "w")]) == 2
    err = capsys.readouterr().err
    assert "without decoder" in err and f"--config.init_from={tmp_path / 'w'}" in err


def test_misfits_are_named_and_nothing_is_loaded(runs, begin, capsys, tmp_path):
    wide = ["--config.trunk.width=64", "--config.train.log_every=1"]
    assert begin(runs("v2_image"), checkpoint("v2_image"), "image", *wide) is None
    err = capsys.readouterr().err
    assert "does not fit the recipe, nothing was loaded" in err
    assert "frontend/patch/bias is (32,), the recipe expects (64,)" in err
    assert f"d2v convert {checkpoint('v2_image')} RUN, then --config RUN" in err
    assert begin(runs("v2_image"), checkpoint("v1_vision"), "image") is None
    err = capsys.readouterr().err
    assert "missing prenet/" in err and "left over mask/embedding (32,)" in err and " more" in err
    assert begin(runs("v2_image"), checkpoint("v2_audio"), "image") is None
    assert "holds a model of audio, but the recipe is of image" in capsys.readouterr().err
    assert begin(runs("v2_image"), tmp_path / "none.pt", "image") is None
    assert "none.pt" in capsys.readouterr().err
    assert (
        begin(runs("v2_image"), checkpoint("v2_image"), "image", "--config.teacher.starts_as=none")
        is None
    )
    assert "teacher.starts_as='none' is not one of" in capsys.readouterr().err


def expected_loss(recipe, student, owned):
    """The loss of a recipe's first batch, without its training step."""
    with loader.open_batches(
        recipe.data, seed=recipe.seed, start_step=0, batch_size=recipe.train.batch_size
    ) as batches:
        batch = next(iter(batches))
    model = Model(recipe.objective.cfg)

    @jax.jit
    def compute(student, owned, batch):
        inputs = model.prepare(batch)
        random = rng.keys(rng.stream(recipe.seed, "step", 0), batch["example_id"])
        views = recipe.objective.cfg.mask.views
        count = model.token_count(inputs.values.shape[1:])
        mask = model.draw_mask(random.named("mask").views(views), count, model.padding(inputs))
        tokens = model.tokens(student, model.hide_inputs(inputs, mask), random.named("tokens"))
        targets_btd = targets.teacher_targets(model, student, owned, inputs, tokens, mask)
        hidden = targets.hidden_targets(targets_btd, mask)
        predicted = model.predict(student, tokens, mask, random.named("encoder").views(views))
        whole = loss.counts(model.cfg.loss, mask)
        return loss.losses(model.cfg.loss, predicted, targets_btd, hidden, mask, whole)[0]

    return float(compute(student, owned, batch))


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_first_loss_is_the_checkpoints(runs, letters, tmp_path, one_device, modality):
    """A whole run of one step, of a .pt file and of a folder that Python saved."""
    if modality == "image":
        base, source = runs("v2_image"), checkpoint("v2_image")
    else:
        base = source = tmp_path / "letters"
        letters.save(source)
    words = [
        "pretrain",
        "--config",
        str(base),
        f"--config.init_from={source}",
        *SHORT,
        *BUILTIN[modality],
        "--workdir",
        str(tmp_path / "w"),
    ]
    assert main.main(words) == 0
    recipe = run.read_config(tmp_path / "w")
    assert recipe.init_from == str(source)
    loss = json.loads((tmp_path / "w" / "metrics.jsonl").read_text())["loss"]
    theirs = reading.read(source)
    expected = expected_loss(recipe, theirs.params, theirs.carried)
    assert loss == pytest.approx(expected, rel=1e-5)
    fresh = jax.jit(lambda: state.create(recipe))()
    assert abs(expected_loss(recipe, fresh.params, fresh.carried) - loss) > 1e-3 * loss
    assert np.isfinite(loss)
