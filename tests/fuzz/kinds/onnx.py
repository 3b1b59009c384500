"""ONNX files, portable and native: fields of the protobuf, and what such a graph can be made to ask for."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper

from tests.fuzz import octets, values
from tests.fuzz.kinds import models

OPERATORS = (
    "Conv", "MatMul", "Loop", "If", "Scan", "Reshape", "Expand", "Tile", "Resize", "Pad", "ConstantOfShape", "Range",
    "Gather", "Slice", "Split", "Concat", "Identity", "Constant", "Shape", "NonZero", "TopK", "Einsum", "Gemm",
    "Transpose", "BatchNormalization", "QLinearConv", "Cast", "Block", "Stem", "Head", "Tokens", "SequenceConstruct",
)  # fmt: skip
CPP_INTEGERS = {
    1: (64, True),
    2: (32, True),
    3: (64, False),
    4: (32, False),
    8: (32, True),
}  # of FieldDescriptor.cpp_type


def change(place: Path, generator: random.Random) -> str:
    """Change the model of an artifact's folder; what was done."""
    path = place / "model.onnx"
    if generator.random() < 0.15:
        path.write_bytes(octets.changed(path.read_bytes(), generator))
        return "bytes"
    model = onnx.load(path)
    done = []
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        action = generator.choice(ACTIONS)
        done.append(action.__name__.strip("_"))
        action(model, generator, place)
    path.write_bytes(model.SerializeToString())
    return ", ".join(done)


def _field(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """Any field of any message."""
    message = generator.choice(list(_messages(model)))
    field = generator.choice(list(message.DESCRIPTOR.fields))
    many = field.is_repeated
    if field.type == field.TYPE_MESSAGE:
        if many:
            items = getattr(message, field.name)
            choice = generator.randrange(4)
            if choice == 0 and items:
                del items[generator.randrange(len(items))]
            elif choice == 1 and items:
                items.add().CopyFrom(items[generator.randrange(len(items))])
            elif choice == 2:
                items.add()
            elif items:
                items[generator.randrange(len(items))].Clear()
        else:
            others = [other for other in _messages(model) if other.DESCRIPTOR is field.message_type]
            message.ClearField(field.name)
            if others and generator.random() < 0.6:
                getattr(message, field.name).CopyFrom(generator.choice(others))
        return
    found = [_scalar(field, generator) for _ in range(generator.choice((0, 1, 1, 4, 100)) if many else 1)]
    if many:
        old = list(getattr(message, field.name))
        if old and generator.random() < 0.6:
            old[generator.randrange(len(old))] = _scalar(field, generator)
            found = old
        message.ClearField(field.name)
        getattr(message, field.name).extend(found)
    else:
        setattr(message, field.name, found[0])


def _scalar(field: Any, generator: random.Random) -> Any:
    if field.cpp_type in CPP_INTEGERS:
        return values.fitting(generator, *CPP_INTEGERS[field.cpp_type])
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return values.number(generator)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return generator.random() < 0.5
    text = values.text(generator).encode("utf-8", "replace")
    return text if field.type == field.TYPE_BYTES else text.decode()


def _messages(message: Message) -> Any:
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for child in value if field.is_repeated else (value,):
                yield from _messages(child)


def _rewired(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """An input of a node is another tensor: one that comes later, of another shape, or none."""
    names = [name for node in model.graph.node for name in (*node.input, *node.output)] + ["", "missing"]
    node = generator.choice(model.graph.node)
    side = node.input if generator.random() < 0.7 or not node.output else node.output
    if side:
        side[generator.randrange(len(side))] = generator.choice(names)


def _operator(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    node = generator.choice(model.graph.node)
    node.op_type = generator.choice((*OPERATORS, values.text(generator).encode("utf-8", "replace").decode()))
    if generator.random() < 0.3:
        node.domain = generator.choice(("", "mfedge", "com.microsoft", "ai.onnx.ml", "x"))


def _attribute(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """An attribute's value or length; of a native operator, one of its sizes."""
    nodes = [node for node in model.graph.node if node.attribute]
    attribute = generator.choice(generator.choice(nodes).attribute)
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = generator.choice((attribute.i + 1, attribute.i * 2, values.fitting(generator, 64, True)))
    elif attribute.ints:
        attribute.ints[generator.randrange(len(attribute.ints))] = values.fitting(generator, 64, True)
    else:
        attribute.f = values.number(generator)


def _weights(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """Shape, type, bytes and place of an initializer."""
    tensor = generator.choice(model.graph.initializer)
    choice = generator.randrange(6)
    if choice == 0 and tensor.dims:
        tensor.dims[generator.randrange(len(tensor.dims))] = values.fitting(generator, 64, True)
    elif choice == 1:
        tensor.data_type = generator.randrange(25)
    elif choice == 2:
        tensor.raw_data = octets.changed(tensor.raw_data, generator)
    elif choice == 3:
        tensor.raw_data = generator.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f")) * (
            len(tensor.raw_data) // 4
        )
    elif choice == 4:
        tensor.dims.extend([1] * generator.choice((1, 8, 300)))
    else:
        (place / "w.data").write_bytes(tensor.raw_data)
        location = generator.choice(
            ("w.data", "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "", "w.data\0", "manifest.json")
        )
        tensor.data_location = TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        found = {
            "location": location,
            "offset": str(values.integer(generator)),
            "length": str(values.integer(generator)),
        }
        for key in generator.sample(sorted(found), generator.randint(1, 3)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, found[key]


def _shape(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """The shape or type of the input or the output."""
    value = generator.choice([*model.graph.input, *model.graph.output, *model.graph.value_info])
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    choice = generator.randrange(5)
    if choice == 0 or not dims:
        tensor.elem_type = generator.randrange(25)
    elif choice == 1:
        dims[generator.randrange(len(dims))].dim_param = "N"
    elif choice == 2:
        dims.add().dim_value = values.fitting(generator, 64, True)
    else:
        dims[generator.randrange(len(dims))].dim_value = values.fitting(generator, 64, True)


def _loop(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """A subgraph that is run for ever, or in itself."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, []),
         helper.make_tensor_value_info("x", 1, None)],
        [helper.make_tensor_value_info("d", 9, []), helper.make_tensor_value_info("y", 1, None)],
    )  # fmt: skip
    trips = helper.make_tensor("trips", 7, [], [values.fitting(generator, 63, False)])
    true = helper.make_tensor("true", 9, [], [True])
    model.graph.initializer.extend([trips, true])
    first = model.graph.input[0].name
    node = helper.make_node("Loop", ["trips", "true", first], ["looped"], body=body)
    for _ in range(generator.choice((0, 0, 3, 25))):
        inner = helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=body)
        del body.node[1:]
        body.node.append(inner)
        node = helper.make_node("Loop", ["trips", "true", first], ["looped"], body=body)
    for other in model.graph.node:
        for k, name in enumerate(other.input):
            if name == first:
                other.input[k] = "looped"
    model.graph.node.insert(0, node)


def _functions(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """Functions that call each other twice, or themselves."""
    levels = generator.choice((1, 12, 40))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    for level in range(levels):
        inner = f"f{level + 1 if level + 1 < levels or generator.random() < 0.2 else 0}"
        last = level + 1 == levels and inner != "f0"
        twice = [helper.make_node(inner, [a], [b], domain="local") for a, b in ("xy", "yz")]
        nodes = [helper.make_node("Identity", ["x"], ["z"])] if last else twice
        model.functions.append(helper.make_function("local", f"f{level}", ["x"], ["z"], nodes, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    first = model.graph.input[0].name
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            if name == first:
                node.input[k] = "called"
    model.graph.node.insert(0, helper.make_node("f0", [first], ["called"], domain="local"))


def _chain(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """Nodes in a row, all of one name or of nasty ones."""
    last = model.graph.output[0].name
    for i in range(generator.choice((10, 2_000, 20_000))):
        node = model.graph.node.add()
        node.op_type = "Identity"
        node.input.append(last)
        last = f"chain{i}"
        node.output.append(last)
        node.name = generator.choice(
            ("", "same", "x" * 100, values.text(generator).encode("utf-8", "replace").decode())
        )
    model.graph.output[0].name = last


def _version(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    if generator.random() < 0.5 and model.opset_import:
        generator.choice(model.opset_import).version = values.fitting(generator, 64, True)
    else:
        model.ir_version = values.fitting(generator, 64, True)


def _twice(model: onnx.ModelProto, generator: random.Random, place: Path) -> None:
    """A node, input, output or weight that comes twice, or in another order."""
    items = generator.choice((model.graph.node, model.graph.input, model.graph.output, model.graph.initializer))
    if not items:
        return
    if generator.random() < 0.5:
        items.add().CopyFrom(items[generator.randrange(len(items))])
    else:
        i, k = generator.randrange(len(items)), generator.randrange(len(items))
        first = type(items[i])()
        first.CopyFrom(items[i])
        items[i].CopyFrom(items[k])
        items[k].CopyFrom(first)


ACTIONS = (
    _field, _field, _field, _rewired, _rewired, _operator, _attribute, _attribute, _weights, _weights, _shape, _shape,
    _loop, _functions, _chain, _version, _twice,
)  # fmt: skip


MODULES = ("onnx", "onnxruntime", "mfedge.runtimes.onnxruntime", "mfedge.formats.onnx.read")
KINDS = models.kinds("onnx", "model.onnx", change, MODULES)
