"""The likeliest output of each frame, repeats joined, blanks left out."""

import numpy as np


def greedy(logits_tc: np.ndarray, blank: int) -> list[int]:
    """A labelling of one utterance, from its frames' logits or log-probabilities."""
    best_t = np.asarray(logits_tc).argmax(-1)
    first_t = np.ones(len(best_t), bool)
    first_t[1:] = best_t[1:] != best_t[:-1]
    return [int(i) for i in best_t[first_t] if i != blank]


def log_softmax(logits_tc: np.ndarray) -> np.ndarray:
    """float64, so that long sums of small numbers keep their order."""
    x_tc = np.asarray(logits_tc, np.float64)
    x_tc = x_tc - x_tc.max(-1, keepdims=True)
    return x_tc - np.log(np.exp(x_tc).sum(-1, keepdims=True))


def log_probability(log_p_tc: np.ndarray, labels: list[int], blank: int) -> float:
    """ln P(labels) under CTC, summed over all alignments; -inf where there are too few frames."""
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    skip = np.zeros(len(states), bool)  # may come straight from two states before
    skip[3::2] = states[3::2] != states[1:-2:2]
    alpha = np.full(len(states), -np.inf)
    alpha[: min(2, len(states))] = 0.0
    if not len(log_p_tc):
        return 0.0 if not labels else -np.inf
    alpha = alpha + log_p_tc[0, states]
    with np.errstate(invalid="ignore"):
        for log_p_c in log_p_tc[1:]:
            one = np.concatenate([[-np.inf], alpha[:-1]])
            two = np.where(
                skip, np.concatenate([[-np.inf, -np.inf], alpha[:-2]])[: len(alpha)], -np.inf
            )
            alpha = np.logaddexp(np.logaddexp(alpha, one), two) + log_p_c[states]
    return float(np.logaddexp.reduce(alpha[-2:]))
