"""Between someone else's flat names and layouts and our tree, strictly.

A system is a list of rules, one per leaf of our tree, with the shapes its configuration implies.
Whatever the rules and the file do not agree on is listed, all of it, before anything is built.
The same rules lead back: `invert`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from d2v_jax.common import trees
from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import printable

SHOWN = 20  # keys in one error message
FLOATS = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)

Report = list[tuple[str, str, tuple[int, ...]]]  # (our path, their key, our shape)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One leaf of ours: the keys it is made of, their shapes, and how.

    `layout` takes one array per key, `inverse` gives them back. Several rules may read the same
    key; such rules have no inverse.
    """

    ours: str
    theirs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    layout: Callable[..., np.ndarray]
    inverse: Callable[[np.ndarray], Sequence[np.ndarray]] | None = None


@dataclasses.dataclass(frozen=True)
class Constant:
    """A key of theirs that is no parameter for us: it must equal what we compute."""

    theirs: str
    shape: tuple[int, ...]
    value: Callable[[], np.ndarray]
    required: bool


def same(array: np.ndarray) -> np.ndarray:
    """Biases, norms, embeddings."""
    return array


def out_in(array: np.ndarray) -> np.ndarray:
    """Linear (out, in) -> (in, out), and back."""
    return array.T


def out_in_window(array: np.ndarray) -> np.ndarray:
    """Conv (out, in / groups, *window) -> (*window, in / groups, out)."""
    return np.moveaxis(array, (0, 1), (-1, -2))


def window_in_out(array: np.ndarray) -> np.ndarray:
    """Conv (*window, in / groups, out) -> (out, in / groups, *window)."""
    return np.moveaxis(array, (-1, -2), (0, 1))


def first(array: np.ndarray) -> np.ndarray:
    """(1, ...) -> (...)."""
    return array[0]


def only(array: np.ndarray) -> np.ndarray:
    """(...) -> (1, ...)."""
    return array[None]


def side_by_side(*arrays: np.ndarray) -> np.ndarray:
    """Linear (out, in) or (out,) each -> (in, outs) or (outs,)."""
    return np.concatenate([array.T for array in arrays], axis=-1)


def apart(array: np.ndarray, parts: int) -> list[np.ndarray]:
    """The inverse of `side_by_side` for parts of one size."""
    return [part.T for part in np.split(array, parts, axis=-1)]


INVERSES = {same: same, out_in: out_in, out_in_window: window_in_out, first: only}


def leaf(
    ours: str,
    theirs: str,
    shape: tuple[int, ...],
    layout: Callable[[np.ndarray], np.ndarray] = same,
    inverse: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Rule:
    """A leaf made of one key. The inverse of the layouts above is known."""
    back = INVERSES.get(layout) if inverse is None else inverse
    return Rule(ours, (theirs,), (shape,), layout, back and (lambda array: [back(array)]))


def linear(ours: str, theirs: str, width_in: int, width_out: int) -> list[Rule]:
    """A linear layer with bias."""
    return [
        leaf(f"{ours}/kernel", f"{theirs}.weight", (width_out, width_in), out_in),
        leaf(f"{ours}/bias", f"{theirs}.bias", (width_out,)),
    ]


def joined(ours: str, theirs: Sequence[str], width_in: int, width_out: int) -> list[Rule]:
    """Linear layers with bias, `width_out` each, as one: q, k and v."""
    back = functools.partial(apart, parts=len(theirs))
    shapes = {"kernel": ("weight", (width_out, width_in)), "bias": ("bias", (width_out,))}
    return [
        Rule(
            f"{ours}/{name}",
            tuple(f"{t}.{key}" for t in theirs),
            (shape,) * len(theirs),
            side_by_side,
            back,
        )
        for name, (key, shape) in shapes.items()
    ]


def conv(
    ours: str, theirs: str, group_in: int, width_out: int, window: tuple[int, ...]
) -> list[Rule]:
    """A convolution with bias; `group_in` channels enter each group."""
    return [
        leaf(f"{ours}/kernel", f"{theirs}.weight", (width_out, group_in, *window), out_in_window),
        leaf(f"{ours}/bias", f"{theirs}.bias", (width_out,)),
    ]


def norm(ours: str, theirs: str, width: int) -> list[Rule]:
    """An affine layer norm."""
    return [
        leaf(f"{ours}/scale", f"{theirs}.weight", (width,)),
        leaf(f"{ours}/bias", f"{theirs}.bias", (width,)),
    ]


def renamed(rule: Rule, name: Callable[[str], str]) -> Rule:
    """The same leaf from keys of other names."""
    return dataclasses.replace(rule, theirs=tuple(map(name, rule.theirs)))


def convert(
    flat: Mapping[str, Any],
    rules: Sequence[Rule],
    constants: Sequence[Constant] = (),
    where: str = "the checkpoint",
    prefix: str = "",
) -> tuple[dict[str, Any], Report]:
    """-> (our tree, float32 copies; what came from where).

    `prefix` is what stands in front of the keys in the file; messages and report name both.
    Raises UserError listing every key that is missing, left over, misshapen, not floating point,
    not finite, or different from our constant.
    """
    problems = _disagreements(flat, rules, constants)
    tree, report = {}, []
    if not problems:
        for rule in rules:
            with np.errstate(over="ignore"):  # becomes inf, which is refused below
                parts = [flat[key].astype(np.float32) for key in rule.theirs]
            value = np.array(rule.layout(*parts), np.float32, order="C")
            tree[rule.ours] = value
            keys = " + ".join(f"{prefix}{key}" for key in rule.theirs)
            report.append((rule.ours, keys, value.shape))
            for key, part in zip(rule.theirs, parts, strict=True):
                if not np.isfinite(part).all():
                    problems.setdefault("not finite (NaN or infinite)", []).append(key)
    if problems:
        raise UserError(
            f"{where} does not fit our model, nothing was loaded:\n{_list(problems, prefix)}"
        )
    return trees.from_leaves(tree), report


def invert(
    tree: trees.Tree, rules: Sequence[Rule], constants: Sequence[Constant] = ()
) -> dict[str, np.ndarray]:
    """Our tree -> their names and layouts, float32, constants included.

    Raises UserError listing every leaf that is missing, left over or misshapen.
    """
    ours, flat = dict(trees.leaves(tree)), {}
    problems: dict[str, list[str]] = {}
    for rule in rules:
        if rule.inverse is None or flat.keys() & set(rule.theirs):
            raise ValueError(f"the rule of {rule.ours} has no inverse of its own")
        if rule.ours not in ours:
            problems.setdefault("missing", []).append(rule.ours)
            continue
        value = np.asarray(ours.pop(rule.ours), np.float32)
        blank = rule.layout(*(np.broadcast_to(np.float32(0), shape) for shape in rule.shapes))
        if value.shape != blank.shape:
            text = f"{rule.ours} is {value.shape}, expected {blank.shape}"
            problems.setdefault("of another shape", []).append(text)
            continue
        parts = map(np.ascontiguousarray, rule.inverse(value))
        flat.update(zip(rule.theirs, parts, strict=True))
    if ours:
        problems["left over"] = sorted(ours)
    if problems:
        raise UserError(f"our model does not fit their layout:\n{_list(problems)}")
    return flat | {c.theirs: c.value().astype(np.float32).reshape(c.shape) for c in constants}


def _disagreements(
    flat: Mapping[str, Any], rules: Sequence[Rule], constants: Sequence[Constant]
) -> dict[str, list[str]]:
    """Kind of problem -> keys; looks at names and shapes first, at values only of constants."""
    problems: dict[str, list[str]] = {}

    def note(kind: str, text: str) -> None:
        problems.setdefault(kind, []).append(text)

    shapes = {c.theirs: c.shape for c in constants}
    for rule in rules:
        shapes.update(zip(rule.theirs, rule.shapes, strict=True))
    optional = {c.theirs for c in constants if not c.required}
    for key, shape in shapes.items():
        if key not in flat:
            if key not in optional:
                note("missing", key)
        elif not isinstance(flat[key], np.ndarray):
            note("not a tensor", f"{key} is {printable(flat[key])}")
        elif flat[key].dtype not in FLOATS:
            note("not floating point", f"{key} is {flat[key].dtype}")
        elif flat[key].shape != shape:
            note("of another shape", f"{key} is {flat[key].shape}, expected {shape}")
    for key in flat:
        if key not in shapes:
            note("left over", printable(key))
    if not problems:
        for constant in constants:
            if constant.theirs in flat and not _equal(flat[constant.theirs], constant.value()):
                note("not what we compute ourselves", constant.theirs)
    return problems


def _equal(theirs: np.ndarray, ours: np.ndarray) -> bool:
    tolerance = max(1e-5, 2 * float(ml_dtypes.finfo(theirs.dtype).eps))
    if theirs.size != ours.size:
        return False
    return np.allclose(theirs.reshape(ours.shape).astype(np.float64), ours, rtol=0, atol=tolerance)


def _list(problems: Mapping[str, list[str]], prefix: str = "") -> str:
    each = max(1, SHOWN // len(problems))
    lines = []
    for kind, keys in problems.items():
        more = f", and {len(keys) - each} more" if len(keys) > each else ""
        shown = ", ".join(f"{prefix}{key}" for key in keys[:each])
        lines.append(f"  {len(keys)} {kind}: {shown}{more}")
    return "\n".join(lines)
