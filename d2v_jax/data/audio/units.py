"""Labels of frames beside a recording: which of them a crop has."""

from d2v_jax.data.audio.waves import RATE


def of_crop(start: int, samples: int, rate: float, labels: int) -> tuple[int, int]:
    """-> (first label, number of labels) of a crop of `samples` from `start` on.

    `rate` labels a second, of which the recording has so many; a crop's can run out at its end.
    Halves are rounded to even, and the start is not moved to where a label begins, as in HuBERT.
    """
    first = round(start * rate / RATE)
    return first, max(0, min(round(samples * rate / RATE), labels - first))
