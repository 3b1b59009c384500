"""The C API of the native kernels (mfedge_kernels.h) behind one class.

The environment variable MFEDGE_NATIVE=0 keeps PyTorch's operators on their references.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mfedge.errors import MissingRuntimeError
from mfedge.kernels.find import ABI, find, folder, path
from mfedge.kernels.layout import Config, Kind

__all__ = ["Operator", "count_weights", "enabled", "isa", "load", "path"]

MAX_OUTPUTS, MESSAGE = 5, 256  # as in the header
NO_MEMORY = 2
FLOAT32, FLOAT16 = 1, 2

Value = TypeVar("Value", Tensor, "np.ndarray[Any, Any]")


class ConfigStruct(ctypes.Structure):
    """mfedge_config."""

    _fields_ = [*((name, ctypes.c_int32) for name in Config._fields), ("scale", ctypes.c_float)]


class TensorStruct(ctypes.Structure):
    """mfedge_tensor."""

    _fields_ = [("data", ctypes.c_void_p), ("rank", ctypes.c_int32), ("shape", ctypes.c_int64 * 4)]


def enabled() -> bool:
    """Whether PyTorch's operators run natively: the library is built, and MFEDGE_NATIVE is not 0."""
    return os.environ.get("MFEDGE_NATIVE") != "0" and _is_there(folder())


def isa() -> str:
    """The instruction set in use: "avx512", "avx2", "sse2" or "neon"."""
    return str(load().mfedge_isa().decode())


def load() -> ctypes.CDLL:
    """The C API, its functions typed.

    Raises:
        MissingRuntimeError: not built, or built from another version of the header.
    """
    return _load(path("kernels"))


@cache
def _is_there(where: Path) -> bool:
    """Looked for once a folder: this is asked before every operator."""
    del where
    return find("kernels") is not None


@cache
def _load(file: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(file))
    except OSError as error:
        raise MissingRuntimeError(f"native kernels: {file} cannot be loaded: {error}; reinstall mfedge") from None
    found = library.mfedge_abi_version()
    if found != ABI:
        raise MissingRuntimeError(
            f"native kernels: {file} has ABI version {found}, expected {ABI}; reinstall mfedge, or set MFEDGE_NATIVE=0"
        )
    pointer, integer, size, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p
    for name, result, arguments in (
        ("isa", text, ()),
        ("count_weights", integer, (integer, pointer, pointer, pointer, text)),
        ("operator_create", integer, (integer, pointer, pointer, size, pointer, size, integer, pointer, text)),
        ("operator_destroy", None, (pointer,)),
        ("operator_inputs", ctypes.c_int32, (pointer,)),
        ("operator_outputs", ctypes.c_int32, (pointer,)),
        ("operator_shapes", integer, (pointer, pointer, pointer, text)),
        ("pool_create", pointer, ()),
        ("pool_destroy", None, (pointer,)),
        ("operator_run", integer, (pointer, pointer, pointer, pointer, text)),
    ):
        function = getattr(library, f"mfedge_{name}")
        function.restype, function.argtypes = result, arguments
    return library


@cache
def _pool(file: Path) -> int:
    """One for the whole process; never destroyed, as any thread may still run."""
    return int(_load(file).mfedge_pool_create())


def count_weights(kind: Kind, config: Sequence[int]) -> tuple[int, int]:
    """How many floats and matrix elements the library says an operator takes.

    Raises:
        ValueError: the configuration is none.
    """
    found, message = (ctypes.c_size_t * 2)(), ctypes.create_string_buffer(MESSAGE)
    struct, second = ConfigStruct(*config), ctypes.byref(found, ctypes.sizeof(ctypes.c_size_t))
    _check(load().mfedge_count_weights(kind, ctypes.byref(struct), found, second, message), message)
    return found[0], found[1]


class Operator:
    """One operator with its weights, packed; immutable, for any number of threads. Freed with the object."""

    def __init__(
        self,
        kind: Kind,
        config: Sequence[int] = (),
        weights: Tensor | None = None,
        matrices: Tensor | None = None,
        scale: float = 0.0,
    ) -> None:
        """Create it.

        Args:
            kind: which.
            config: the integers of mfedge_config.
            weights: (n,) float32 on the CPU; copied.
            matrices: (n,) float32 or float16 on the CPU; copied.
            scale: of Mobile→Former and Mobile←Former.

        Raises:
            ValueError: the kernels do not take this; the message says why.
            MissingRuntimeError: not built.
        """
        self._library, self._pool = load(), _pool(path("kernels"))
        struct = ConfigStruct(*config)
        struct.scale = scale
        weights = torch.empty(0) if weights is None else weights.detach().contiguous()
        matrices = torch.empty(0) if matrices is None else matrices.detach().contiguous()
        half = matrices.dtype is torch.float16
        if weights.dtype is not torch.float32 or not (half or matrices.dtype is torch.float32):
            raise ValueError(
                f"native {kind.name}: expected float32 weights and float32 or float16 matrices, "
                f"found {weights.dtype} and {matrices.dtype}"
            )
        created, message = ctypes.c_void_p(), ctypes.create_string_buffer(MESSAGE)
        code = self._library.mfedge_operator_create(
            kind, ctypes.byref(struct), weights.data_ptr(), weights.numel(), matrices.data_ptr(), matrices.numel(),
            FLOAT16 if half else FLOAT32, ctypes.byref(created), message,
        )  # fmt: skip
        _check(code, message)
        self._handle = created
        weakref.finalize(self, self._library.mfedge_operator_destroy, created)
        self.inputs = int(self._library.mfedge_operator_inputs(created))
        self.outputs = int(self._library.mfedge_operator_outputs(created))

    def run(self, *inputs: Value) -> list[Value]:
        """Run it on float32 torch tensors of the CPU, or numpy arrays; its outputs are new ones of that kind.

        Raises:
            ValueError: the inputs do not fit; the message says which.
            MemoryError: there is no memory left.
        """
        if len(inputs) != self.inputs:
            raise ValueError(f"native operator: expected {self.inputs} inputs, found {len(inputs)}")
        dense = [_dense(value) for value in inputs]
        given = (TensorStruct * len(dense))(*map(_describe, dense))
        made, message = (TensorStruct * MAX_OUTPUTS)(), ctypes.create_string_buffer(MESSAGE)
        _check(self._library.mfedge_operator_shapes(self._handle, given, made, message), message)
        results = []
        for struct in made[: self.outputs]:
            shape = tuple(struct.shape[: struct.rank])
            result: Any = torch.empty(shape) if isinstance(dense[0], Tensor) else np.empty(shape, np.float32)
            struct.data = _pointer(result)
            results.append(result)
        _check(self._library.mfedge_operator_run(self._handle, given, made, self._pool, message), message)
        return results


def _dense(value: Value) -> Value:
    if isinstance(value, Tensor):
        if value.dtype is not torch.float32 or value.device.type != "cpu":
            raise ValueError(f"native operator: expected float32 on the CPU, found {value.dtype} on {value.device}")
        return value.contiguous()
    if value.dtype != np.float32:
        raise ValueError(f"native operator: expected float32, found {value.dtype}")
    return np.ascontiguousarray(value)


def _pointer(value: Any) -> int:
    return int(value.data_ptr() if isinstance(value, Tensor) else value.ctypes.data)


def _describe(value: Any) -> TensorStruct:
    if value.ndim > 4:
        raise ValueError(f"native operator: expected at most 4 dimensions, found {value.ndim}")
    return TensorStruct(_pointer(value), value.ndim, (ctypes.c_int64 * 4)(*value.shape))


def _check(code: int, message: ctypes.Array[ctypes.c_char]) -> None:
    """Raise what a code other than 0 means."""
    if code == NO_MEMORY:
        raise MemoryError(message.value.decode("utf-8", "replace"))
    if code:
        raise ValueError(message.value.decode("utf-8", "replace"))
