"""Label sets by what a recipe calls them."""

from collections.abc import Mapping, Sequence

from d2v_jax.data.units import km
from d2v_jax.data.units.units import BANDS, Bands, Named, Units, UnitSet, WithUnits, checked


def open_units(path: str) -> UnitSet:
    """A folder of `d2v units`, a .km file of fairseq, or "builtin:bands". Raises `UserError`."""
    if path == BANDS:
        return Bands()
    return km.Km(path) if path.endswith(km.SUFFIX) else Units(path)


def opened(
    paths: Sequence[str],
    rate: float,
    classes: Sequence[int],
    special: int,
    sources: Mapping[str, Named],
) -> WithUnits:
    """The label sets for crops of `sources`; other arguments and errors as of `checked`."""
    return checked([open_units(path) for path in paths], rate, classes, special, sources)
