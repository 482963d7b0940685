"""k-means as HuBERT runs it."""

import warnings

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from d2v_jax.common.checks import UserError

ROWS = 16_384  # frames whose distances are held at once


def learned(frames_td: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Centres float32 [clusters, d] of frames float32 [t, d]; the original's settings.

    Raises `UserError` where there are fewer frames than clusters, or they are not finite.
    """
    if len(frames_td) < clusters:
        raise UserError(
            f"--clusters {clusters}: there are only {len(frames_td)} frames; give fewer clusters "
            "or more recordings"
        )
    if not np.isfinite(frames_td).all():
        raise UserError("the frames hold NaN or infinity; is this a model that has learnt?")
    found = MiniBatchKMeans(
        clusters,
        init="k-means++",
        max_iter=100,
        batch_size=10_000,
        tol=0.0,
        max_no_improvement=100,
        n_init=20,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return found.fit(frames_td).cluster_centers_.astype(np.float32)


def nearest(frames_td: np.ndarray, centers_kd: np.ndarray) -> tuple[np.ndarray, float]:
    """-> (number of the nearest centre [t], sum of the squared distances)."""
    ids = np.empty(len(frames_td), np.min_scalar_type(len(centers_kd) - 1))
    lengths_k, total = np.square(centers_kd).sum(1), 0.0
    for first in range(0, len(frames_td), ROWS):
        part_td = frames_td[first : first + ROWS]
        distances_tk = lengths_k - 2 * part_td @ centers_kd.T
        ids[first : first + ROWS] = distances_tk.argmin(1)
        total += float(distances_tk.min(1).sum() + np.square(part_td).sum())
    return ids, total
