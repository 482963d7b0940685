"""A recorded step of contrastive predictive coding, recomputed by our code."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from d2v_jax.baselines import cpc
from d2v_jax.common import trees
from d2v_jax.frontends.frontend import Inputs
from d2v_jax.interop.fairseq import reader
from d2v_jax.train.recipe import resolve as configs

CASES = ("cpc", "cpc_transformer")


def recompute(folder: pathlib.Path, case: dict, recorded: dict[str, np.ndarray]):
    """-> (arrays by recorded name, {prefix: (our leaves, their leaves)})."""
    imported = reader.read_fairseq(folder / "checkpoint.pt")
    samples = recorded["input/source"].shape[1]
    fields = imported.config
    fields["future"] |= {"window": samples, "dropout": 0.0}
    fields["data"] |= {"samples": samples, "min_samples": samples, "buckets": ()}
    objective = configs.resolve(fields).objective
    params = jax.tree.map(jnp.asarray, imported.student)
    # All windows of the original's batch are windows of one example.
    waves = Inputs(jnp.asarray(recorded["input/source"]))
    indices = jnp.asarray(recorded["input/negative_indices"], jnp.int32)
    drawn = cpc.Drawn(waves, indices.reshape(1, -1, indices.shape[-1]))

    @jax.jit
    def step(params):
        def loss(params):
            answer = objective.apply(params, drawn.inputs, None, method="answer")
            error_k, right_k, logits = objective.terms(answer, drawn.negatives_bpn)
            total = error_k.sum() / objective.counts(drawn)["places"]
            return total, (answer, error_k, right_k, logits)

        return jax.value_and_grad(loss, has_aux=True)(params)

    def layers(network):
        return network.frontend.layers(waves.values)

    (total, (answer, error_k, right_k, logits)), gradients = step(params)
    rows, steps, places = len(waves.values), objective.cfg.future.steps, objective.places
    logits = logits.reshape(steps, rows, places, -1).swapaxes(0, 1)
    heard = objective.kind.network(objective.cfg).apply({"params": params}, method=layers)
    arrays: dict[str, Any] = {
        "encoded": answer.tokens.x_btd,
        "context": answer.encoded.out,
        "predictions": answer.guesses_knpc.swapaxes(0, 1),
        "logits": logits,
        "loss_per_step": error_k / (rows * places),
        "accuracy_per_step": right_k / (rows * places),
        "total_loss": total,
        "features/encoded": objective.model.tokens(params, waves).x_btd,
    }
    tokens = objective.model.tokens(params, waves)
    arrays["features/context"] = objective.model.contextualize(params, tokens).out
    arrays |= {f"features/conv_{i}": x for i, x in enumerate(heard)}
    names = {k.removeprefix("grad/"): v for k, v in recorded.items() if k.startswith("grad/")}
    theirs = dict(trees.leaves(imported.convert_student(names)))
    return arrays, {"grad/": (dict(trees.leaves(gradients)), theirs)}
