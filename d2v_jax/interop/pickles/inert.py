"""A pickle interpreter that builds data and can do nothing else.

A pickle is a program: the standard reader imports and calls whatever it names. Here every opcode
is carried out by the few lines below. A name from the file is looked up in `allowed.BUILDERS` and
nowhere else; nothing is imported, no attribute of anything is set, and no object on the stack can
be called. An object of a class that is known to be harmless becomes a record of its fields;
whatever is not known is refused by name.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from d2v_jax.common.checks import UserError
from d2v_jax.interop.allowed import (
    BUILDERS,
    Name,
    Namespace,
    NumpyArray,
    NumpyDtype,
    StandIn,
    harmless,
    printable,
)


class UnsafeCheckpoint(UserError):
    """The pickle asks for more than data. Nothing it asks for was run."""


# What an opcode pushes is its argument.
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES "
    "BINBYTES8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_SCALARS = (str, int, float, bytes, type(None))  # bool is an int


def load(stream: BinaryIO, storage: Callable[[Any], Any]) -> Any:
    """Reads one pickle from where `stream` stands and leaves it behind the pickle's end.

    `storage` turns a persistent id (a tuple) into a Storage. Raises UnsafeCheckpoint, or any of
    ValueError, TypeError, IndexError, KeyError for a pickle that is not well formed.
    """
    machine = _Machine(storage)
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "STOP":
            break
        machine.step(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    """The pickle machine: a stack, the stacks put aside by MARK, and a memo."""

    def __init__(self, storage: Callable[[Any], Any]) -> None:
        self.storage = storage
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Carries out one opcode."""
        stack = self.stack
        if opcode in _LITERALS:
            stack.append(argument)
            return
        if opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
            return
        match opcode:
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[argument])
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "MARK":
                self.marked.append(stack)
                self.stack = []
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                if len(stack) < count:
                    raise IndexError("the pickle's stack is empty")
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE" | "LIST" | "DICT" | "FROZENSET":
                items = self._since_mark()
                self.stack.append(_collect(opcode, items))
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(set())
            case "APPEND":
                item = stack.pop()
                _row(stack[-1]).append(item)
            case "APPENDS":
                items = self._since_mark()
                _row(self.stack[-1]).extend(items)
            case "ADDITEMS":
                items = self._since_mark()
                _expect(self.stack[-1], set).update(map(_key, items))
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _expect(stack[-1], dict)[_key(key)] = value
            case "SETITEMS":
                items = self._since_mark()
                _expect(self.stack[-1], dict).update(_pairs(items))
            case "GLOBAL":
                stack.append(_known(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_known(_expect(module, str), _expect(name, str)))
            case "REDUCE" | "NEWOBJ":
                arguments, name = stack.pop(), stack.pop()
                stack.append(_build(name, _expect(arguments, tuple)))
            case "BUILD":
                state = stack.pop()
                _set_state(stack[-1], state)
            case "BINPERSID":
                stack.append(self.storage(stack.pop()))
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PROTO" | "FRAME":
                pass
            case "EXT1" | "EXT2" | "EXT4":
                raise UnsafeCheckpoint(
                    f"refused: the pickle asks for entry {argument} of the extension registry"
                )
            case "INST":
                raise UnsafeCheckpoint(
                    f"refused: the pickle asks for {Name(*argument.split(' ', 1))} (opcode INST)"
                )
            case _:
                raise UnsafeCheckpoint(f"refused: the pickle uses opcode {opcode}")

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items


def _known(module: str, name: str) -> Name:
    found = Name(module, name)
    if found not in BUILDERS and not harmless(found):
        raise UnsafeCheckpoint(f"refused: the pickle asks for {found}")
    return found


def _build(name: Any, arguments: tuple) -> Any:
    builder = BUILDERS.get(name) if isinstance(name, Name) else None
    if builder is None and isinstance(name, Name) and harmless(name):
        return StandIn(name, arguments)
    if builder is None:
        what = str(name) if isinstance(name, Name) else f"a {type(name).__name__}"
        raise UnsafeCheckpoint(f"refused: the pickle calls {what}")
    return builder(*arguments)


def _set_state(target: Any, state: Any) -> None:
    """What BUILD may do: fill a namespace or an array; the rest is checked and forgotten."""
    if isinstance(target, NumpyArray):
        target.fill(state)
        return
    if isinstance(target, NumpyDtype):
        if _expect(state, tuple)[1:2] not in (("<",), ("|",)):
            raise ValueError("a numpy scalar is not little-endian")
        return
    if isinstance(target, StandIn) and not isinstance(state, dict):
        return  # fields without names, of no use to anybody here
    if not isinstance(target, dict):
        what = str(target) if isinstance(target, Name) else f"a {type(target).__name__}"
        raise UnsafeCheckpoint(f"refused: the pickle sets attributes of {what}")
    if not isinstance(state, dict):
        raise UnsafeCheckpoint(
            f"refused: the pickle sets attributes of a dict from a {type(state).__name__}"
        )
    for field in state:
        if not isinstance(field, str) or field.startswith("__"):
            raise UnsafeCheckpoint(f"refused: the pickle sets attribute {printable(field)}")
    if isinstance(target, Namespace):
        target.update(state)  # an OrderedDict's attributes, torch's `_metadata`, are dropped


def _collect(opcode: str, items: list[Any]) -> Any:
    match opcode:
        case "TUPLE":
            return tuple(items)
        case "DICT":
            return dict(_pairs(items))
        case "FROZENSET":
            return frozenset(map(_key, items))
    return items


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    return [(_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]


def _key(key: Any) -> Any:
    """Keys are scalars or flat tuples of them: hashing deeper ones recurses without a limit.

    Classes and stand-ins serve by their names.
    """
    if isinstance(key, StandIn | Name):
        return str(key)
    if isinstance(key, _SCALARS):
        return key
    if isinstance(key, tuple) and all(isinstance(k, _SCALARS) for k in key):
        return key
    raise TypeError(f"a {type(key).__name__} serves as a key")


def _row(value: Any) -> list[Any]:
    """What APPEND extends; of a stand-in nothing is kept but its fields."""
    return [] if isinstance(value, StandIn) else _expect(value, list)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value
