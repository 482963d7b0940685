"""Products that are written in one way for XLA and in another for its CPU compiler.

A product (x, k) -> y is linear in each of its arguments. With a third array of y's shape it is a
number, sum(y(x, k) * dy), linear in all three; leaving one out gives the product itself or one of
its two gradients. What is left out of a gradient is again one of the three: so they are one JAX
primitive, which may be differentiated as often as you like in either mode, and whose form is
chosen by the platform that the program is compiled for, not by the machine that traces it.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

X, K, Y = range(3)  # the roles of arrays, in the order in which two of them are given

Form = Callable[[jax.Array, jax.Array], jax.Array]
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # of x, k and y


def _ambient_precision() -> str | None:
    return jax.config.jax_default_matmul_precision


@dataclasses.dataclass(frozen=True)
class Product:
    """What is multiplied how. Subclasses say it; equal ones are one product to the compiler.

    Axis 0 of x and y counts examples, which do not mix; k knows nothing of them. All have one
    dtype. `precision` is the ambient one where the product is written down.
    """

    precision: str | jax.lax.Precision | None = dataclasses.field(
        default_factory=_ambient_precision, kw_only=True
    )

    def y(self, x: jax.Array, k: jax.Array) -> jax.Array:
        """The product as XLA likes it; the gradients are JAX's own."""
        raise NotImplementedError

    def on_cpu(self, missing: int, shapes: Shapes) -> Form:
        """X, K or Y, from the others, as XLA:CPU likes it."""
        return transposed(self.y, missing, shapes)


def multiply(product: Product, x: jax.Array, k: jax.Array) -> jax.Array:
    """`product.y(x, k)`."""
    shapes = x.shape, k.shape, jax.eval_shape(product.y, x, k).shape
    return PRODUCT.bind(x, k, product=product, missing=Y, shapes=shapes, mapped=())


def transposed(y: Form, missing: int, shapes: Shapes) -> Form:
    """What takes `y` or one of its gradients from the two arrays that are not `missing`."""
    if missing == Y:
        return y

    def gradient(one: jax.Array, dy: jax.Array) -> jax.Array:
        linear = (lambda x: y(x, one)) if missing == X else (lambda k: y(one, k))
        like = jax.ShapeDtypeStruct(shapes[missing], dy.dtype)
        return jax.linear_transpose(linear, like)(dy)[0]

    return gradient


def is_product(kind: type[Product], primitive: Primitive, params: dict) -> bool:
    """Whether an equation of a jaxpr is a product of this kind; for policies of checkpoints."""
    return primitive is PRODUCT and isinstance(params["product"], kind)


# Parameters: the product, which role is `missing`, the `shapes` of all roles, and the sizes of
# axes `mapped` by vmap, which all arrays have in front and which do not mix.
PRODUCT = Primitive("product")


@functools.partial(jax.jit, static_argnames=("product", "missing", "shapes", "mapped"))
def _run(one: jax.Array, other: jax.Array, **params) -> jax.Array:
    return PRODUCT.bind(one, other, **params)


PRODUCT.def_impl(_run)


@PRODUCT.def_abstract_eval
def _abstract(one, other, *, product, missing, shapes, mapped):
    assert one.dtype == other.dtype, f"{product} of {one.dtype} and {other.dtype}"
    return jax.core.ShapedArray((*mapped, *shapes[missing]), one.dtype)


def _transpose(number: int, cotangent, *operands, missing: int, **params) -> jax.Array:
    """What `operands[number]`, of which the product is linear, is answerable for."""
    roles = [role for role in (X, K, Y) if role != missing]
    known = {roles[1 - number]: operands[1 - number], missing: cotangent}
    one, other = (known[role] for role in sorted(known))
    return PRODUCT.bind(one, other, missing=roles[number], **params)


ad.defbilinear(PRODUCT, functools.partial(_transpose, 0), functools.partial(_transpose, 1))


def _batch(operands, axes, *, product, missing, shapes, mapped):
    size = next(x.shape[axis] for x, axis in zip(operands, axes) if axis is not None)
    bind = functools.partial(PRODUCT.bind, product=product, missing=missing)
    roles = [role for role in (X, K, Y) if role != missing]
    if missing != K and axes[roles.index(K)] is None:
        # More examples of the same product.
        at = len(mapped)
        each = [x if axis is None else jnp.moveaxis(x, axis, at) for x, axis in zip(operands, axes)]
        merged = [
            x if axis is None else x.reshape(*x.shape[:at], -1, *x.shape[at + 2 :])
            for x, axis in zip(each, axes)
        ]
        more = tuple(
            shape if role == K else (size * shape[0], *shape[1:])
            for role, shape in enumerate(shapes)
        )
        out = bind(*merged, shapes=more, mapped=mapped)
        return out.reshape(*mapped, size, *shapes[missing]), at
    each = [
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes)
    ]
    return bind(*each, shapes=shapes, mapped=(size, *mapped)), 0


batching.primitive_batchers[PRODUCT] = _batch


def _anywhere(one, other, *, product, missing, shapes, mapped):
    form = transposed(product.y, missing, shapes)
    for _ in mapped:
        form = jax.vmap(form)
    return form(one, other)


def _on_cpu(one, other, *, product, missing, shapes, mapped):
    form = product.on_cpu(missing, shapes)
    if not mapped:
        return form(one, other)
    # One after the other: a form that is fast alone need not be so when mapped.
    flat = [x.reshape(math.prod(mapped), *x.shape[len(mapped) :]) for x in (one, other)]
    out = jax.lax.map(lambda each: form(*each), flat)
    return out.reshape(*mapped, *out.shape[1:])


mlir.register_lowering(PRODUCT, mlir.lower_fun(_anywhere, multiple_results=False))
mlir.register_lowering(PRODUCT, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu")
