"""Which parameters learn how fast, decay, or stand still: one ordered list of rules."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from d2v_jax.common import trees
from d2v_jax.common.checks import require
from d2v_jax.common.trees import Tree
from d2v_jax.train.recipe.records import OptimizerConfig

FOREVER = -1
NEVER_MATRICES = ("bias", "scale", "q_bias", "v_bias", "gamma1", "gamma2", "alibi_scale", "tokens")
BLOCK = re.compile(r"(prenet|trunk)/block_(\d+)/")
BEFORE = ("frontend/*", "prefix/*", "mask/*")  # what lies before the first block


class Rule(NamedTuple):
    """What it says of all paths that match `pattern`; None: nothing.

    Of each parameter, what the first rule says that matches and says something holds.
    """

    pattern: str  # with * for any letters, as in "trunk/block_03/*"
    rate: float | None = None  # factor of the learning rate
    decays: bool | None = None
    still: int | None = None  # updates in which it stands still; FOREVER


class Group(NamedTuple):
    """What holds of a parameter."""

    rate: float
    decays: bool
    still: int

    @property
    def words(self) -> str:
        """ "always", "10000 updates" or "-": how long it stands still."""
        if not self.still:
            return "-"
        return "always" if self.still == FOREVER else f"{self.still} updates"


def rules(cfg: OptimizerConfig, paths: Sequence[str]) -> list[Rule]:
    """The list for a tree of these paths; its last rule covers every one."""
    found = [Rule(pattern, still=updates) for pattern, updates in cfg.frozen]
    found += [Rule(pattern, rate=factor) for pattern, factor in cfg.rates]
    if cfg.layer_decay != 1:
        found += layer_decay(cfg.layer_decay, cfg.decay_before, paths)
    if cfg.decays == "matrices":
        found += [Rule(f"*/{name}", decays=False) for name in NEVER_MATRICES]
    return [*found, Rule("*", 1.0, True, 0)]


def layer_decay(factor: float, before: bool, paths: Sequence[str]) -> list[Rule]:
    """Each block learns `factor` times as fast as the one above it, the last `factor` times the
    peak rate; with `before` what lies below the blocks counts as one more (REFERENCE §12.2,
    §12.3).
    """
    blocks = sorted({match[0] for path in paths if (match := BLOCK.match(path))})
    above = len(blocks)
    found = [Rule(f"{block}*", factor ** (above - i)) for i, block in enumerate(blocks)]
    if before:
        found += [Rule(pattern, factor ** (above + 1)) for pattern in BEFORE]
    return found


def groups(cfg: OptimizerConfig, tree: Tree) -> dict[str, Group]:
    """The group of every parameter by its path, in the order of `trees.leaves`.

    Raises `ConfigError` for a pattern in the recipe that matches none.
    """
    paths = [path for path, _ in trees.leaves(tree)]
    for field in ("frozen", "rates"):
        for pattern, _ in getattr(cfg, field):
            require(
                any(fnmatch.fnmatchcase(path, pattern) for path in paths),
                f"optimizer.{field}: no parameter matches {pattern!r}; there are "
                f"{', '.join(sorted({path.split('/')[0] for path in paths}))}/..., all listed by "
                "d2v inspect",
            )
    listed = rules(cfg, paths)
    return {path: _group(path, listed) for path in paths}


def _group(path: str, listed: Sequence[Rule]) -> Group:
    said = [rule for rule in listed if fnmatch.fnmatchcase(path, rule.pattern)]
    first = lambda name: next(
        getattr(rule, name) for rule in said if getattr(rule, name) is not None
    )
    return Group(first("rate"), first("decays"), first("still"))


def decay_mask(cfg: OptimizerConfig, tree: Tree) -> Tree:
    """True where weight decay applies: everywhere, or not on biases, norms, scales and prefix
    tokens (REFERENCE §4.2, T19)."""
    return trees.from_leaves({path: one.decays for path, one in groups(cfg, tree).items()})


def unlearned(cfg: OptimizerConfig, params: Tree) -> Tree:
    """`params` without a way back to those that always stand still."""
    if not cfg.frozen:
        return params
    found = groups(cfg, params)
    return trees.map_with_path(
        lambda path, leaf: jax.lax.stop_gradient(leaf) if found[path].still == FOREVER else leaf,
        params,
    )


def holder(cfg: OptimizerConfig) -> Callable[[Tree, jax.Array], Tree]:
    """`(tree, step) -> tree` with zeros where parameters stand still in update `step` + 1."""

    def held(tree: Tree, step: jax.Array) -> Tree:
        found = groups(cfg, tree)

        def one(path: str, leaf: jax.Array) -> jax.Array:
            match found[path].still:
                case 0:
                    return leaf
                case still if still == FOREVER:
                    return jnp.zeros_like(leaf)
                case still:
                    return jnp.where(step < still, 0, leaf)

        return trees.map_with_path(one, tree)

    return held if cfg.frozen else lambda tree, step: tree
