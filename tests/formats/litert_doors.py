"""The two ways into LiteRT for a file with native operators, each as one function: model bytes and inputs → outputs.

`compiled` calls the C API of libLiteRt.so through ctypes, as an app calls it: Python's wrapper does not show it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import tempfile
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mfedge.kernels import find as native

Array = np.ndarray[Any, Any]


class Refused(Exception):
    """What mfedge's operators said, whichever way they were asked."""


def interpreter(model: bytes, inputs: Sequence[Array]) -> list[Array]:
    """By the delegate."""
    from ai_edge_litert.interpreter import Interpreter, load_delegate

    try:
        delegate = load_delegate(str(native.path("litert")))
        loaded = Interpreter(model_content=model, num_threads=1, experimental_delegates=[delegate])
        for detail, array in zip(loaded.get_input_details(), inputs, strict=True):
            loaded.resize_tensor_input(detail["index"], array.shape)
        loaded.allocate_tensors()
        for detail, array in zip(loaded.get_input_details(), inputs, strict=True):
            loaded.set_tensor(detail["index"], array)
        loaded.invoke()
        return [np.array(loaded.get_tensor(detail["index"])) for detail in loaded.get_output_details()]
    except (RuntimeError, ValueError) as error:
        raise Refused(str(error)) from None


class Layout(ctypes.Structure):
    """LiteRtLayout."""

    _fields_ = [("bits", ctypes.c_uint32), ("dimensions", ctypes.c_int32 * 8), ("strides", ctypes.c_uint32 * 8)]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.dimensions[: self.bits & 127])


class RankedType(ctypes.Structure):
    """LiteRtRankedTensorType."""

    _fields_ = [("element_type", c_int), ("layout", Layout)]


FUNCTIONS = {
    "add_kernel": ("LiteRtAddCustomOpKernelOption", c_void_p, c_char_p, c_int, c_void_p, c_void_p),
    "tensor_type": ("LiteRtGetTensorBufferTensorType", c_void_p, c_void_p),
    "lock": ("LiteRtLockTensorBuffer", c_void_p, c_void_p, c_int),
    "unlock": ("LiteRtUnlockTensorBuffer", c_void_p),
}


def folder() -> Path:
    """Where libLiteRt.so is."""
    spec = importlib.util.find_spec("ai_edge_litert")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def compiled(model: bytes, inputs: Sequence[Array]) -> list[Array]:
    """By custom operator kernels in a compiled model; the inputs have the shapes that the file says."""
    litert, ours = ctypes.CDLL(str(folder() / "libLiteRt.so")), ctypes.CDLL(str(native.path("litert")))
    ours.mfedge_litert_create.restype = c_void_p
    ours.mfedge_litert_error.restype = c_char_p
    kept: list[Any] = []  # (destroy, handle), in the order they were made

    def make(name: str, *arguments: Any, result: int) -> c_void_p:
        handle = c_void_p()
        call(name, *arguments[:result], byref(handle), *arguments[result:])
        kind = name.removeprefix("LiteRtCreate").removeprefix("Managed").removesuffix("FromFile")
        kept.append((getattr(litert, f"LiteRtDestroy{kind}"), handle))
        return handle

    def call(name: str, *arguments: Any) -> None:
        status = getattr(litert, name)(*arguments)
        said = ours.mfedge_litert_error(kernels)
        if said is not None:
            raise Refused(said.decode())
        assert status == 0, (name, status)

    functions = (c_void_p * 4)(
        *(ctypes.cast(getattr(litert, entry[0]), c_void_p).value for entry in FUNCTIONS.values())
    )
    kernels = c_void_p(ours.mfedge_litert_create(functions))
    assert kernels
    try:
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
            file.write(model)
            file.flush()
            environment = make("LiteRtCreateEnvironment", 0, None, result=2)
            loaded = make("LiteRtCreateModelFromFile", environment, file.name.encode(), result=2)
        options = make("LiteRtCreateOptions", result=0)
        call("LiteRtSetOptionsHardwareAccelerators", options, 1)
        assert ours.mfedge_litert_register(kernels, options, None) == 0
        program = make("LiteRtCreateCompiledModel", environment, loaded, options, result=3)
        count = c_size_t()
        signature = c_void_p()
        call("LiteRtGetModelSignature", loaded, c_size_t(0), byref(signature))
        call("LiteRtGetNumSignatureOutputs", signature, byref(count))
        layouts = (Layout * count.value)()
        call("LiteRtGetCompiledModelOutputTensorLayouts", program, c_size_t(0), count, layouts, True)

        def buffer(shape: tuple[int, ...]) -> c_void_p:
            kind = RankedType(1, Layout(len(shape), (ctypes.c_int32 * 8)(*shape)))
            size = c_size_t(4 * prod(shape))
            return make("LiteRtCreateManagedTensorBuffer", environment, 1, byref(kind), size, result=4)

        def view(made: c_void_p, shape: tuple[int, ...], mode: int) -> Array:
            address = c_void_p()
            call("LiteRtLockTensorBuffer", made, byref(address), mode)
            return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape)

        sources = [buffer(array.shape) for array in inputs]
        for made, array in zip(sources, inputs, strict=True):
            view(made, array.shape, 1)[...] = array
            call("LiteRtUnlockTensorBuffer", made)
        results = [buffer(layout.shape) for layout in layouts]
        call(
            "LiteRtRunCompiledModel", program, c_size_t(0),
            c_size_t(len(sources)), (c_void_p * len(sources))(*(made.value for made in sources)),
            c_size_t(len(results)), (c_void_p * len(results))(*(made.value for made in results)),
        )  # fmt: skip
        outputs = []
        for made, layout in zip(results, layouts, strict=True):
            outputs.append(view(made, layout.shape, 0).copy())
            call("LiteRtUnlockTensorBuffer", made)
        return outputs
    finally:
        for destroy, handle in reversed(kept):
            destroy(handle)
        ours.mfedge_litert_destroy(kernels)
