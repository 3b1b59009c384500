"""OpenVINO IR, portable and native: layers, ports, edges and constants of the XML, and the weights beside it."""

from __future__ import annotations

import copy
import random
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.fuzz import octets, values
from tests.fuzz.kinds import models

TYPES = (
    "Parameter", "Result", "Const", "Assign", "ReadValue", "Convolution", "MatMul", "Reshape", "Loop", "If",
    "TensorIterator", "ShapeOf", "Gather", "Transpose", "StridedSlice", "Broadcast", "Tile", "Pad", "NonZero", "Add",
    "Block", "Stem", "Head",
)  # fmt: skip
ELEMENTS = (
    "f32",
    "f16",
    "bf16",
    "f64",
    "i4",
    "i8",
    "i64",
    "u1",
    "u8",
    "boolean",
    "string",
    "dynamic",
    "undefined",
    "nf4",
    "x",
)
ENTITY = '<!DOCTYPE net [<!ENTITY a "{}">{}]>\n'


def change(place: Path, generator: random.Random) -> str:
    """Change the model of an artifact's folder; what was done."""
    path, weights = place / "model.xml", place / "model.bin"
    choice = generator.random()
    if choice < 0.1:
        path.write_bytes(octets.changed(path.read_bytes(), generator))
        return "bytes"
    if choice < 0.18:
        weights.write_bytes(octets.changed(weights.read_bytes(), generator))
        return "bytes of the weights"
    if choice < 0.22:
        path.write_text(_entities(generator) + path.read_text().partition("?>")[2], "utf-8")
        return "entities"
    net = ET.fromstring(path.read_bytes())
    done = []
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        action = generator.choice(ACTIONS)
        done.append(action.__name__.strip("_"))
        action(net, generator)
    text = ET.tostring(net, encoding="unicode", xml_declaration=False)
    path.write_bytes(b'<?xml version="1.0"?>\n' + text.encode("utf-8", "surrogatepass"))
    return ", ".join(done)


def _layers(net: ET.Element) -> list[ET.Element]:
    return list(net.iter("layer"))


def _word(generator: random.Random, old: str) -> str:
    """Another value of an attribute or dimension."""
    choice = generator.randrange(6)
    if choice == 0 and old.lstrip("-").isdigit():
        return str(generator.choice((int(old) + 1, int(old) * 2, -int(old))))
    if choice < 3:
        return str(values.integer(generator))
    if choice == 3:
        return ",".join(str(values.integer(generator)) for _ in range(generator.choice((1, 2, 4, 100))))
    return values.text(generator) if choice == 4 else str(values.number(generator))


def _attribute(net: ET.Element, generator: random.Random) -> None:
    """Any attribute of any element."""
    element = generator.choice([element for element in net.iter() if element.attrib])
    name = generator.choice(sorted(element.attrib))
    choice = generator.randrange(8)
    if choice == 0:
        del element.attrib[name]
    elif choice == 1:
        element.attrib[values.text(generator).encode("ascii", "ignore").decode().strip("\0 /<>=\"'\n\r\t\v") or "x"] = (
            "1"
        )
    else:
        element.attrib[name] = _word(generator, element.attrib[name])


def _data(net: ET.Element, generator: random.Random) -> None:
    """What an operator is configured with; of a constant, its type, shape, offset and size."""
    element = generator.choice(list(net.iter("data")))
    name = generator.choice(sorted(element.attrib) or ["x"])
    if name in ("element_type", "destination_type"):
        element.attrib[name] = generator.choice(ELEMENTS)
    else:
        element.attrib[name] = _word(generator, element.attrib.get(name, ""))


def _dimension(net: ET.Element, generator: random.Random) -> None:
    """A dimension of a port: what inference is to find again."""
    dims = list(net.iter("dim"))
    generator.choice(dims).text = _word(generator, "1") if generator.random() < 0.7 else "-1"


def _element(net: ET.Element, generator: random.Random) -> None:
    """An element left out, doubled or moved."""
    parents = [parent for parent in net.iter() if len(parent)]
    parent = generator.choice(parents)
    child = parent[generator.randrange(len(parent))]
    choice = generator.randrange(3)
    if choice == 0:
        parent.remove(child)
    elif choice == 1:
        parent.insert(generator.randrange(len(parent)), copy.deepcopy(child))
    else:
        generator.choice(parents).append(copy.deepcopy(child))


def _edge(net: ET.Element, generator: random.Random) -> None:
    """An edge from or to another port."""
    edges = list(net.iter("edge"))
    edge, other = generator.choice(edges), generator.choice(edges)
    for name in generator.sample(("from-layer", "from-port", "to-layer", "to-port"), generator.randint(1, 2)):
        edge.attrib[name] = other.attrib.get(name, "0") if generator.random() < 0.8 else _word(generator, "0")


def _type(net: ET.Element, generator: random.Random) -> None:
    """Another operator with the ports of this one."""
    layer = generator.choice(_layers(net))
    layer.attrib["type"] = generator.choice(TYPES)
    if generator.random() < 0.3:
        layer.attrib["version"] = generator.choice(("opset1", "opset6", "opset13", "mfedge", "extension", "x"))


def _name(net: ET.Element, generator: random.Random) -> None:
    layers = _layers(net)
    layer = generator.choice(layers)
    key = generator.choice(("id", "name"))
    layer.attrib[key] = (
        values.text(generator) if generator.random() < 0.6 else generator.choice(layers).attrib.get(key, "")
    )


def _weight(net: ET.Element, generator: random.Random) -> None:
    """A constant at another place, of another type or shape."""
    constants = [layer.find("data") for layer in _layers(net) if layer.attrib.get("type") == "Const"]
    data = generator.choice([data for data in constants if data is not None] or [ET.Element("data")])
    name = generator.choice(("offset", "size", "shape", "element_type"))
    if name == "element_type":
        data.attrib[name] = generator.choice(ELEMENTS)
    elif name == "shape":
        data.attrib[name] = generator.choice(("", "0", "-1", "1,1,1", "99999999999", "65536,65536,65536", "2147483648"))
    else:
        old = int(data.attrib.get(name, "0")) if data.attrib.get(name, "0").isdigit() else 0
        data.attrib[name] = str(
            generator.choice((old + 1, old + 2, 13_343, 0, -1, 2**63, 2**64 - 4, values.integer(generator)))
        )


def _nested(net: ET.Element, generator: random.Random) -> None:
    """Elements in each other, many or deep."""
    inner = ET.Element("layer", {"id": "7", "name": "x", "type": "Const"})
    for _ in range(generator.choice((10, 500))):
        outer = ET.Element(generator.choice(("layer", "body", "net", "port_map")))
        outer.append(inner)
        inner = outer
    generator.choice(list(net.iter())).append(inner)


def _entities(generator: random.Random) -> str:
    head = '<?xml version="1.0"?>\n'
    if generator.random() < 0.5:
        return head + ENTITY.format("x", '<!ENTITY b SYSTEM "file:///etc/passwd">')
    levels = "".join(f'<!ENTITY a{i} "&a{i - 1};&a{i - 1};&a{i - 1};">' for i in range(1, 30))
    return head + ENTITY.format("x" * 10, '<!ENTITY a0 "xxxxxxxxxx">' + levels)


ACTIONS = (
    _attribute, _attribute, _data, _data, _data, _dimension, _dimension, _element, _edge, _edge, _type, _name, _weight,
    _weight, _nested,
)  # fmt: skip
MODULES = ("openvino", "mfedge.runtimes.openvino", "mfedge.formats.openvino.read")
KINDS = models.kinds("openvino", "model.xml", change, MODULES)
