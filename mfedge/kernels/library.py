"""The C API of the native kernels (mfedge_kernels.h) behind one class, for numpy arrays or bare addresses.

The environment variable MFEDGE_NATIVE=0 keeps PyTorch's operators on their references.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mfedge.errors import MissingRuntimeError
from mfedge.kernels.find import ABI, find, folder, path
from mfedge.kernels.layout import Config, Kind

__all__ = ["Operator", "Type", "count_weights", "enabled", "isa", "load", "path"]

MAX_OUTPUTS, MESSAGE = 5, 256  # as in the header
NO_MEMORY = 2

Value = TypeVar("Value")
Array = NDArray[Any]
Buffer = tuple[int, Sequence[int]]  # the address of dense float32 values, and their shape


class Type(IntEnum):
    """mfedge_type: how a matrix of weights is stored."""

    FLOAT32 = 1
    FLOAT16 = 2


TYPES = {np.dtype(np.float32): Type.FLOAT32, np.dtype(np.float16): Type.FLOAT16}


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
    """Looked for once per folder: every operator asks this before it runs."""
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
        weights: Array | None = None,
        matrices: Array | None = None,
        scale: float = 0.0,
    ) -> None:
        """Create it.

        Args:
            kind: which.
            config: the integers of mfedge_config.
            weights: (n,) float32; copied.
            matrices: (n,) of a type in TYPES; copied.
            scale: of Mobile→Former and Mobile←Former.

        Raises:
            ValueError: the kernels do not take this; the message says why.
            MissingRuntimeError: not built.
        """
        self._library, self._pool = load(), _pool(path("kernels"))
        struct = ConfigStruct(*config)
        struct.scale = scale
        weights, matrices = (
            np.empty(0, np.float32) if constant is None else np.ascontiguousarray(constant)
            for constant in (weights, matrices)
        )
        stored = TYPES.get(matrices.dtype)
        if weights.dtype != np.float32 or stored is None:
            raise ValueError(
                f"native {kind.name}: expected float32 weights and {' or '.join(map(str, TYPES))} matrices, "
                f"found {weights.dtype} and {matrices.dtype}"
            )
        created, message = ctypes.c_void_p(), ctypes.create_string_buffer(MESSAGE)
        code = self._library.mfedge_operator_create(
            kind, ctypes.byref(struct), weights.ctypes.data, weights.size, matrices.ctypes.data, matrices.size,
            stored, ctypes.byref(created), message,
        )  # fmt: skip
        _check(code, message)
        self._handle = created
        weakref.finalize(self, self._library.mfedge_operator_destroy, created)
        self.inputs = int(self._library.mfedge_operator_inputs(created))
        self.outputs = int(self._library.mfedge_operator_outputs(created))

    def run(self, *inputs: Array) -> list[Array]:
        """Run it on float32 arrays; its outputs are new ones.

        Raises:
            ValueError: the inputs do not fit; the message says which.
            MemoryError: there is no memory left.
        """
        for value in inputs:
            if value.dtype != np.float32:
                raise ValueError(f"native operator: expected float32, found {value.dtype}")
        dense = [np.ascontiguousarray(value) for value in inputs]
        return self.run_on([(value.ctypes.data, value.shape) for value in dense], _empty)

    def run_on(self, inputs: Sequence[Buffer], empty: Callable[[tuple[int, ...]], tuple[int, Value]]) -> list[Value]:
        """As `run`, for any kind of tensor.

        Args:
            inputs: dense float32 values, which must stay alive until this returns.
            empty: makes the float32 tensor for an output of this shape; returns its address and itself.

        Returns:
            The tensors that `empty` has made.
        """
        if len(inputs) != self.inputs:
            raise ValueError(f"native operator: expected {self.inputs} inputs, found {len(inputs)}")
        given = (TensorStruct * len(inputs))(*(_describe(address, shape) for address, shape in inputs))
        made, message = (TensorStruct * MAX_OUTPUTS)(), ctypes.create_string_buffer(MESSAGE)
        _check(self._library.mfedge_operator_shapes(self._handle, given, made, message), message)
        results = []
        for struct in made[: self.outputs]:
            struct.data, result = empty(tuple(struct.shape[: struct.rank]))
            results.append(result)
        _check(self._library.mfedge_operator_run(self._handle, given, made, self._pool, message), message)
        return results


def _empty(shape: tuple[int, ...]) -> tuple[int, Array]:
    made = np.empty(shape, np.float32)
    return made.ctypes.data, made


def _describe(address: int, shape: Sequence[int]) -> TensorStruct:
    if len(shape) > 4:
        raise ValueError(f"native operator: expected at most 4 dimensions, found {len(shape)}")
    return TensorStruct(address, len(shape), (ctypes.c_int64 * 4)(*shape))


def _check(code: int, message: ctypes.Array[ctypes.c_char]) -> None:
    """Raise what a code other than 0 means."""
    if code == NO_MEMORY:
        raise MemoryError(message.value.decode("utf-8", "replace"))
    if code:
        raise ValueError(message.value.decode("utf-8", "replace"))
