"""Every function of the C headers, called with NULL in the place of each of its pointers, says so or allows it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from ctypes import addressof, byref, c_float, c_int, c_void_p, cast, sizeof
from typing import Any, NamedTuple

import pytest

from mfedge.kernels import find, library
from mfedge.kernels.layout import Config, Kind
from mfedge.kernels.library import ConfigStruct, TensorStruct
from tests.kernels.build import SOURCES

pytestmark = pytest.mark.skipif(find.find("litert") is None, reason="native kernels are not built")

HEADERS = {"kernels": SOURCES / "include" / "mfedge_kernels.h", "litert": SOURCES / "bindings" / "litert.h"}
OK, INVALID = 0, 1
ALLOWED = ("message", "keys", "values", "report_error")  # elsewhere NULL is refused
HEAD = Config(in_channels=4, expand=3, tokens=2, token_dim=8, hidden=5, classes=3)
SHAPES = {"inputs": ((1, 4, 3, 2), (1, 2, 8), (1, 2, 4)), "outputs": ((1, 3),)}
NO_ERROR = ctypes.CFUNCTYPE(c_int)(lambda: 0)  # in the place of a function of LiteRT


class Function(NamedTuple):
    """A prototype, its arguments by name."""

    library: str
    result: str  # "int", "mfedge_pool*", "void", ...
    name: str
    arguments: tuple[str, ...]
    pointers: frozenset[str]


def functions() -> Iterator[Function]:
    for name, header in HEADERS.items():
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for result, function, listed in re.findall(r"^MFEDGE_API (\w[^(]*[ *])(\w+)\((.*?)\);$", text, re.M | re.S):
            arguments = [] if listed == "void" else re.split(r",\s*(?![^(]*\))", listed)
            # A callback, a named argument, or the type of an operator or pool.
            names = [re.search(r"(?:\(\*(\w+)\)\(.*|[ *](\w+)|mfedge_(\w+)\*)$", text) for text in arguments]
            named = [next(filter(None, found.groups())) for found in names if found]
            pointers = frozenset(name for name, text in zip(named, arguments, strict=True) if "*" in text)
            yield Function(name, result.strip(), function, tuple(named), pointers)


FUNCTIONS = list(functions())
CASES = [(function, pointer) for function in FUNCTIONS for pointer in sorted(function.pointers)]


class Given:
    """Arguments that every function takes, by name; alive as long as this is."""

    def __init__(self) -> None:
        self.libraries = {name: ctypes.CDLL(str(find.path(name))) for name in HEADERS}
        weights, matrices = library.count_weights(Kind.HEAD, HEAD)
        self.memory = (c_float * 4096)()
        self.next = addressof(self.memory)
        self.values: dict[str, Any] = {
            "kind": Kind.HEAD, "weight_count": ctypes.c_size_t(weights), "matrix_count": ctypes.c_size_t(matrices),
            "matrix_type": 1, "count": ctypes.c_size_t(0), "config": byref(ConfigStruct(*HEAD)),
            "weights": self.floats(weights), "matrices": self.floats(matrices), "options": self.floats(1),
            "created": byref(c_void_p()), "message": ctypes.create_string_buffer(library.MESSAGE),
            "keys": None, "values": None, "report_error": None,
            "functions": byref((c_void_p * 4)(*[cast(NO_ERROR, c_void_p)] * 4)),
        }  # fmt: skip
        for name, shapes in SHAPES.items():
            self.values[name] = (TensorStruct * len(shapes))()
            for tensor, shape in zip(self.values[name], shapes, strict=True):
                tensor.data, tensor.rank, tensor.shape[: len(shape)] = self.floats(64), len(shape), shape
        self.values["operator"] = created = c_void_p()
        arguments = self.arguments("mfedge_operator_create") | {"created": byref(created)}
        assert self.call("mfedge_operator_create", arguments) == OK
        self.values["pool"] = c_void_p(self.call("mfedge_pool_create", {}))
        self.values["kernels"] = c_void_p(self.call("mfedge_litert_create", self.arguments("mfedge_litert_create")))

    def floats(self, count: int) -> c_void_p:
        at = c_void_p(self.next)
        self.next += 64 + count * sizeof(c_float)
        assert self.next <= addressof(self.memory) + sizeof(self.memory)
        return at

    def arguments(self, function: str) -> dict[str, Any]:
        (found,) = [each for each in FUNCTIONS if each.name == function]
        return {name: self.values[name] for name in found.arguments}

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        (found,) = [each for each in FUNCTIONS if each.name == name]
        called = self.libraries[found.library][name]
        called.restype = None if found.result == "void" else c_void_p if "*" in found.result else c_int
        return called(*arguments.values())

    def refused(self, function: Function, arguments: dict[str, Any], message: str) -> None:
        """With this message and without."""
        assert self.call(function.name, arguments) == INVALID
        assert self.values["message"].value.decode() == message
        assert self.call(function.name, arguments | {"message": None}) == INVALID


@pytest.fixture(scope="module")
def given() -> Iterator[Given]:
    made = Given()
    yield made
    for function, name in (("operator", "operator"), ("pool", "pool"), ("litert", "kernels")):
        made.call(f"mfedge_{function}_destroy", {name: made.values[name]})


def test_the_headers_are_read_whole() -> None:
    text = "".join(header.read_text() for header in HEADERS.values())
    assert len(FUNCTIONS) == len(re.findall(r"^MFEDGE_API ", text, re.M)) > 15
    assert len(CASES) > 30


@pytest.mark.parametrize(("function", "pointer"), CASES, ids=[f"{case[0].name}-{case[1]}" for case in CASES])
def test_null_in_the_place_of_a_pointer(function: Function, pointer: str, given: Given) -> None:
    arguments = given.arguments(function.name) if "destroy" not in function.name else {pointer: None}
    arguments[pointer] = None
    if pointer in ALLOWED and function.result == "int":
        assert given.call(function.name, arguments) == OK
    elif pointer in ALLOWED:
        delegate = given.call(function.name, arguments)
        assert delegate is not None
        given.call("tflite_plugin_destroy_delegate", {"delegate": c_void_p(delegate)})
    elif function.result == "int":
        given.refused(function, arguments, f"{pointer}: expected an address, found NULL")
    else:
        assert not given.call(function.name, arguments)  # 0, NULL, or nothing: void


@pytest.mark.parametrize("name", SHAPES)
def test_data_that_is_null(name: str, given: Given) -> None:
    (run,) = [each for each in FUNCTIONS if each.name == "mfedge_operator_run"]
    for i, tensor in enumerate(given.values[name]):
        at, tensor.data = tensor.data, None
        given.refused(run, given.arguments(run.name), f"{name[:-1]} {i}: expected data, found NULL")
        tensor.data = at
    assert given.call(run.name, given.arguments(run.name)) == OK


def test_an_output_between_floats(given: Given) -> None:
    (run,) = [each for each in FUNCTIONS if each.name == "mfedge_operator_run"]
    (output,) = given.values["outputs"]
    at, expected = output.data, "output 0: expected data at a multiple of 4 bytes, found an address between"
    for shift in (1, 2, 3):
        output.data = at + shift
        given.refused(run, given.arguments(run.name), expected)
    output.data = at


def test_a_function_of_litert_that_is_null(given: Given) -> None:
    for missing in range(4):
        functions = (c_void_p * 4)(*[None if i == missing else cast(NO_ERROR, c_void_p) for i in range(4)])
        assert given.call("mfedge_litert_create", {"functions": byref(functions)}) is None


def test_weights_lie_anywhere(given: Given) -> None:
    """A model file may have them at odd offsets; test_hostile.cpp has what is computed from them."""
    for name in ("weights", "matrices"):
        created = c_void_p()
        arguments = given.arguments("mfedge_operator_create") | {"created": byref(created)}
        arguments[name] = c_void_p(arguments[name].value + 1)
        assert given.call("mfedge_operator_create", arguments) == OK
        given.call("mfedge_operator_destroy", {"operator": created})
