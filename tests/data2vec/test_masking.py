"""Mask laws: exact counts, independence of the batch, the originals' statistics."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from d2v_jax.common import rng
from d2v_jax.common.checks import ConfigError
from d2v_jax.data2vec import masking
from d2v_jax.data2vec.config import MaskConfig

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "masks"
BASE = MaskConfig("inverse_blocks", share=0.8, adjust=0.07, block=3, views=4)
draw = jax.jit(masking.draw, static_argnums=(0, 2))


def keys(ids, views=4, step=0):
    return rng.per_view(rng.stream(0, "mask", step), jnp.asarray(ids), views)


@pytest.mark.parametrize(
    ("share", "adjust", "grid", "visible"),
    [(0.8, 0.07, 14, 39), (0.75, 0.1, 14, 49), (0.75, 0.1, 16, 64), (0.8, 0.07, 8, 12)],
)
def test_counts_are_exact_and_parts_complete(share, adjust, grid, visible):
    cfg = MaskConfig("inverse_blocks", share, adjust, 3, 4)
    mask = draw(cfg, keys(range(32)), grid)
    hidden, ids = np.asarray(mask.hidden_nt), np.asarray(mask.visible_ids_nv)
    assert ids.shape == (128, visible)
    assert (hidden.sum(1) == grid**2 - visible).all()
    assert (np.diff(ids) > 0).all() and (np.diff(mask.hidden_ids_nu) > 0).all()
    assert not np.take_along_axis(hidden, ids, 1).any()
    assert np.take_along_axis(hidden, np.asarray(mask.hidden_ids_nu), 1).all()


def test_mask_depends_on_example_view_and_step_only():
    alone = draw(BASE, keys([7]), 14).hidden_nt
    among = draw(BASE, keys([3, 7, 9]), 14).hidden_nt
    np.testing.assert_array_equal(alone, among[4:8])
    assert (np.asarray(alone[0]) != alone[1]).any(), "views of an example are alike"
    assert (np.asarray(among[0]) != among[4]).any(), "examples are alike"
    assert (np.asarray(alone) != draw(BASE, keys([7], step=1), 14).hidden_nt).any()


def test_scatter_undoes_gather():
    mask = draw(BASE, keys([0, 1]), 14)
    tokens_btd = jax.random.normal(jax.random.key(1), (2, 196, 8))
    ids_bmv = mask.visible_ids_nv.reshape(2, 4, -1)
    back = masking.scatter(masking.gather(tokens_btd, ids_bmv), mask.visible_ids_nv, 196)
    expected = np.repeat(tokens_btd, 4, 0) * ~np.asarray(mask.hidden_nt)[:, :, None]
    np.testing.assert_array_equal(back, expected)


def statistics(hidden_nyx):
    """The summaries of golden/masks for 2-D masks (4-neighbour components)."""
    cells = hidden_nyx[0].size
    result = {"masked_count_hist": np.bincount(hidden_nyx.sum((1, 2)), minlength=cells + 1)}
    for state, picture in (("masked", hidden_nyx), ("visible", ~hidden_nyx)):
        sizes, numbers, largest = [], [], []
        for one in picture:
            labels, number = ndimage.label(one)
            areas = np.bincount(labels.ravel())[1:]
            sizes.append(areas)
            numbers.append(number)
            largest.append(areas.max())
        result[f"{state}_component_size_hist"] = np.bincount(np.concatenate(sizes))
        result[f"{state}_components_per_mask_hist"] = np.bincount(numbers)
        result[f"{state}_largest_component_hist"] = np.bincount(largest)
    result["position_prob"] = hidden_nyx.mean(0)
    horizontal = (hidden_nyx[:, :, 1:] == hidden_nyx[:, :, :-1]).mean()
    vertical = (hidden_nyx[:, 1:] == hidden_nyx[:, :-1]).mean()
    result["same_state_neighbour_prob"] = np.array([horizontal, vertical])
    return result


def histogram_distance(a, b):
    """Total variation distance of two histograms, padded to one length."""
    length = max(len(a), len(b))
    a, b = (np.pad(h, (0, length - len(h))) / h.sum() for h in (a, b))
    return np.abs(a - b).sum() / 2


def test_statistics_are_those_of_the_original():
    name = "image_v2_block"
    about = json.loads((GOLDEN / "masks.json").read_text())[name]
    recorded = np.load(GOLDEN / "masks.npz")
    p = about["parameters"]
    cfg = MaskConfig("inverse_blocks", p["prob"], p["adjust"], p["length"], 16)
    mask = draw(cfg, keys(range(1250), views=16), p["side"])
    ours = statistics(np.asarray(mask.hidden_nt).reshape(-1, p["side"], p["side"]))
    assert len(mask.hidden_nt) == about["n_masks"]
    for quantity, value in ours.items():
        noise = about["sampling_noise"][quantity]
        theirs = recorded[f"{name}/{quantity}"]
        if quantity.endswith("_hist"):
            distance = histogram_distance(value, theirs)
        else:
            distance = np.abs(value - theirs).max()
        assert distance <= 2.5 * noise + 1e-12, f"{quantity}: {distance} against {noise}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"share": 0.999}, r"mask.share=0.999 leaves 0 of 196 tokens visible"),
        ({"block": 14}, r"mask.block=14 draw no visible block"),
    ],
)
def test_impossible_counts_are_named(change, words):
    cfg = MaskConfig(**{**BASE.__dict__, **change})
    with pytest.raises(ConfigError, match=words):
        masking.draw(cfg, keys([0]), 14)
