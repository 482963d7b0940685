"""Recorded outputs of the Hugging Face ports, recomputed by our code."""


def recompute(folder, case, recorded):
    return {}
