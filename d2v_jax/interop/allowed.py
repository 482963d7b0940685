"""The names a checkpoint's pickle may mention, and what we build for each.

None of it is the named thing itself: an `OrderedDict` becomes a dict, a torch tensor a numpy view,
an `argparse.Namespace` its fields.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from d2v_jax.interop.tensors import DTYPES, tensor


class Namespace(dict):
    """The fields of an `argparse.Namespace`, as a dict."""


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


def printable(value: Any) -> str:
    """A word of the file's, fit for a message: short, one line, no terminal codes."""
    text = value if isinstance(value, str) else f"a {type(value).__name__}"
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
    **{Name("torch", storage): None for storage in DTYPES},  # only named in persistent ids
}
