"""Waves in segments, as TPUs convolve them: the same frames, the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.frontends import audio
from d2v_jax.train.recipe import resolve


@pytest.mark.parametrize("samples", [16_000, 9_999, 410])
@pytest.mark.parametrize("recipe", ["v1_audio_base:smoke", "wav2vec2_base:smoke"])
def test_segments_give_the_same(monkeypatch, recipe, samples):
    """Rows of one frame too; with a norm over time in the first layer, and without."""
    frontend = resolve.resolve(resolve.load(recipe)).objective.cfg.frontend
    module = frontend.build(32, "float32", "bert")
    wave_bs = jnp.asarray(np.random.default_rng(0).standard_normal((3, samples)), jnp.float32)
    params = module.init(jax.random.key(0), wave_bs)
    shares = jnp.cos(jnp.arange(samples // 320))[:, None]  # each frame counts otherwise

    def loss(params):
        tokens_btd = module.apply(params, wave_bs)
        return jnp.sum(tokens_btd * tokens_btd * shares[: tokens_btd.shape[1]]), tokens_btd

    plain_grads, plain_btd = jax.grad(loss, has_aux=True)(params)
    cut = []
    segmented = audio.segmented
    monkeypatch.setattr(audio, "segmented", lambda *args: cut.append(args) or segmented(*args))
    monkeypatch.setattr(audio, "platform", lambda: "tpu")
    monkeypatch.setattr(audio, "LANES", 24)  # eight segments of each row
    grads, tokens_btd = jax.grad(loss, has_aux=True)(params)
    assert bool(cut) == (samples > 410)  # one frame is one segment
    np.testing.assert_allclose(tokens_btd, plain_btd, rtol=1e-5, atol=1e-5)
    for one, plain in zip(jax.tree.leaves(grads), jax.tree.leaves(plain_grads)):
        np.testing.assert_allclose(one, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())
