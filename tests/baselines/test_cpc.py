"""Contrastive predictive coding and BEST-RQ: sizes, draws, frozen codes, and a short run."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import systems

import d2v_jax
from d2v_jax.baselines import best_rq, cpc, mel
from d2v_jax.cli import main
from d2v_jax.common import rng, trees
from d2v_jax.common.checks import ConfigError, UserError
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.train import state, step
from d2v_jax.train.machine import mesh
from d2v_jax.train.recipe import resolve
from d2v_jax.train.report import metrics
from d2v_jax.transfer import reading

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"

# All parameters, and what is left of them without the heads.
CONVS, LSTM = 1_317_120, 526_336
SIZES = {
    "cpc_base": (CONVS + LSTM + 15_813_120, CONVS + LSTM),
    # wav2vec 2.0's, less what stands for hidden frames, one more convolution of 512 x 512 x 2 with
    # its norm, six other norms and half the window of positions.
    "best_rq_base": (
        94_371_712 - 768 + 525_312 + 6 * 1024 - 64 * 48 * 768 - 64 + 768 * 8192 + 8192,
        94_371_712 - 768 + 525_312 + 6 * 1024 - 64 * 48 * 768 - 64,
    ),
}
SMOKE = ("cpc_base", "best_rq_base")


def objective(name, *overrides):
    return resolve.resolve(resolve.load(name, overrides)).objective


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sizes(name):
    params = jax.eval_shape(lambda: state.create(resolve.resolve(resolve.load(name)))).params
    heads = sum(trees.count(params[part]) for part in ("predictor", "prediction") if part in params)
    assert (trees.count(params), trees.count(params) - heads) == SIZES[name]
    assert resolve.resolve(resolve.load(f"{name}:budget"))


def test_negatives_are_of_any_window_and_any_time_but_now():
    windows, frames, places, each = 3, 10, 7, 4000
    drawn = np.asarray(cpc.draw_negatives(jax.random.key(0), windows, frames, places, each))
    expected = each / (windows * (frames - 1))
    for place in range(windows * places):
        now = place % places
        seen = np.bincount(drawn[place], minlength=windows * frames).reshape(windows, frames)
        assert not seen[:, now].any()
        assert np.abs(np.delete(seen, now, 1) - expected).max() < 5 * expected**0.5


def test_windows_of_an_example_hear_nothing_of_each_other():
    one = objective("cpc_base:smoke")
    keys, window = rng.keys(jax.random.key(0), jnp.arange(1)), one.cfg.future.window
    wave = np.random.default_rng(0).normal(size=(1, 4 * window)).astype(np.float32)
    other = wave.copy()
    other[:, :window] = 0
    params = one.init(jax.random.key(1), (4 * window,))
    heard = []
    for values in (wave, other):
        batch = {"inputs": jnp.asarray(values), "offset": jnp.zeros(1), "scale": jnp.ones(1)}
        heard.append(one.apply(params, one.draw(keys, batch).inputs, None, method="answer"))
    first, second = (answer.encoded.out for answer in heard)
    assert not np.allclose(first[0], second[0]) and np.array_equal(first[1:], second[1:])


def test_features_do_not_depend_on_padding():
    """Whatever stands behind the end of a wave, it ends there; and a state knows no future."""
    one = objective("cpc_base:smoke")
    params = one.init(jax.random.key(1), (12_800,))
    wave = np.random.default_rng(0).normal(size=(1, 8_123)).astype(np.float32)
    padded = np.pad(wave, ((0, 0), (0, 5_000)))
    alone = one.model.tokens(params, Inputs(jnp.asarray(wave)))
    beside = one.model.tokens(params, Inputs(jnp.asarray(padded), jnp.array([8_123])))
    frames = alone.x_btd.shape[1]
    assert frames == 50 and int((~beside.padding_bt).sum()) == frames
    np.testing.assert_allclose(beside.x_btd[:, :frames], alone.x_btd, atol=1e-5)
    later = wave.copy()
    later[:, 6_000:] = 0
    context = [
        one.model.contextualize(params, one.model.tokens(params, Inputs(jnp.asarray(x)))).out
        for x in (wave, later)
    ]
    np.testing.assert_allclose(context[0][:, :36], context[1][:, :36], atol=1e-6)
    assert not np.allclose(context[0][:, 40:], context[1][:, 40:], atol=1e-3)


SOUND = np.random.default_rng(0).normal(size=(4, 32_000)).astype(np.float32)


def test_codes_are_frozen_and_in_use():
    """The same whenever they are made, no part of the parameters, of features that are normed."""
    cfg = objective("best_rq_base").cfg.codes
    projection, codebook = best_rq.tables(cfg, 320)
    again = best_rq.tables.__wrapped__(cfg, 320)
    assert np.allclose(projection, again[0], atol=1e-7) and np.allclose(
        codebook, again[1], atol=1e-6
    )
    assert projection.shape == (1, 320, 16) and codebook.shape == (1, 8192, 16)
    assert np.allclose(np.linalg.norm(codebook, axis=-1), 1, atol=1e-5)
    assert np.abs(projection).max() <= (6 / (320 + 16)) ** 0.5
    assert float(projection.std()) == pytest.approx((2 / (320 + 16)) ** 0.5, rel=0.05)
    other = dataclasses.replace(cfg, seed=1)
    assert not np.allclose(best_rq.tables(other, 320)[1], codebook)
    params = jax.eval_shape(
        lambda: objective("best_rq_base:smoke").init(rng.stream(0, "p"), (16_000,))
    )
    assert not [p for p, _ in trees.leaves(params) if "codes" in p or "codebook" in p]

    stacked = mel.stacked(jnp.asarray(SOUND), 49, 640, 80)
    codes = np.asarray(best_rq.codes(cfg, stacked))
    # By definition: of all entries the one at the least distance, both of length 1.
    x = np.asarray(stacked)[1, 5] @ np.asarray(projection[0])
    distance = np.square(x / np.linalg.norm(x) - np.asarray(codebook[0])).sum(-1)
    assert codes[1, 5, 0] == distance.argmin() and codes.shape == (4, 49, 1)
    assert len(np.unique(codes)) > 0.9 * codes.size
    # Louder recordings have the same codes.
    assert (
        best_rq.codes(cfg, mel.stacked(9 * jnp.asarray(SOUND), 49, 640, 80)) == codes
    ).mean() > 0.99
    assert np.allclose(stacked.reshape(4, -1, 80).mean(1), 0, atol=1e-4)
    assert np.allclose(stacked.reshape(4, -1, 80).std(1), 1, atol=1e-2)


def test_hidden_tokens_see_noise_alone():
    one = objective("best_rq_base")
    keys = rng.keys(jax.random.key(0), jnp.arange(4))
    batch = {"inputs": jnp.asarray(SOUND), "offset": jnp.zeros(4), "scale": jnp.ones(4)}
    drawn = one.draw(keys, batch)
    tokens = one.model.token_count((32_000,))
    changed = np.asarray(drawn.inputs.values) != SOUND
    hidden = np.asarray(drawn.mask.hidden_nt)
    assert one.hop == 640 and one.field == 720 and hidden.shape == (4, tokens)
    for row in range(4):
        seen = [changed[row, 640 * t : 640 * t + 720] for t in range(tokens)]
        assert all(part.all() for part, is_hidden in zip(seen, hidden[row]) if is_hidden)
        away = [t for t in range(tokens) if not hidden[row, max(0, t - 1) : t + 2].any()]
        assert not any(seen[t].any() for t in away)
    assert float(drawn.inputs.values[changed].std()) == pytest.approx(0.1, rel=0.05)
    clean = best_rq.codes(one.cfg.codes, mel.stacked(batch["inputs"], tokens, 640, 80))
    at = np.take_along_axis(np.asarray(clean), np.asarray(drawn.mask.hidden_ids_nu)[..., None], 1)
    assert np.array_equal(at, drawn.codes_nug)


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("cpc_base", "mask.hide=replace", "mask.hide='replace': objective='cpc' hides nothing"),
        ("cpc_base", "trunk.block=post_norm", "trunk.block='post_norm': objective='cpc' must not"),
        ("cpc_base", "trunk.input_norm=True", "trunk.block='lstm' is a recurrent network"),
        ("cpc_base", "future.window=1600", "future.window=1600 samples are 10 frames, too few"),
        ("cpc_base", "data.buckets=(30000,)", "crops of 30000 samples .* no multiple of"),
        ("cpc_base", "trunk.width=128", "needs trunk.width=128 to be the width"),
        ("best_rq_base", "mask.hide=replace", "mask.hide='replace': objective='best_rq' needs"),
        ("best_rq_base", "frontend.conv_layers=((8, 10, 7),)", "a token every 7 samples"),
    ],
)
def test_what_cannot_work_is_refused(name, override, message):
    with pytest.raises(ConfigError, match=message):
        objective(name, f"--config.{override}")


@pytest.mark.parametrize("name", SMOKE)
def test_a_checkpoint_of_another_sibling_is_named(name):
    given = f"--config.init_from={GOLDEN / 'wav2vec2' / 'checkpoint.pt'}"
    words = r", a wav2vec2_audio model, does not fit the recipe"
    with pytest.raises(UserError, match=words):
        reading.start_from(resolve.resolve(resolve.load(f"{name}:smoke", [given])))


@pytest.mark.parametrize("name", SMOKE)
def test_one_device_is_as_eight_and_parts_as_the_whole(name):
    whole = resolve.resolve(resolve.load(f"{name}:smoke"))
    parts = dataclasses.replace(whole, train=dataclasses.replace(whole.train, micro_batches=2))
    start = jax.device_get(jax.jit(lambda: state.create(whole))())
    batch = systems.batch(whole, whole.train.batch_size)
    found = []
    for resolved, devices in ((whole, 1), (whole, 8), (parts, 1)):
        grid = mesh.make_mesh("data:-1", jax.devices()[:devices])
        shardings = mesh.state_sharding(jax.eval_shape(lambda: start), grid)
        train_step = step.compile_step(resolved, grid, shardings)
        current = jax.device_put(start, shardings)
        for _ in range(2):
            current, out = train_step(current, mesh.put(batch, mesh.batch_sharding(grid)))
        found.append(metrics.finalize(jax.device_get(out)))
        assert train_step._cache_size() == 1
    for other in found[1:]:
        for key in ("loss", "grad_norm", "accuracy"):
            assert other[key] == pytest.approx(found[0][key], rel=1e-4), key


@pytest.mark.parametrize("name", SMOKE)
def test_learns_resumes_and_is_opened(name, tmp_path, monkeypatch, caplog):
    whole = mesh.make_mesh
    monkeypatch.setattr(mesh, "make_mesh", lambda spec, _=None: whole(spec, jax.devices()[:1]))
    first, again = tmp_path / "first", tmp_path / "again"
    # Of the seeds 0 to 3 of cpc_base, 0 alone learns little in 30 steps, whatever dropout draws.
    words = ["--config", f"{name}:smoke", "--config.seed=1", "--workdir", str(first)]
    assert main.main(["pretrain", *words]) == 0
    history = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in history]
    assert len(losses) == 30 and sum(losses[-5:]) < 0.93 * sum(losses[:5]), losses
    assert not [r for r in caplog.records if r.levelname == "WARNING"], caplog.text
    shutil.copytree(first, again)
    shutil.rmtree(again / "checkpoints" / "30")
    assert main.main(["pretrain", "--workdir", str(again)]) == 0
    course = lambda record: {k: v for k, v in record.items() if not k.endswith("_s")}
    resumed = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    assert list(map(course, resumed)) == list(map(course, history))
    encoder = d2v_jax.load(first)
    long, short = encoder.features([SOUND[0], SOUND[1, :9_000]])
    assert np.allclose(encoder.features([SOUND[1, :9_000]])[0], short, atol=1e-5)
    assert long.shape == short.shape == (32,) and np.isfinite(long).all()
