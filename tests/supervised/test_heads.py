"""Heads: what padding cannot change, what a mixture of layers is, what stays frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from labelled_files import idx_folder

from d2v_jax.cli.main import main
from d2v_jax.common import trees
from d2v_jax.encoder.network import Encoded
from d2v_jax.nn.block import Layer
from d2v_jax.nn.trunk import Stack
from d2v_jax.supervised import heads
from d2v_jax.transfer import encoder


def head_of(kind, **more):
    params = heads.init(jax.random.key(0), heads.New(kind, 5, "normal", **more), 16)
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), params)
    return {"kind": kind, "params": params, "norm_eps": 1e-6}


@pytest.mark.parametrize("kind", ["mean_classes", "attentive_classes", "audio_classes"])
def test_padding_changes_no_answer(kind):
    head = head_of(kind, queries=4)
    tokens = jax.random.normal(jax.random.key(2), (3, 7, 16))
    padding = jnp.arange(7) >= jnp.array([[7], [4], [2]])
    other = jnp.where(padding[:, :, None], 99.0, tokens)
    with_padding = [heads.apply(head, x, 0, padding) for x in (tokens, other)]
    np.testing.assert_array_equal(*with_padding)
    alone = heads.apply(head, tokens[1:2, :4], 0, None)
    np.testing.assert_allclose(with_padding[0][1:2], alone, rtol=2e-5, atol=1e-6)


def test_queries_look_where_they_like():
    """A query much longer than the keys takes the token that fits it best."""
    head = head_of("attentive_classes")
    head["params"]["query"] = 1e4 * jnp.ones((1, 16))
    tokens = jax.random.normal(jax.random.key(2), (1, 6, 16))
    one = heads.apply(head, tokens, 0, None)
    singles = [heads.apply(head, tokens[:, i : i + 1], 0, None) for i in range(6)]
    gaps = [float(jnp.abs(one - single).max()) for single in singles]
    assert min(gaps) < 1e-4 < sorted(gaps)[1]


def test_a_mixture_of_layers():
    layers = [jnp.full((1, 2, 3), float(i)) for i in range(4)]
    stack = Stack(layers[0], [Layer(x, x) for x in layers[1:]], layers[-1] + 10)
    encoded = Encoded(stack, stack, None)
    of = lambda weights: heads.entered({"params": {"layers": jnp.array(weights)}}, encoded)
    np.testing.assert_allclose(of([0.0, 0.0, 0.0, 0.0]), 1.5)
    np.testing.assert_allclose(of([-99.0, -99.0, 99.0, -99.0]), 2.0)
    np.testing.assert_allclose(heads.entered({"params": {}}, encoded), 13.0)


def test_a_frozen_encoder_learns_nothing(tmp_path):
    data, pre, run = idx_folder(tmp_path / "data"), tmp_path / "pre", tmp_path / "run"
    words = [f"--config.data.source={data}", "--config.optimizer.warmup_steps=0"]
    short = ["--config.train.steps=1"]
    assert (
        main(
            [
                "pretrain",
                "--config",
                "quickstart_image:smoke",
                "--workdir",
                str(pre),
                *words,
                *short,
            ]
        )
        == 0
    )
    words += [f"--config.init_from={pre}", "--config.train.steps=3", "--config.eval.every=0"]
    assert (
        main(["finetune", "--config", "finetune_probe:smoke", "--workdir", str(run), *words]) == 0
    )
    before, after = encoder.load(pre), encoder.load(run)
    for path, leaf in trees.leaves({k: x for k, x in after.params.items() if k != "head"}):
        np.testing.assert_array_equal(leaf, dict(trees.leaves(before.params))[path])
    assert np.abs(after.params["head"]["layers"]).max() > 0
    assert after.logits(np.zeros((2, 32, 32, 1), np.uint8)).shape == (2, 3)
