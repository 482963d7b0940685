"""Torch's storages and tensors as numpy views of a file's bytes."""

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}

MAX_DIMS = 32
# A tensor with stride 0 repeats its storage; beyond this many elements that is no weight but a
# file of a few bytes that would fill the memory.
MAX_REPEATED = 1 << 20


@dataclasses.dataclass(frozen=True)
class Storage:
    """A row of `count` numbers, shared by the tensors that view it.

    `data` is None while a file is scanned only for the sizes of its storages.
    """

    key: str
    dtype: np.dtype
    count: int
    data: memoryview | None

    def __post_init__(self) -> None:
        if self.data is not None and len(self.data) < self.count * self.dtype.itemsize:
            raise ValueError(
                f"storage {self.key} holds {len(self.data)} bytes, but its tensors claim "
                f"{self.count} numbers of {self.dtype.itemsize} bytes"
            )


def tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> np.ndarray:
    """A read-only view of a storage; offset and strides count numbers, not bytes.

    Raises ValueError for anything that reaches outside the storage.
    """
    if not isinstance(storage, Storage) or not isinstance(shape, tuple):
        raise ValueError("a tensor is built from something else than a storage and a shape")
    if not isinstance(strides, tuple) or len(shape) != len(strides) or len(shape) > MAX_DIMS:
        raise ValueError("a tensor's shape and strides do not fit each other")
    if any(type(n) is not int or not 0 <= n < 2**63 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor's shape, strides or offset are not natural numbers")
    count = math.prod(shape)
    reach = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    if count and reach > storage.count:
        raise ValueError(
            f"a tensor of shape {shape} reaches number {reach} of storage {storage.key}, "
            f"which has {storage.count}"
        )
    if count > max(storage.count, MAX_REPEATED):
        raise ValueError(
            f"a tensor of shape {shape} repeats the {storage.count} numbers of storage "
            f"{storage.key}"
        )
    if storage.data is None or not count:
        return np.zeros(shape if not count else 0, storage.dtype)
    size = storage.dtype.itemsize
    return np.ndarray(
        shape, storage.dtype, storage.data, offset * size, tuple(s * size for s in strides)
    )
