"""Each platform gets its own form of an operation, and every form the same derivatives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from d2v_jax.nn import block, conv, products, trunk
from d2v_jax.nn.activation import gelu
from d2v_jax.nn.dense import Dense, Linear, linear
from d2v_jax.nn.norm import standardize

SHAPES = {
    "linear": (Linear(), (3, 5, 4), (4, 6)),
    "line": (conv.GroupedConv((5,), 2), (2, 7, 4), (5, 2, 6)),
    "even": (conv.GroupedConv((4,), 4), (2, 6, 4), (4, 1, 4)),
    "image": (conv.GroupedConv((3, 4), 2), (2, 5, 4, 4), (3, 4, 2, 4)),
    "strided": (conv.StridedConv(2), (2, 9, 4), (3, 4, 6)),
    "samples": (conv.StridedConv(5), (2, 24, 1), (10, 1, 4)),
    "apart": (conv.StridedConv(3), (2, 8, 4), (2, 4, 6)),
}
by_name = pytest.mark.parametrize("name", SHAPES)


def random(*shapes, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes)]


def lowered(f, *args, platform):
    """The program's text, as a machine with such devices would get it."""
    return jax.jit(f).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def close(a, b, rtol=1e-5):
    """Relative to the largest entry of each array."""
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=rtol * np.abs(other).max())


@by_name
def test_forms_for_cpu_equal_those_that_jax_derives(name):
    product, x, k = SHAPES[name]
    shapes = x, k, jax.eval_shape(product.y, *random(x, k)).shape
    for missing in (products.X, products.K, products.Y):
        given = random(*(shape for role, shape in enumerate(shapes) if role != missing))
        ours = product.on_cpu(missing, shapes)(*given)
        assert ours.shape == shapes[missing]
        close(ours, products.transposed(product.y, missing, shapes)(*given))


@pytest.mark.parametrize("name", ["linear", "line"])
def test_products_and_their_gradients_can_be_mapped(name):
    """vmap over either argument or both, twice, in any axis, equals a loop."""
    product, x, k = SHAPES[name]
    y = lambda x, k: products.multiply(product, x, k)
    total = lambda x, k: (y(x, k) ** 2).sum()

    def pairs(f, xs, ks):
        """What was mapped, and the same one by one."""
        each = range(3)
        yield jax.vmap(f, (-1, None))(xs, ks[0, 0]), [f(xs[..., i], ks[0, 0]) for i in each]
        yield jax.vmap(f, (None, 0))(xs[..., 0], ks[:, 0]), [f(xs[..., 0], ks[i, 0]) for i in each]
        rows = jax.vmap(f, (None, 0))
        yield (
            jax.vmap(rows, (-1, 0))(xs, ks),
            [jnp.stack([f(xs[..., i], ks[i, j]) for j in range(2)]) for i in each],
        )
        yield (
            jax.vmap(rows, (-1, None))(xs, ks[0]),
            [jnp.stack([f(xs[..., i], ks[0, j]) for j in range(2)]) for i in each],
        )

    forms = y, jax.grad(total), jax.grad(total, 1)
    every = jax.jit(lambda xs, ks: [pair for f in forms for pair in pairs(f, xs, ks)])
    for mapped, looped in every(*random((*x, 3), (3, 2, *k))):
        close(mapped, jnp.stack(looped))


def operations():
    for name, (product, x, k) in SHAPES.items():
        yield name, lambda x, k, product=product: products.multiply(product, x, k), (x, k)
    yield "gelu", gelu, ((4, 7),)
    yield "layer norm", lambda x: standardize(x, -1), ((2, 3, 8),)
    yield "instance norm", lambda x: standardize(x, -2), ((2, 8, 3),)


@pytest.mark.parametrize(("name", "f", "shapes"), operations(), ids=lambda each: str(each)[:16])
def test_derivatives_of_two_orders_in_both_modes(name, f, shapes):
    """Beside finite differences; and inside of a checkpoint within a loop."""
    del name
    with jax.enable_x64(True):
        args = random(*shapes, dtype=jnp.float64)
        check_grads(jax.jit(f), args, 2, ("fwd", "rev"), rtol=1e-5, atol=1e-6, eps=1e-4)

        every = tuple(range(len(args)))

        def total(*args):
            return (f(*args) ** 3).sum()

        def looped(*args):
            body = jax.checkpoint(lambda sum_, scale: (sum_ + total(*args) * scale**2, None))
            return jax.lax.scan(body, 0.0, jnp.arange(3.0))[0] / 5

        grad, again = jax.jit(jax.grad(total, every)), jax.jit(jax.grad(looped, every))
        close(again(*args), grad(*args), 1e-10)
        forwards, backwards = jax.hessian(total, every), jax.jacrev(jax.jacrev(total, every), every)
        close(jax.jit(forwards)(*args), jax.jit(backwards)(*args), 1e-10)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_get_whole_products(platform):
    """However the machine that lowers may look like."""
    x, kernel, dy = random((2, 9, 8), (5, 2, 12), (2, 9, 12))
    f = lambda x, k: conv.grouped_conv(x, k, 4)
    assert forms(lowered(f, x, kernel, platform=platform)) == (["4"], [])
    pull = lambda x, k, dy: jax.vjp(f, x, k)[1](dy)
    groups, _ = forms(lowered(pull, x, kernel, dy, platform=platform))
    assert sorted(groups) == ["1", "4"], "JAX's own: the kernel's counts groups of examples"
    kernel = random((8, 12))[0]
    _, dots = forms(lowered(linear, x, kernel, platform=platform))
    assert dots == ["2x9x8xf32>, tensor<8x12xf32"]
    pull = lambda x, k, dy: jax.vjp(linear, x, k)[1](dy)
    text = lowered(pull, x, kernel, dy, platform=platform)
    assert sorted(forms(text)[1]) == [
        "2x9x12xf32>, tensor<2x9x8xf32",
        "2x9x12xf32>, tensor<8x12xf32",
    ]
    assert "reshape" not in text


def test_cpus_get_small_plain_products():
    x, kernel, dy = random((2, 9, 8), (5, 2, 12), (2, 9, 12))
    f = lambda x, k, dy: jax.vjp(lambda x, k: conv.grouped_conv(x, k, 4), x, k)[1](dy)
    groups, _ = forms(text := lowered(f, x, kernel, dy, platform="cpu"))
    assert groups == ["1"] * 8, "two gradients of four groups"
    orders = set(re.findall(r"dim_numbers = (\S+)", text))
    assert len(orders) == 1, "XLA:CPU knows no other inside of loops"
    f = lambda x, k, dy: jax.vjp(linear, x, k)[1](dy)
    _, dots = forms(lowered(f, x, random((8, 12))[0], dy, platform="cpu"))
    assert sorted(dots) == ["18x12xf32>, tensor<18x8xf32", "18x12xf32>, tensor<8x12xf32"]


def test_waves_are_windows_on_cpus_alone():
    x, kernel = random((2, 20, 8), (3, 8, 12))
    f = lambda x, k: conv.strided_conv(x, k, 2, ends=1)
    pull = lambda x, k: jax.grad(lambda x, k: (f(x, k) ** 2).sum(), (0, 1))(x, k)
    groups, dots = forms(lowered(pull, x, kernel, platform="tpu"))
    assert (len(groups), dots) == (3, [])
    groups, dots = forms(lowered(pull, x, kernel, platform="cpu"))
    assert (groups, len(dots)) == ([], 3)


def forms(text):
    """(groups of each convolution, shapes of the factors of each dot) of a program."""
    return (
        re.findall(r"stablehlo.convolution.*feature_group_count = (\d+)", text),
        re.findall(r"stablehlo.dot_general.*: \(tensor<(.*?)>\) ->", text),
    )


@pytest.mark.parametrize("f", [gelu, lambda x: standardize(x, -1)], ids=["gelu", "norm"])
def test_elementwise_operations_are_the_same_everywhere(f):
    (x,) = random((2, 4, 8))
    pull = lambda x, dy: jax.vjp(f, x)[1](dy)
    assert lowered(pull, x, x, platform="tpu") == lowered(pull, x, x, platform="cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_kept_for_the_way_back(dtype):
    """Of gelu its input, of norms the statistics too, of products the factors."""
    x, kernel, window = random((2, 6, 32), (32, 64), (3, 8, 32))
    x, kernel, window = (each.astype(dtype) for each in (x, kernel, window))

    def kept(f, *args):
        leaves = jax.tree.leaves(jax.eval_shape(lambda *args: jax.vjp(f, *args)[1], *args))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    assert kept(gelu, x) == x.nbytes
    assert kept(lambda x: standardize(x, -1), x) == x.nbytes + 2 * 2 * 6 * 4
    assert kept(linear, x, kernel) == x.nbytes + kernel.nbytes
    grouped = lambda x, k: conv.grouped_conv(x, k, 4)
    assert kept(grouped, x, window) == x.nbytes + window.nbytes
    window = window[:, :1].repeat(32, 1)
    strided = lambda x, k: conv.strided_conv(x, k, 2)
    assert kept(strided, x, window) == x.nbytes + window.nbytes, "no windows"


@pytest.mark.parametrize("precision", ["default", "highest"])
@pytest.mark.parametrize("name", ["linear", "line", "strided"])
def test_precision_is_that_of_the_place_where_a_product_is_written(name, precision):
    product, x, k = SHAPES[name]
    f = lambda x, k: (products.multiply(type(product)(**fields), x, k) ** 2).sum()
    fields = {name: value for name, value in vars(product).items() if name != "precision"}
    with jax.default_matmul_precision(precision):
        traced = jax.jit(jax.grad(f)).trace(*random(x, k))
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert set(re.findall(r"DEFAULT|HIGHEST", text)) == {precision.upper()}


def test_cheap_remat_keeps_what_linear_layers_say():
    spec = block.BlockSpec("pre_norm", 2, 48, 1e-6, "float32")
    (x,) = random((2, 5, 16))
    params = block.Block(spec).init(jax.random.key(0), x)
    run = lambda params, x: block.Block(spec).apply(params, x)
    sizes = {}
    for name, policy in trunk.REMAT.items():
        f = jax.checkpoint(run, policy=policy)
        leaves = jax.tree.leaves(jax.eval_shape(lambda *args, f=f: jax.vjp(f, *args)[1], params, x))
        known = [each.shape for each in jax.tree.leaves((params, x))]
        sizes[name] = [leaf.shape for leaf in leaves if leaf.shape not in known]
    assert sizes["blocks"] == []
    assert sorted(sizes["cheap"])[0] == (2, 5, 48), "of qkv and of the first layer of the MLP"
    assert sizes["cheap"].count((2, 5, 48)) == 2
    assert len(sizes["none"]) > len(sizes["cheap"])


def test_a_linear_layer_takes_one_row_too():
    (x,) = random((4,))
    module = Dense(3)
    params = module.init(jax.random.key(0), x)
    close(module.apply(params, x), x @ params["params"]["kernel"])
