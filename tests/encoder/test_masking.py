"""Mask laws: counts, spans, independence of the batch. Statistics: tests/test_golden.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.common import rng
from d2v_jax.common.checks import ConfigError
from d2v_jax.encoder import masking
from d2v_jax.encoder.sections import MaskConfig
from d2v_jax.train.machine import mesh


def cfg(kind, share, adjust=0.0, block=1, neighbours=1, views=1):
    hide = "remove" if kind in masking.EXACT else "replace"
    return MaskConfig(hide, kind, share, adjust, block, neighbours, views, micro_views=1)


# Recipe by recipe: mask fields, tokens, most hidden (REFERENCE §17, §9.3, §11.2).
PUBLISHED = [
    (cfg("inverse_blocks", 0.8, 0.07, 3), 196, 157),
    (cfg("inverse_blocks", 0.75, 0.1, 3), 196, 147),
    (cfg("inverse_blocks", 0.75, 0.1, 3), 256, 192),
    (cfg("blocks", 0.5, 0.05, 5), 999, 499),
    (cfg("blocks", 0.55, 0.1, 5), 999, 549),
    (cfg("blocks", 0.5, 0.05, 5), 781, 390),
    (cfg("random", 0.48), 512, 246),
    (cfg("random", 0.5), 512, 256),
    (cfg("beit", 120 / 196, block=16), 196, 120),
    (cfg("clipped_spans", 0.35, block=4), 512, 180),
    (cfg("spans", 0.65, block=10, neighbours=3), 499, 330),
]


def draw(one, ids, tokens, step=0, lengths=None):
    keys = rng.keys(rng.stream(0, "mask", step), jnp.asarray(ids)).views(one.views)
    side = round(tokens**0.5)
    shape = (side, side) if one.kind in masking.GRIDS else (tokens,)
    return jax.jit(masking.draw, static_argnums=(0, 2))(one, keys, shape, lengths)


@pytest.mark.parametrize(("one", "tokens", "most"), PUBLISHED)
def test_counts_and_ids(one, tokens, most):
    mask = jax.tree.map(np.asarray, draw(one, range(64), tokens))
    assert masking.hidden_most(one, tokens) == most
    assert mask.hidden_ids_nu.shape == mask.weight_nu.shape == (64, most)
    counts = mask.hidden_nt.sum(1)
    assert (counts == mask.weight_nu.sum(1)).all() and (counts > 0).all()
    if one.kind in masking.EXACT:
        assert (counts == most).all() and (mask.weight_nu == 1).all()
        both = np.sort(np.concatenate([mask.hidden_ids_nu, mask.visible_ids_nv], 1), 1)
        assert (both == np.arange(tokens)).all()
        assert (np.diff(mask.visible_ids_nv) > 0).all()
    else:
        assert (counts <= most).all() and len(set(counts)) > 1
    for hidden, ids, weight in zip(*mask[:3], strict=True):
        assert (np.diff(ids[weight > 0]) > 0).all()
        np.testing.assert_array_equal(np.flatnonzero(hidden), ids[weight > 0])


@pytest.mark.parametrize(("one", "tokens", "_"), PUBLISHED[::2])
def test_a_mask_follows_from_example_view_and_step_alone(one, tokens, _):
    two = cfg(one.kind, one.share, one.adjust, one.block, one.neighbours, views=2)
    alone = np.asarray(draw(two, [7], tokens).hidden_nt)
    among = np.asarray(draw(two, [3, 7, 9], tokens).hidden_nt)
    np.testing.assert_array_equal(alone, among[2:4])
    assert (alone[0] != alone[1]).any(), "views of an example are alike"
    assert (among[0] != among[2]).any(), "examples are alike"
    assert (alone != draw(two, [7], tokens, step=1).hidden_nt).any(), "steps are alike"


@pytest.mark.parametrize(("one", "tokens", "_"), PUBLISHED)
def test_the_same_bits_on_eight_devices(one, tokens, _):
    """Examples cut among devices, on meshes of either axis."""
    whole = draw(one, np.arange(16), tokens)
    cut = jax.device_put(np.arange(16), mesh.batch_sharding(mesh.make_mesh("data:2,fsdp:4")))
    found = draw(one, cut, tokens)
    assert len(found.hidden_nt.sharding.device_set) == 8
    jax.tree.map(np.testing.assert_array_equal, found, whole)


def runs(row):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def test_spans_have_their_length_and_never_reach_the_end():
    """REFERENCE T8, T9."""
    hidden = np.asarray(draw(cfg("spans", 0.65, block=10), range(200), 99).hidden_nt)
    assert min(runs(row).min() for row in hidden) >= 10
    assert not hidden[:, -1].any() and hidden[:, -2].any()
    clipped = np.asarray(draw(cfg("clipped_spans", 0.35, block=4), range(300), 64).hidden_nt)
    assert clipped[:, -1].any()
    assert min(runs(row[:-4]).min(initial=4) for row in clipped if not row[-5:].any()) >= 4


@pytest.mark.parametrize("kind", ["spans", "clipped_spans"])
def test_spans_keep_to_the_length_of_their_row(kind):
    lengths = jnp.array([60, 30, 99])
    hidden = np.asarray(draw(cfg(kind, 0.5, block=5), range(3), 99, lengths=lengths).hidden_nt)
    for row, length in zip(hidden, lengths, strict=True):
        assert row[:length].any() and not row[length:].any()


def test_short_rows_get_at_least_one_span():
    lengths = jnp.array([3, 11])
    hidden = draw(cfg("spans", 0.1, block=10), range(2), 40, lengths=lengths).hidden_nt
    assert np.asarray(hidden).any(1).all()


def test_trimming_hides_fewer():
    wide = draw(cfg("spans", 0.65, block=10), range(100), 499).hidden_nt.mean()
    trimmed = draw(cfg("spans", 0.65, block=10, neighbours=8), range(100), 499).hidden_nt.mean()
    assert 0.02 < wide - trimmed < 0.07


def test_scatter_undoes_gather():
    mask = draw(cfg("inverse_blocks", 0.8, 0.07, 3, views=4), [0, 1], 196)
    tokens_btd = jax.random.normal(jax.random.key(1), (2, 196, 8))
    ids_bmv = mask.visible_ids_nv.reshape(2, 4, -1)
    back = masking.scatter(masking.gather(tokens_btd, ids_bmv), mask.visible_ids_nv, 196)
    expected = np.repeat(tokens_btd, 4, 0) * ~np.asarray(mask.hidden_nt)[:, :, None]
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (cfg("inverse_blocks", 0.999, 0.07, 3), r"mask.share=0.999 hides 196 of 196 tokens"),
        (cfg("inverse_blocks", 0.8, 0.07, 14), r"mask.block=14 draw no block"),
        (cfg("blocks", 0.001, 0.05, 5), r"mask.share=0.001 hides 0 of 196"),
        (cfg("spans", 0.999, block=30), r"mask.share=0.999 hides 196 of 196"),
    ],
)
def test_impossible_counts_are_named(one, words):
    with pytest.raises(ConfigError, match=words):
        draw(one, [0], 196)
