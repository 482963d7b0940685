"""Values that the originals keep as Python source, read without evaluating anything."""

import re
from typing import Any

from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import printable

MOST = 100  # layers
NUMBER = re.compile(r"\d{1,6}")
LAYER = r"\(\s*\d{1,6}\s*,\s*\d{1,6}\s*,\s*\d{1,6}\s*,?\s*\)"
# One term of "[(512, 10, 5)] + [(512, 3, 2)] * 4 + ...": a list, perhaps repeated.
TERM = re.compile(rf"\s*\[\s*({LAYER}(?:\s*,\s*{LAYER})*)\s*,?\s*\]\s*(?:\*\s*(\d{{1,3}})\s*)?")


def conv_layers(name: str, text: str) -> tuple[tuple[int, int, int], ...]:
    """The (width, kernel, stride) of each convolution; `name` is what messages call the field."""
    layers: list[Any] = []
    for part in text.split("+"):
        term = TERM.fullmatch(part)
        numbers = [int(n) for n in NUMBER.findall(term[1])] if term else [0]
        times = int(term[2] or 1) if term else 1
        layers += [tuple(numbers[i : i + 3]) for i in range(0, len(numbers), 3)] * times
        if len(layers) > MOST:
            break
    if not 0 < len(layers) <= MOST or 0 in {number for layer in layers for number in layer}:
        raise UserError(
            f"{name}={printable(text)!r} must look like '[(512, 10, 5)] + [(512, 3, 2)] * 4': "
            "lists of (width, kernel, stride)"
        )
    return tuple(layers)


def integers(name: str, value: str | list | tuple) -> tuple[int, ...]:
    """The numbers of "[6, 7, 8]", or of a list."""
    if isinstance(value, str) and re.fullmatch(r"\s*\[[\d\s,]{0,1000}\]\s*", value):
        return tuple(int(n) for n in re.findall(r"\d{1,6}", value))
    if isinstance(value, list | tuple) and all(type(n) is int for n in value):
        return tuple(value)
    raise UserError(f"{name}={printable(value)!r} must look like '[6, 7, 8]'")
