"""The names a checkpoint's pickle may mention, and what we build for each.

None of it is the named thing itself: an `OrderedDict` becomes a dict, a torch tensor a numpy view,
an `argparse.Namespace` or a fairseq `Dictionary` its fields, and a path or a time, which no weight
needs, a `StandIn`. No code of those projects runs.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from d2v_jax.common.checks import UserError
from d2v_jax.interop.pickles.tensors import DTYPES, MAX_DIMS, tensor


class Namespace(dict):
    """The fields of an `argparse.Namespace` or another plain object, as a dict."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A global the pickle mentions and may mention. Not callable."""

    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module}.{self.name}")


@dataclasses.dataclass(frozen=True)
class NumpyDtype:
    """The dtype of a numpy scalar."""

    dtype: np.dtype


class NumpyArray(np.ndarray):
    """A numpy array that the pickle makes empty at first and fills afterwards."""

    def fill(self, state: Any) -> None:
        """Takes (version, shape, dtype, Fortran order, bytes); anything else is a ValueError."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("a numpy array is filled from something else than its five parts")
        _, shape, kind, fortran, data = state
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not whole or not isinstance(kind, NumpyDtype) or not isinstance(data, bytes):
            raise ValueError("a numpy array has a shape, dtype or content of an unknown kind")
        if len(shape) > MAX_DIMS or math.prod(shape) * kind.dtype.itemsize != len(data):
            raise ValueError(f"a numpy array of shape {shape} has {len(data)} bytes")
        self.__setstate__((1, shape, kind.dtype, fortran is True, data))


class StandIn(Namespace):
    """What stands where the pickle has an object of a harmless class: its fields, inert."""

    def __init__(self, name: Name, arguments: tuple) -> None:
        super().__init__()
        self.name, self.arguments = name, arguments

    def __str__(self) -> str:
        return f"an object of {self.name}"


# Packages whose classes people keep beside weights: paths, times, counters, configurations.
HARMLESS = (
    "pathlib",
    "datetime",
    "zoneinfo",
    "collections",
    "decimal",
    "fractions",
    "uuid",
    "types",
    "typing",
    "omegaconf",
    "hydra",
    "fairseq",
    "examples",  # of fairseq, where data2vec 2.0 lives
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "accelerate",
    "transformers",
)
LOWER = {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "collections": ("deque",),
}


def harmless(name: Name) -> bool:
    """Whether it names a class that a stand-in replaces: of a package above, and no function."""
    package = name.module.split(".")[0]
    if package not in HARMLESS or name in BUILDERS:
        return False
    like_a_class = re.fullmatch(r"_?[A-Z]\w*", name.name, re.ASCII) is not None
    return like_a_class or name.name in LOWER.get(package, ())


def plain(value: Any, depth: int = 0) -> Any:
    """A configuration of OmegaConf as dicts, lists and scalars; anything else as it is."""
    if depth > MOST_NESTED:
        raise UserError("holds a configuration nested without end")
    if isinstance(value, StandIn) and value.name.module.split(".")[0] == "omegaconf":
        inner = value.get("_content", value.get("_val"))
        return plain(inner, depth + 1)
    if isinstance(value, dict):
        return {key: plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner, depth + 1) for inner in value]
    return value


MOST_NESTED = 50  # groups of fields within each other


def printable(value: Any) -> str:
    """A word of the file's, fit for a message: short, one line, no terminal codes."""
    text = value if isinstance(value, str) else f"a {type(value).__name__}"
    text = (
        f"an object of {value.name.module}.{value.name.name}"
        if isinstance(value, StandIn)
        else text
    )
    short = text if len(text) <= 100 else text[:100] + "..."
    return short if short.isprintable() else ascii(short)


def _ordered_dict() -> dict:
    return {}


def _namespace() -> Namespace:
    return Namespace()


def _tensor_v2(storage, offset, shape, strides, requires_grad, hooks, metadata=None) -> np.ndarray:
    return tensor(storage, offset, shape, strides)


def _parameter(data: np.ndarray, requires_grad: bool, hooks: dict) -> np.ndarray:
    if not isinstance(data, np.ndarray):
        raise ValueError("a parameter is built from something else than a tensor")
    return data


def _size(sizes: tuple) -> tuple:
    if not isinstance(sizes, tuple):
        raise ValueError("a torch.Size is built from something else than a tuple")
    return sizes


def _encode(text: str, encoding: str) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes are encoded in an unknown way")
    return text.encode("latin1")


def _numpy_dtype(code: str, align: bool = False, copy: bool = True) -> NumpyDtype:
    if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]", code):
        raise ValueError("a numpy scalar has an unknown dtype")
    return NumpyDtype(np.dtype(f"<{code}"))


def _numpy_scalar(dtype: NumpyDtype, data: bytes) -> int | float | bool:
    if not isinstance(dtype, NumpyDtype) or not isinstance(data, bytes):
        raise ValueError("a numpy scalar is built from something else than its bytes")
    return np.frombuffer(data, dtype.dtype, 1)[0].item()


def _numpy_array(kind: Name, shape: tuple, code: bytes) -> NumpyArray:
    if kind != Name("numpy", "ndarray") or shape != (0,):
        raise ValueError("a numpy array is built in an unknown way")
    return NumpyArray((0,), np.int8)


def _device(kind: str, index: int | None = None) -> str:
    if not isinstance(kind, str) or not (index is None or type(index) is int):
        raise ValueError("a device is built from something else than its name")
    return kind if index is None else f"{kind}:{index}"


def _set(items: list | tuple = ()) -> set:
    if not isinstance(items, list | tuple) or not all(
        isinstance(item, str | int | float) for item in items
    ):
        raise ValueError("a set holds something else than words and numbers")
    return set(items)


def _no_bytes() -> bytes:
    return b""  # how protocol 2 writes them


def _default_dict(factory: Name | None = None) -> dict:
    return {}


BUILDERS: dict[Name, Callable[..., Any] | None] = {
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("argparse", "Namespace"): _namespace,
    Name("torch._utils", "_rebuild_tensor"): tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor_v2,
    Name("torch._utils", "_rebuild_parameter"): _parameter,
    Name("torch", "Size"): _size,
    Name("_codecs", "encode"): _encode,
    Name("numpy", "dtype"): _numpy_dtype,
    Name("numpy.core.multiarray", "scalar"): _numpy_scalar,
    Name("numpy._core.multiarray", "scalar"): _numpy_scalar,
    Name("numpy.core.multiarray", "_reconstruct"): _numpy_array,
    Name("numpy._core.multiarray", "_reconstruct"): _numpy_array,
    Name("torch", "device"): _device,
    Name("collections", "defaultdict"): _default_dict,
    Name("builtins", "set"): _set,
    Name("__builtin__", "set"): _set,
    Name("builtins", "frozenset"): _set,
    Name("__builtin__", "frozenset"): _set,
    Name("builtins", "bytes"): _no_bytes,
    Name("__builtin__", "bytes"): _no_bytes,
    # Plain objects: a CTC model's letters, the loss scale of a DeepSpeed run.
    Name("fairseq.data.dictionary", "Dictionary"): _namespace,
    Name("deepspeed.runtime.fp16.loss_scaler", "DynamicLossScaler"): _namespace,
    Name("deepspeed.runtime.fp16.loss_scaler", "LossScaler"): _namespace,
    # Only named, never called: as arguments of others, or as values of fields.
    Name("numpy", "ndarray"): None,
    **{
        Name(module, kind): None
        for module in ("builtins", "__builtin__")
        for kind in ("dict", "list", "tuple", "int", "float", "bool", "str", "object")
    },
    **{Name("torch", kind): None for kind in ("float16", "bfloat16", "float32", "float64")},
    **{Name("torch", kind): None for kind in ("int8", "int16", "int32", "int64", "uint8", "bool")},
    **{Name("torch", storage): None for storage in DTYPES},
}
