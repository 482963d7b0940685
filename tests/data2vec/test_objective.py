"""Blindness, targets, loss and health, under jit where the step runs them under jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2v_jax.common import rng
from d2v_jax.data2vec import loss, objective, targets, teacher
from d2v_jax.data2vec.config import LossConfig, TargetsConfig
from d2v_jax.data2vec.model import Model
from d2v_jax.nn.block import Layer


@pytest.fixture(scope="module")
def setting(tiny):
    """(model, student, pixels, mask, noise keys) of two examples with two views."""
    model = Model(tiny.model)
    student = jax.jit(model.init)(jax.random.key(0))
    side = tiny.data.image_size
    pixels = jax.random.uniform(jax.random.key(1), (2, side, side, 1))
    keys_n = rng.per_view(rng.stream(0, "mask"), jnp.arange(2), tiny.model.mask.views)
    return model, student, pixels, model.draw_mask(keys_n), keys_n


def test_predictions_are_blind_to_hidden_tokens(setting):
    model, student, pixels, mask, keys_n = setting

    @jax.jit
    def sensitivity(tokens_btd):
        # Of the first view of each example: what its predictions make of every token.
        def total(tokens_btd):
            out = model.predict(student, tokens_btd, mask, keys_n)
            return jnp.abs(out.hidden_nud[::2]).sum() + jnp.abs(out.prefix_npd[::2]).sum()

        return jnp.abs(jax.grad(total)(tokens_btd)).sum(-1)

    felt_bt = np.asarray(sensitivity(model.tokens(student, pixels)))
    hidden_bt = np.asarray(mask.hidden_nt[::2])
    assert (felt_bt[hidden_bt] == 0).all()
    assert (felt_bt[~hidden_bt] > 0).all()


def test_predictions_are_blind_to_hidden_pixels(setting):
    model, student, pixels, mask, keys_n = setting
    p = model.cfg.frontend.patch_size

    @jax.jit
    def sensitivity(pixels):
        def total(pixels):
            tokens_btd = model.tokens(student, pixels)
            return jnp.abs(model.predict(student, tokens_btd, mask, keys_n).hidden_nud[::2]).sum()

        return jnp.abs(jax.grad(total)(pixels))

    felt = np.asarray(sensitivity(pixels))[..., 0]
    grid = model.cfg.frontend.grid
    felt_bt = felt.reshape(2, grid, p, grid, p).sum((2, 4)).reshape(2, -1)
    hidden_bt = np.asarray(mask.hidden_nt[::2])
    assert (felt_bt[hidden_bt] == 0).all() and (felt_bt[~hidden_bt] > 0).all()


def test_no_gradient_reaches_the_student_through_targets(setting):
    model, student, pixels, _, _ = setting
    owned = teacher.start(student, ("trunk",))  # the rest, the frontend too, is borrowed

    @jax.jit
    def gradient(student):
        def total(student):
            tokens_btd = model.tokens(student, pixels)
            return objective.teacher_targets(model, student, owned, pixels, tokens_btd).sum()

        return jax.grad(total)(student)

    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(gradient(student)))


def test_teacher_uses_what_it_owns_and_borrows_the_rest(setting):
    model, student, pixels, _, _ = setting
    moved = jax.tree.map(lambda x: x + 0.1, student)

    def make(owns_from, student):
        return jax.jit(
            lambda student: objective.teacher_targets(
                model, student, owns_from, pixels, model.tokens(student, pixels)
            )
        )(student)

    trunk_only = teacher.start(student, ("trunk",))
    everything = teacher.start(student, ("frontend", "prefix", "prenet", "trunk"))
    assert np.abs(make(everything, moved) - make(everything, student)).max() == 0
    assert np.abs(make(trunk_only, moved) - make(trunk_only, student)).max() > 1e-3


def test_teacher_moves_by_its_decay():
    owned, student = {"trunk": {"w": jnp.ones(3)}}, {"trunk": {"w": jnp.zeros(3)}, "decoder": {}}
    moved = jax.jit(teacher.move)(owned, student, 0.9)
    np.testing.assert_allclose(moved["trunk"]["w"], 0.9, rtol=1e-6)
    frozen = jax.jit(teacher.move)(owned, student, 1.0)
    np.testing.assert_array_equal(frozen["trunk"]["w"], owned["trunk"]["w"])


def layers_of(values):
    return [Layer(ffn=v, out=-v) for v in values]


def test_instance_norm_runs_over_tokens_and_skips_prefix():
    key = jax.random.key(0)
    values = [5 + 3 * jax.random.normal(jax.random.fold_in(key, i), (2, 21, 4)) for i in range(3)]
    cfg = TargetsConfig(layers=1, site="ffn", layer_norms=("instance",), final_norms=())
    out = jax.jit(lambda v: targets.make_targets(layers_of(v), 1, cfg))(values)
    assert out.shape == (2, 20, 4)
    np.testing.assert_allclose(out.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(1), 1, rtol=1e-3)


def test_targets_average_the_last_layers_of_the_site():
    values = [jnp.full((1, 3, 4), float(i)) for i in range(4)]
    cfg = TargetsConfig(layers=2, site="block", layer_norms=(), final_norms=())
    np.testing.assert_allclose(targets.make_targets(layers_of(values), 1, cfg), -2.5)


def test_distance_is_sum_and_count():
    error = jnp.array([[0.5, -3.0], [0.0, 1.0]])
    square = loss.distance(error, jnp.zeros((2, 2)), LossConfig(0.0, None, 0.0))
    np.testing.assert_allclose(square[0], (0.25 + 9 + 1) / np.sqrt(2), rtol=1e-6)
    assert square[1] == 2
    smooth = loss.distance(error, jnp.zeros((2, 2)), LossConfig(2.0, 1.0, 0.0))
    np.testing.assert_allclose(smooth[0], 0.25 / 4 + (3 - 1) + 1 / 4, rtol=1e-6)


def test_position_share_tells_positional_targets_from_others():
    key = jax.random.key(0)
    positional = jnp.tile(jax.random.normal(key, (1, 16, 8)), (6, 1, 1))
    free = jax.random.normal(key, (6, 16, 8))
    share = jax.jit(lambda x: objective.position_share(x)[0])
    assert share(positional) > 0.99
    assert abs(share(free)) < 0.1
    assert 0.3 < share(positional + free) < 0.7
    assert objective.position_share(free[:1])[1] == 0, "one example cannot tell"


def test_an_example_does_not_depend_on_its_neighbours(setting):
    model, student, pixels, mask, keys_n = setting
    both = model.predict(student, model.tokens(student, pixels), mask, keys_n).hidden_nud
    first = jax.tree.map(lambda x: x[:2], mask)
    alone = model.predict(student, model.tokens(student, pixels[:1]), first, keys_n[:2]).hidden_nud
    np.testing.assert_allclose(alone, both[:2], rtol=1e-4, atol=1e-5)
