"""What an objective is. The engine calls these and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax

from d2v_jax.common import trees
from d2v_jax.common.outside import class_of
from d2v_jax.common.rng import Keys
from d2v_jax.common.trees import Tree
from d2v_jax.encoder.sections import EncoderConfig

Batch = Mapping[str, jax.Array]
Mean = tuple[jax.Array, jax.Array]  # (sum, count), divided only when printed or optimised
Metrics = dict[str, Mean]
Drawn = Any  # inputs, masks, labels, negatives: an objective's own record, a tree of arrays


class Fact(NamedTuple):
    """A line of `d2v inspect`: "encoder  85,641,216 (the student without its decoder)"."""

    name: str
    count: int
    words: str = ""


class Objective:
    """What is learnt. A subclass is a frozen dataclass that is made of `cfg` alone.

    `cfg` is a record of the class `sections`, a frozen dataclass whose fields are the sections of
    the recipe that this objective reads: "frontend" the modality's, the others dataclasses of its
    own or of `encoder.config`.

    What an objective does not have (a teacher, masks, a term of the loss) it does not mention:
    `carry` gives {}, and nothing of it is stored, shown or asked for.
    """

    needed = ("init", "draw", "counts", "loss")  # what a subclass must define
    sections: ClassVar[type]
    cfg: Any
    # What people call the two trees: names of checkpoint items, and in tables.
    params_name: ClassVar[str] = "params"
    carried_name: ClassVar[str] = "carried"
    # Metrics in the line of progress, beside the loss.
    shown: ClassVar[tuple[str, ...]] = ()
    # Parts of the tree that a checkpoint of others may lack; a run that starts from one makes them.
    optional: ClassVar[tuple[str, ...]] = ()
    # Fields that say how large those parts are, as words behind the objective's name.
    sizes: ClassVar[str] = ""
    # Parts of a step that `without` can leave out, to see what they cost.
    parts: ClassVar[tuple[str, ...]] = ()
    # Whether the trained tree has a "head" on the encoder, for answers beside features.
    own_head: ClassVar[bool] = False
    # Element-wise operations per parameter of the carried tree, in one update.
    carried_operations: ClassVar[float] = 0.0

    @property
    def dtype(self) -> str:
        """In which most products are computed, for what people are told of speed."""
        return "float32"

    @property
    def loops(self) -> bool:
        """Whether the loss runs in a loop, of which compilers count one round."""
        return False

    @property
    def encoder(self) -> EncoderConfig | None:
        """What the encoder is that this objective trains, for features and probes; None: none."""
        return None

    def init(self, key: jax.Array, example_shape: tuple[int, ...]) -> dict[str, Any]:
        """Fresh trained parameters, a nested dict, float32."""
        raise NotImplementedError

    def carry(self, params: Tree) -> dict[str, Any]:
        """What is carried along and not trained, such as the EMA teacher; {} if there is none."""
        del params
        return {}

    def draw(self, random: Keys, batch: Batch) -> Drawn:
        """A batch as it travels -> all that the loss needs; all randomness of the question."""
        raise NotImplementedError

    def counts(self, drawn: Drawn) -> dict[str, jax.Array]:
        """What each term of the loss is divided by: a sum over the whole batch (T23)."""
        raise NotImplementedError

    def loss(
        self,
        params: Tree,
        carried: Tree,
        drawn: Drawn,
        random: Keys,
        whole: Mapping[str, jax.Array],
        step: jax.Array,
    ) -> tuple[jax.Array, Metrics]:
        """The scalar to minimise, float32, and what to report.

        `whole` holds the `counts` of the whole batch, of which `drawn` may be a part: the scalars
        of all parts add up. `step` counts completed updates.
        """
        raise NotImplementedError

    def after(self, carried: Tree, params: Tree, step: jax.Array) -> tuple[Tree, Metrics]:
        """Once per update: what is carried follows. `params` and `step` are those behind it."""
        del params, step
        return carried, {}

    def check(self, example_shapes: tuple[tuple[int, ...], ...]) -> None:
        """Raises `ConfigError` for sections that cannot work together."""

    def begin(
        self, params: Tree, carried: Tree | None, head: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], list[str]]:
        """-> (what of a checkpoint's trees a new run trains on, what to say of it).

        `carried` and `head` are None where it has none.
        """
        del carried
        return dict(params), [f"its {head['kind']} head is left behind"] if head else []

    def head(self, params: Tree) -> dict[str, Any]:
        """What is trained on top of the encoder, as {"kind", "params", ...} (`supervised.heads`);
        only of an objective with its `own_head`.
        """
        raise NotImplementedError

    def adopt(self, params: Tree, carried: Tree | None) -> tuple[dict[str, Any], str]:
        """-> (what a new run carries that starts from a checkpoint's trees, what to say of it).

        `carried` is None where the checkpoint has none.
        """
        del carried
        return self.carry(params), ""

    def troubles(self, record: Mapping[str, float], warm: bool) -> dict[str, str]:
        """What is wrong with a run by one of its records, in words with a remedy.

        `warm`: the warm-up of the learning rate is over.
        """
        del record, warm
        return {}

    def system(self, modality: str) -> str:
        """What a checkpoint of this objective is called."""
        return f"{type(self).__module__}_{modality}"

    def facts(self, params: Tree, carried: Tree | None) -> Sequence[Fact]:
        """What `d2v inspect` says of the trees; these may hold shapes alone."""
        found = [Fact(self.params_name, trees.count(params), "parameters")]
        if carried:
            found.append(Fact(self.carried_name, trees.count(carried), ", ".join(carried)))
        return found

    def arithmetic(self, example_shape: tuple[int, ...]) -> dict[str, float]:
        """Floating-point operations of matrix products for one example, by part of the step."""
        del example_shape
        return {}

    def without(self, part: str) -> "Objective":
        """The same less one of `parts`."""
        raise NotImplementedError(part)


SUPERVISED = ("ctc", "classify", "regress", "tag")
OURS = {
    "data2vec": "d2v_jax.data2vec.objective",
    **{name: f"d2v_jax.supervised.{name}" for name in SUPERVISED},
}
# Those of d2v_jax.baselines; their own sections stand in configs/NAME.py, less underscores.
SIBLINGS = {
    "bert": "d2v_jax.baselines.bert",
    "best_rq": "d2v_jax.baselines.best_rq",
    "cpc": "d2v_jax.baselines.cpc",
    "hubert": "d2v_jax.baselines.hubert",
    "mae": "d2v_jax.baselines.mae",
    "wav2vec2": "d2v_jax.baselines.wav2vec2",
}


def objective_class(name: str) -> type[Objective]:
    """The `Objective` of a recipe: one of ours, or of an importable module of that name.

    Raises `UserError` where there is none.
    """
    return class_of("objective", name, OURS | SIBLINGS, "Objective", Objective)
