"""The door for what strangers bring: a class in an importable module, named by a recipe."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from d2v_jax.common import fields
from d2v_jax.common.checks import UserError


def class_of(field: str, name: str, ours: Mapping[str, str], kind: str, base: type) -> Any:
    """The class `kind` that the recipe's `field` names: in one of our modules, or in `name`'s own.

    `ours` are modules by the words that stand for them; the class must be derived from `base` and
    have methods of its own for those that `base` lists as `needed`.
    Raises `UserError` where there is no such module, or no such class in it.
    """
    module = ours.get(name, name)
    try:
        found = getattr(importlib.import_module(module), kind, None)
    except (ImportError, ValueError, TypeError) as error:
        if not str(name).count("."):
            fields.require_one_of(field, name, tuple(ours))
        raise UserError(
            f"{field}={name!r}: the module cannot be imported ({error}); install it, or add its "
            "folder to PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(
            f"{field}={name!r}: the module has no class {kind} derived from "
            f"{base.__module__}.{base.__name__}; give one that has, or define it there"
        )
    of = inspect.getattr_static
    missing = [method for method in base.needed if of(found, method) is of(base, method)]
    if missing:
        raise UserError(
            f"{field}={name!r}: its class {kind} has no {', '.join(missing)}; {base.__module__} "
            "says what each must give"
        )
    return found
