"""Blindness, targets, loss and health, for all six systems, under jit as in the step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import systems

from d2v_jax.common import rng, trees
from d2v_jax.data2vec import health, loss, targets, teacher
from d2v_jax.data2vec.model import Model
from d2v_jax.data2vec.sections import LossConfig, TargetsConfig
from d2v_jax.encoder.network import Tokens
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.nn.block import Layer


@functools.cache
def setting(name):
    """(model, student, inputs, mask, keys of two examples' views)."""
    config = systems.small(name)
    model = Model(config.objective.cfg)
    student = jax.jit(lambda key: model.init(key, config.data.example_shape))(jax.random.key(0))
    # Away from the initial values, where layer scale and biases are nearly nothing.
    noise = lambda path, x: x + 0.1 * jax.random.normal(jax.random.key(len(path)), x.shape)
    student = trees.map_with_path(noise, student)
    batch = jax.tree.map(jnp.asarray, systems.batch(config, 2))
    inputs = model.prepare(batch)
    keys = rng.keys(rng.stream(0, "test"), batch["example_id"])
    views = keys.views(config.objective.cfg.mask.views)
    tokens = model.token_count(config.data.example_shape)
    return model, student, inputs, model.draw_mask(views, tokens, model.padding(inputs)), views


@functools.cache
def compiled(name):
    """(tokens -> predictions at hidden places, inputs -> targets), jitted."""
    model, _, _, mask, views = setting(name)
    predict = jax.jit(
        lambda student, tokens: model.predict(student, tokens, mask, views).hidden_nud
    )

    @jax.jit
    def make_targets(student, owned, inputs, mask):
        tokens = model.tokens(student, model.hide_inputs(inputs, mask))
        return targets.teacher_targets(model, student, owned, inputs, tokens, mask)

    return predict, make_targets


def owned(name, student):
    return teacher.start(student, setting(name)[0].cfg.teacher.owns)


@pytest.mark.parametrize("name", systems.NAMES)
def test_predictions_are_blind_to_hidden_tokens(name):
    model, student, inputs, mask, views = setting(name)
    shown = model.hide_inputs(inputs, mask)
    if model.cfg.mask.hide == "input":
        other = jnp.where(mask.hidden_nt, (inputs.values + 50) % 200 + 4, inputs.values)
        assert (other != inputs.values).any()
        again = model.hide_inputs(Inputs(other), mask)
        np.testing.assert_array_equal(shown.values, again.values)
        return
    tokens = model.tokens(student, shown)
    per_example = mask.hidden_nt.shape[0] // len(tokens.x_btd)

    @jax.jit
    def sensitivity(x_btd):
        # Of the first view of each example: what its predictions make of every token.
        def total(x_btd):
            out = model.predict(student, Tokens(x_btd, tokens.padding_bt), mask, views)
            real = out.hidden_nud * mask.weight_nu[:, :, None]
            return jnp.abs(real[::per_example]).sum()

        return jnp.abs(jax.grad(total)(x_btd)).sum(-1)

    felt_bt = np.asarray(sensitivity(tokens.x_btd))
    hidden_bt = np.asarray(mask.hidden_nt[::per_example])
    assert (felt_bt[hidden_bt] == 0).all()
    assert (felt_bt[~hidden_bt] > 0).all()


def test_predictions_are_blind_to_hidden_pixels():
    model, student, inputs, mask, views = setting("v2_image_base")
    p, grid = model.cfg.frontend.patch_size, model.cfg.frontend.grid[0]

    @jax.jit
    def sensitivity(pixels):
        def total(pixels):
            tokens = model.tokens(student, Inputs(pixels))
            return jnp.abs(model.predict(student, tokens, mask, views).hidden_nud[::2]).sum()

        return jnp.abs(jax.grad(total)(pixels)).sum(-1)

    felt = np.asarray(sensitivity(inputs.values))
    felt_bt = felt.reshape(2, grid, p, grid, p).sum((2, 4)).reshape(2, -1)
    hidden_bt = np.asarray(mask.hidden_nt[::2])
    assert (felt_bt[hidden_bt] == 0).all() and (felt_bt[~hidden_bt] > 0).all()


@pytest.mark.parametrize("name", systems.NAMES)
def test_targets_do_not_know_the_mask(name):
    model, student, inputs, mask, views = setting(name)
    make = compiled(name)[1]
    other = model.draw_mask(views.named("other"), mask.hidden_nt.shape[1])
    assert (other.hidden_nt != mask.hidden_nt).any()
    mine = owned(name, student)
    np.testing.assert_allclose(
        make(student, mine, inputs, mask), make(student, mine, inputs, other), rtol=1e-5, atol=1e-5
    )


def test_targets_of_hidden_inputs_do():
    """`teacher.sees=hidden`, as the released text code fed its teacher (T1)."""
    model, student, inputs, mask, views = setting("v1_text_base")
    follow = dataclasses.replace(model.cfg.teacher, sees="hidden")
    model = Model(dataclasses.replace(model.cfg, teacher=follow))
    other = model.draw_mask(views.named("other"), mask.hidden_nt.shape[1])
    make = lambda mask: targets.teacher_targets(
        model, student, owned("v1_text_base", student), inputs, Tokens(None), mask
    )
    assert np.abs(make(mask) - make(other)).max() > 0.1


@pytest.mark.parametrize("name", systems.NAMES)
def test_no_gradient_reaches_the_student_through_targets(name):
    model, student, inputs, mask, _ = setting(name)
    mine = teacher.start(student, ("trunk",))  # the rest, the frontend too, is borrowed

    @jax.jit
    def gradient(student):
        def total(student):
            tokens = model.tokens(student, model.hide_inputs(inputs, mask))
            return targets.teacher_targets(model, student, mine, inputs, tokens, mask).sum()

        return jax.grad(total)(student)

    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(gradient(student)))


@pytest.mark.parametrize("name", ["v1_audio_base", "v2_image_base"])
def test_teacher_uses_what_it_owns_and_borrows_the_rest(name):
    _, student, inputs, mask, _ = setting(name)
    make = compiled(name)[1]
    mine = owned(name, student)
    changed = lambda part: {**student, part: jax.tree.map(lambda x: x + 0.3, student[part])}
    still = make(student, mine, inputs, mask)
    for part in mine:
        assert np.abs(make(changed(part), mine, inputs, mask) - still).max() == 0, part
    borrowed = {"v1_audio_base": "positions", "v2_image_base": "decoder"}[name]
    gap = np.abs(make(changed(borrowed), mine, inputs, mask) - still).max()
    assert gap > 1e-3 if borrowed == "positions" else gap == 0


@pytest.mark.parametrize("name", ["v1_text_base", "v2_audio_base"])
def test_an_example_does_not_depend_on_its_neighbours(name):
    model, student, inputs, mask, views = setting(name)
    per_example = mask.hidden_nt.shape[0] // 2
    tokens = model.tokens(student, inputs)
    both = model.predict(student, tokens, mask, views).hidden_nud
    first = jax.tree.map(lambda x: x[:per_example], mask)
    alone = jax.tree.map(lambda x: None if x is None else x[:1], tokens)
    keys = rng.Keys(views.all, views.each_n[:per_example])
    out = model.predict(student, alone, first, keys).hidden_nud
    np.testing.assert_allclose(out, both[:per_example], rtol=1e-4, atol=1e-4)


def test_dropout_is_the_students_and_the_tokens_are_shared():
    """T5: one draw of the embeddings' dropout serves student and teacher."""
    config = systems.small("v2_text_base", noise=True)
    model, (_, student, inputs, mask, views) = Model(config.objective.cfg), setting("v2_text_base")
    keys = rng.keys(rng.stream(0, "test"), jnp.arange(2))
    mine = owned("v2_text_base", student)
    make = lambda tokens: targets.teacher_targets(model, student, mine, inputs, tokens, mask)
    still, noisy = model.tokens(student, inputs), model.tokens(student, inputs, keys)
    assert (np.asarray(noisy.x_btd) == 0).mean() > 0.05
    assert np.abs(make(still) - make(noisy)).max() > 0.01
    np.testing.assert_array_equal(make(noisy), make(noisy))
    predict = lambda keys: model.predict(student, still, mask, keys).hidden_nud
    assert np.abs(predict(views) - predict(views.named("other"))).max() > 0.01


def test_teacher_moves_by_its_decay():
    mine, student = {"trunk": {"w": jnp.ones(3)}}, {"trunk": {"w": jnp.zeros(3)}, "decoder": {}}
    moved = jax.jit(teacher.move)(mine, student, 0.9)
    np.testing.assert_allclose(moved["trunk"]["w"], 0.9, rtol=1e-6)
    frozen = jax.jit(teacher.move)(mine, student, 1.0)
    np.testing.assert_array_equal(frozen["trunk"]["w"], mine["trunk"]["w"])


def layers_of(values):
    return [Layer(ffn=v, out=-v) for v in values]


def test_instance_norm_runs_over_tokens_and_skips_prefix():
    key = jax.random.key(0)
    values = [5 + 3 * jax.random.normal(jax.random.fold_in(key, i), (2, 21, 4)) for i in range(3)]
    cfg = TargetsConfig(blocks=(2,), site="ffn", layer_norms=("instance",), final_norms=())
    out = jax.jit(lambda v: targets.make_targets(layers_of(v), 1, cfg))(values)
    assert out.shape == (2, 20, 4)
    np.testing.assert_allclose(out.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(1), 1, rtol=1e-3)


def test_targets_average_the_chosen_blocks_of_the_site():
    values = [jnp.full((1, 3, 4), float(i)) for i in range(4)]
    cfg = TargetsConfig(blocks=(0, 3), site="block", layer_norms=(), final_norms=())
    np.testing.assert_allclose(targets.make_targets(layers_of(values), 1, cfg), -1.5)


def test_distance_is_sum_and_count():
    error = jnp.array([[0.5, -3.0], [0.0, 1.0], [9.0, 9.0]])
    weight = jnp.array([1.0, 1.0, 0.0])
    square = loss.distance(error, jnp.zeros((3, 2)), weight, LossConfig(0.0, None, 0.0))
    np.testing.assert_allclose(square[0], (0.25 + 9 + 1) / np.sqrt(2), rtol=1e-6)
    assert square[1] == 2
    smooth = loss.distance(error, jnp.zeros((3, 2)), weight, LossConfig(2.0, 1.0, 0.0))
    np.testing.assert_allclose(smooth[0], 0.25 / 4 + (3 - 1) + 1 / 4, rtol=1e-6)


def test_channel_std_counts_what_weighs():
    x = jax.random.normal(jax.random.key(0), (3, 7, 5))
    weight = jnp.ones((3, 7)).at[1:].set(0)
    expected = np.sqrt(np.asarray(x[0]).var(0, ddof=1) + 1e-6).mean()
    np.testing.assert_allclose(health.channel_std(x, weight), expected, rtol=1e-5)


def test_position_share_tells_positional_targets_from_others():
    key = jax.random.key(0)
    positional = jnp.tile(jax.random.normal(key, (1, 16, 8)), (6, 1, 1))
    free = jax.random.normal(key, (6, 16, 8))
    share = jax.jit(lambda x: health.position_share(x)[0])
    assert share(positional) > 0.99
    assert abs(share(free)) < 0.1
    assert 0.3 < share(positional + free) < 0.7
    assert health.position_share(free[:1])[1] == 0, "one example cannot tell"
    padding = jnp.zeros((6, 16), bool).at[:, 8:].set(True)
    spoilt = jnp.where(padding[:, :, None], 100.0, free)
    np.testing.assert_allclose(
        health.position_share(spoilt, padding)[0], share(free[:, :8]), rtol=1e-4, atol=1e-6
    )
