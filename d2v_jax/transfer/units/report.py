"""How good units are: how evenly they are used and, where phones are known, how they follow them.

The measures are HuBERT's (arXiv:2106.07447, section IV.A), counted over frames. A phone is that of
the frame's centre.
"""

import io
import math
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from d2v_jax.common.files import write_whole
from d2v_jax.data.audio.alignments import Span

PICTURE = "units.png"
SHOWN = 60  # phones in the picture, the most frequent ones


def numbers(counts_k: np.ndarray, joint_kp: np.ndarray) -> dict[str, Any]:
    """Of how often each cluster occurs, and together with which phone ([k, 0]: none are known).

    Entropies are in bits. Phone purity: how often a frame has its cluster's most frequent phone;
    cluster purity: its phone's most frequent cluster; PNMI: the share of the phones' entropy that
    clusters explain.
    """
    entropy = _entropy(counts_k)
    found = {
        "units": int(counts_k.sum()),
        "used": int((counts_k > 0).sum()),
        "largest_share": float(counts_k.max() / counts_k.sum()),
        "entropy": entropy,
        "perplexity": 2.0**entropy,
    }
    whole = joint_kp.sum()
    if not whole:
        return found
    of_phones = _entropy(joint_kp.sum(0))
    shared = of_phones + _entropy(joint_kp.sum(1)) - _entropy(joint_kp)
    return found | {
        "phones": joint_kp.shape[1],
        "frames_with_phones": int(whole),
        "most_frequent_phone": float(joint_kp.sum(0).max() / whole),
        "phone_purity": float(joint_kp.max(1).sum() / whole),
        "cluster_purity": float(joint_kp.max(0).sum() / whole),
        "pnmi": shared / of_phones if of_phones else 0.0,
    }


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def joint(
    spoken: Iterable[tuple[np.ndarray, list[Span]]], clusters: int, step: int, field: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Ids [t] and phones of each recording -> ([cluster, phone] int64, the phones' names)."""
    found: dict[str, np.ndarray] = {}
    for ids_t, spans in spoken:
        for name, first, last in spans:
            # Those whose centres lie in it.
            begin, end = (max(0, math.ceil((at - field / 2) / step)) for at in (first, last))
            own = found.setdefault(str(name), np.zeros(clusters, np.int64))
            own += np.bincount(ids_t[begin:end], minlength=clusters)
    names = tuple(sorted(name for name, counts_k in found.items() if counts_k.any()))
    columns = [found[name] for name in names]
    return np.stack(columns, 1) if columns else np.zeros((clusters, 0), np.int64), names


def lines(found: dict[str, Any], clusters: int) -> list[str]:
    """The numbers as people read them."""
    said = [
        f"clusters        {clusters}, of which {found['used']} occur; the largest has "
        f"{100 * found['largest_share']:.1f} % of the frames",
        f"entropy         {found['entropy']:.2f} of {np.log2(clusters):.2f} bits, perplexity "
        f"{found['perplexity']:.1f}",
    ]
    if "pnmi" not in found:
        return [*said, "phones          not known of these recordings (.phn files beside them)"]
    return [
        *said,
        f"phones          {found['phones']} in {found['frames_with_phones']:,} frames",
        f"phone purity    {found['phone_purity']:.3f} (one phone for all: "
        f"{found['most_frequent_phone']:.3f})",
        f"cluster purity  {found['cluster_purity']:.3f}",
        f"PNMI            {found['pnmi']:.3f}",
    ]


def draw(path: pathlib.Path, joint_kp: np.ndarray, names: tuple[str, ...]) -> None:
    """P(phone | cluster) as a picture: clusters side by side, ordered by their likeliest phone."""
    from matplotlib.figure import Figure  # takes a second

    order = joint_kp.sum(0).argsort()[::-1][:SHOWN]
    counts_pk = joint_kp[:, order].T
    counts_pk = counts_pk[:, counts_pk.sum(0) > 0]
    shares_pk = counts_pk / counts_pk.sum(0)
    shares_pk = shares_pk[:, np.lexsort((-shares_pk.max(0), shares_pk.argmax(0)))]
    figure = Figure((10, 1 + 0.16 * len(order)), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(shares_pk, aspect="auto", cmap="Blues", vmin=0, interpolation="nearest")
    axis.set_yticks(range(len(order)), [names[place] for place in order], fontsize=7)
    axis.set_xlabel("clusters")
    figure.colorbar(drawn, label="P(phone | cluster)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_whole(path, buffer.getvalue())
