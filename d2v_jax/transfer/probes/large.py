"""The probes of `probe.py` for sets that scikit-learn is slow on: the same, in JAX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

PENALTY = 1.0  # C of scikit-learn's logistic regression: 1/2 |W|^2 + C * sum of losses
STEPS = 200  # of L-BFGS
AT_ONCE = 1024  # examples to test
EXACTLY = jax.lax.Precision.HIGHEST


def linear_accuracy(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray
) -> float:
    """Accuracy of multinomial logistic regression on standardised features [n, d]."""
    mean_d, std_d = train.mean(0), train.std(0)
    std_d[std_d == 0] = 1
    classes, numbers = np.unique(labels, return_inverse=True)
    params = _fitted((train - mean_d) / std_d, numbers, len(classes))
    logits = ((test - mean_d) / std_d) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    return float((classes[logits.argmax(1)] == truth).mean())


@functools.partial(jax.jit, static_argnums=2)
def _fitted(x_nd: jax.Array, labels_n: jax.Array, classes: int) -> dict[str, jax.Array]:
    """Weights of the penalised likelihood's maximum."""

    def loss(params: dict[str, jax.Array]) -> jax.Array:
        logits = jnp.matmul(x_nd, params["kernel"], precision=EXACTLY) + params["bias"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels_n)
        return losses.mean() + jnp.square(params["kernel"]).sum() / (2 * PENALTY * len(x_nd))

    solver = optax.lbfgs()
    params = {"kernel": jnp.zeros((x_nd.shape[1], classes)), "bias": jnp.zeros(classes)}
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry, _):
        params, state = carry
        value, grads = value_and_grad(params, state=state)
        updates, state = solver.update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, solver.init(params)), length=STEPS)[0][0]


def knn_accuracy(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, neighbours: int
) -> float:
    """Accuracy of so many nearest neighbours by cosine similarity; each has one vote."""
    classes, numbers = np.unique(labels, return_inverse=True)
    known = jnp.asarray(_of_length_one(train))
    votes = jnp.asarray(np.eye(len(classes), dtype=np.float32)[numbers])

    @jax.jit
    def chosen(part_bd: jax.Array) -> jax.Array:
        similar_bn = jnp.matmul(part_bd, known.T, precision=EXACTLY)
        _, nearest_bk = jax.lax.top_k(similar_bn, neighbours)
        return votes[nearest_bk].sum(1).argmax(1)

    wanted = _of_length_one(test)
    found = [
        np.asarray(chosen(np.pad(part, ((0, AT_ONCE - len(part)), (0, 0)))))[: len(part)]
        for start in range(0, len(wanted), AT_ONCE)
        for part in [wanted[start : start + AT_ONCE]]
    ]
    return float((classes[np.concatenate(found)] == truth).mean())


def _of_length_one(x_nd: np.ndarray) -> np.ndarray:
    return x_nd / np.maximum(np.linalg.norm(x_nd, axis=1, keepdims=True), 1e-12)
