"""TFLite files, portable and native: every field of the flatbuffer, by its own schema."""

from __future__ import annotations

import copy
import random
import struct
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mfedge.formats.tflite.fused import MAGIC
from tests.fuzz import octets, values
from tests.fuzz.kinds import models

IDENTIFIER = b"TFL3"


def change(place: Path, generator: random.Random) -> str:
    """Change the model of an artifact's folder; what was done."""
    path = place / "model.tflite"
    data = path.read_bytes()
    if generator.random() < 0.25:
        path.write_bytes(octets.changed(data, generator))
        return "bytes"
    for _ in range(20):  # a change that finds nothing to change, or that the builder cannot write, is none
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        done = []
        try:
            for _ in range(generator.choice((1, 1, 1, 2, 3))):
                action = generator.choice(ACTIONS)
                done.append(action.__name__.strip("_"))
                action(model, generator)
            builder = flatbuffers.Builder(len(data))
            builder.Finish(model.Pack(builder), IDENTIFIER)
        except (TypeError, ValueError, AttributeError, LookupError, struct.error, OverflowError, AssertionError):
            continue
        path.write_bytes(bytes(builder.Output()))
        return ", ".join(done)
    path.write_bytes(octets.changed(data, generator))
    return "bytes"


def _field(model: Any, generator: random.Random) -> None:
    """Any field of any table."""
    table = generator.choice([table for table in _tables(model) if vars(table)])
    name = generator.choice(sorted(vars(table)))
    old = getattr(table, name)
    if isinstance(old, bool):
        new: Any = not old
    elif isinstance(old, int):
        small = generator.choice((old + 1, old - 1, -1, 0, 1, generator.randrange(256), 127))
        new = small if generator.random() < 0.6 else values.fitting(generator, 32, True)
    elif isinstance(old, float):
        new = values.number(generator)
    elif isinstance(old, bytes):
        new = (
            octets.changed(old, generator)
            if generator.random() < 0.5
            else values.text(generator).encode("utf-8", "replace")
        )
    elif isinstance(old, np.ndarray):
        new = _array(old, generator)
    elif isinstance(old, list) and old:
        new = list(old)
        i, k = generator.randrange(len(new)), generator.randrange(len(new))
        choice = generator.randrange(4)
        if choice == 0:
            del new[i]
        elif choice == 1:
            new.insert(i, copy.deepcopy(new[k]))
        elif choice == 2:
            new[i], new[k] = new[k], new[i]
        else:
            new = new[:i]
    else:
        new = None
    setattr(table, name, new)


def _array(old: np.ndarray[Any, Any], generator: random.Random) -> np.ndarray[Any, Any]:
    new = old.copy()
    choice = generator.randrange(5)
    if choice == 0 or not new.size:
        return np.concatenate([new, new])
    if choice == 1:
        return new[: generator.randrange(new.size)]
    if new.dtype.kind == "u" and new.itemsize == 1:  # a buffer's bytes
        return np.frombuffer(octets.changed(new.tobytes(), generator), np.uint8)
    bits = 8 * new.itemsize
    new[generator.randrange(new.size)] = (
        values.fitting(generator, bits, True) if choice < 4 else generator.choice((-1, 0, 2))
    )
    return new


def _tables(table: Any) -> Any:
    yield table
    for value in vars(table).values():
        for child in value if isinstance(value, list) else (value,):
            if type(child).__name__.endswith("T") and hasattr(child, "__dict__"):
                yield from _tables(child)


def _operators(model: Any) -> list[Any]:
    return [operator for graph in model.subgraphs or [] for operator in graph.operators or []]


def _rewired(model: Any, generator: random.Random) -> None:
    """An operator reads or writes another tensor: its own output, one that comes later, none at all."""
    operators = _operators(model)
    if not operators:
        return
    operator = generator.choice(operators)
    side = generator.choice(("inputs", "inputs", "outputs"))
    found = getattr(operator, side)
    if found is None or not len(found):
        return
    count = len(model.subgraphs[0].tensors or [])
    found = np.array(found, np.int32)
    found[generator.randrange(len(found))] = generator.choice(
        (generator.randrange(max(1, count)), -1, count, 2**31 - 1, -2)
    )
    setattr(operator, side, found)


def _operator(model: Any, generator: random.Random) -> None:
    """An operator that is another one, comes twice, or not at all."""
    operators = model.subgraphs[0].operators if model.subgraphs else None
    if not operators:
        return
    i = generator.randrange(len(operators))
    choice = generator.randrange(4)
    if choice == 0:
        operators.insert(generator.randrange(len(operators)), operators[i])
    elif choice == 1:
        operators[i].opcodeIndex = generator.randrange(len(model.operatorCodes or [0]) + 1)
    elif choice == 2:
        code = generator.choice(model.operatorCodes)
        code.builtinCode = code.deprecatedBuiltinCode = generator.randrange(128)
        code.version = generator.choice((0, 1, 2, 5, 99))
    else:
        del operators[i]


def _tensor(model: Any, generator: random.Random) -> None:
    """Shape, type, buffer or name of a tensor."""
    tensor = generator.choice(model.subgraphs[0].tensors) if model.subgraphs and model.subgraphs[0].tensors else None
    if tensor is None:
        return
    choice = generator.randrange(5)
    if choice == 0:
        tensor.shape = np.array(
            [generator.choice((0, 1, -1, 3, 65536, 2**31 - 1)) for _ in range(generator.randrange(7))], np.int32
        )
    elif choice == 1:
        tensor.type = generator.randrange(20)
    elif choice == 2:
        tensor.buffer = generator.choice(
            (0, 1, len(model.buffers or []), 2**31, generator.randrange(len(model.buffers or [0])))
        )
    elif choice == 3:
        tensor.name = values.text(generator).encode("utf-8", "replace")
    elif tensor.shape is not None and len(tensor.shape):
        shape = np.array(tensor.shape, np.int32)
        shape[generator.randrange(len(shape))] = generator.choice((0, 1, -1, 7, 2**16, 2**31 - 1, 40_000))
        tensor.shape = shape


def _options(model: Any, generator: random.Random) -> None:
    """The integers of a native operator's options."""
    native = [
        operator for operator in _operators(model) if operator.customOptions is not None and len(operator.customOptions)
    ]
    if not native:
        return _field(model, generator)
    operator = generator.choice(native)
    data = bytearray(bytes(bytearray(operator.customOptions)))
    at = len(MAGIC) + 4 * generator.randrange(max(1, (len(data) - len(MAGIC)) // 4))
    choice = generator.randrange(4)
    if choice < 3 and at + 4 <= len(data):
        (old,) = struct.unpack_from("<i", data, at)
        new = generator.choice((old + 1, old * 2, 0, -1, values.fitting(generator, 32, True)))
        struct.pack_into("<i", data, at, max(-(2**31), min(2**31 - 1, new)))
    else:
        data = bytearray(octets.changed(bytes(data), generator))
    operator.customOptions = np.frombuffer(bytes(data), np.uint8)


def _signature(model: Any, generator: random.Random) -> None:
    """Signatures: none, two, of tensors that are not there."""
    defs = model.signatureDefs
    choice = generator.randrange(4)
    if choice == 0 or not defs:
        model.signatureDefs = None
    elif choice == 1:
        defs.append(copy.deepcopy(defs[0]))
    elif choice == 2:
        defs[0].subgraphIndex = generator.choice((1, 2**31, 99))
    else:
        maps = [*(defs[0].inputs or []), *(defs[0].outputs or [])]
        if maps:
            generator.choice(maps).tensorIndex = generator.choice((0, 5, 10**6, 2**32 - 1))


def _subgraph(model: Any, generator: random.Random) -> None:
    """One more subgraph, which an operator may call; or none."""
    if generator.random() < 0.2:
        model.subgraphs = model.subgraphs[1:]
        return
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    code = schema.OperatorCodeT()
    code.builtinCode = generator.choice(
        (schema.BuiltinOperator.WHILE, schema.BuiltinOperator.IF, schema.BuiltinOperator.CALL_ONCE)
    )
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
    model.operatorCodes.append(code)
    graph, called = model.subgraphs[0], schema.OperatorT()
    called.opcodeIndex = len(model.operatorCodes) - 1
    called.inputs, called.outputs = graph.inputs, graph.inputs if generator.random() < 0.5 else graph.outputs
    options = {
        schema.BuiltinOperator.WHILE: (schema.BuiltinOptions.WhileOptions, schema.WhileOptionsT),
        schema.BuiltinOperator.IF: (schema.BuiltinOptions.IfOptions, schema.IfOptionsT),
        schema.BuiltinOperator.CALL_ONCE: (schema.BuiltinOptions.CallOnceOptions, schema.CallOnceOptionsT),
    }[code.builtinCode]
    called.builtinOptionsType, called.builtinOptions = options[0], options[1]()
    for name in vars(called.builtinOptions):
        setattr(called.builtinOptions, name, generator.choice((0, 1, 2, -1)))
    graph.operators.insert(generator.randrange(len(graph.operators) + 1), called)


ACTIONS = (
    _field, _field, _field, _rewired, _rewired, _operator, _operator, _tensor, _tensor, _options, _signature, _subgraph,
)  # fmt: skip
MODULES = (
    "ai_edge_litert.interpreter",
    "ai_edge_litert.schema_py_generated",
    "mfedge.runtimes.litert",
    "mfedge.formats.tflite.read",
)
KINDS = models.kinds("tflite", "model.tflite", change, MODULES)
