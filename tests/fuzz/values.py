"""Values that no writer would write, and trees of JSON or TOML with such values in them."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from tests.support.nasty import nasty

DEPTH = 100_000
INTEGERS = (
    -1, 0, 1, 2, 3, 7, 31, 255, 256, 4096, 4097, 65_535, 65_536, 200_000_000,
    2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**40,
)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, 1.5, -1.0, 1e-45, 1e-300, 1e10, 1e39, 1e300, float("nan"), float("inf"), float("-inf"))
TEXTS = (
    "", ".", "..", "/", "../../etc/passwd", "/etc/passwd", "model.onnx", "a/b", "\0", "con", "x" * 300, "x" * 5_000,
    "%s%n", "{0}", "NaN", "1", "True", "\\", "-", "--json", "~", "$HOME", "onnx", "tflite", "openvino", "native",
)  # fmt: skip


class Raw(str):
    """Text that is written as it stands, in the place of a value."""


RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "01", "1" * 5_000, "0." + "3" * 5_000, "-", "+1",
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\x01"', "'x'", "nul", "0x" + "f" * 5_000, "{}", "[]", "[[]]", "{",
    "]", "",
    "[" * DEPTH + "]" * DEPTH, '{"a":' * DEPTH + "1" + "}" * DEPTH, "[" + "0," * DEPTH + "0]",
)  # fmt: skip


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may come twice."""


def integer(generator: random.Random) -> int:
    if generator.random() < 0.2:
        return generator.randint(-(2**63), 2**63 - 1)
    return generator.choice(INTEGERS)


def fitting(generator: random.Random, bits: int, signed: bool) -> int:
    """An integer that a field of so many bits takes."""
    value = integer(generator) & ((1 << bits) - 1)
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def number(generator: random.Random) -> float:
    return generator.choice(FLOATS)


def text(generator: random.Random) -> str:
    return generator.choice(TEXTS) if generator.random() < 0.5 else nasty(generator)


def value(generator: random.Random) -> Any:
    """Of any type."""
    kind = generator.randrange(8)
    if kind < 2:
        return integer(generator)
    if kind == 2:
        return number(generator)
    if kind < 5:
        return text(generator)
    if kind == 5:
        return generator.choice((None, True, False))
    if kind == 6:
        return generator.choice(([], {}, [None], [0] * 1000, {"a": {}}, [[[]]], {"": 1}, [1, "a", None, {}]))
    return Raw(generator.choice(RAW))


def changed(tree: Any, generator: random.Random, most: int = 3, raw: bool = True) -> Any:
    """A copy of a tree with one to `most` changes.

    Args:
        tree: dicts, lists and scalars.
        generator: of what is changed.
        most: changes.
        raw: whether values may be `Raw`, which only a text can hold.
    """
    tree = copy.deepcopy(tree)
    for _ in range(generator.randint(1, most)):
        tree = _change(tree, generator, raw)
    return tree


def _change(tree: Any, generator: random.Random, raw: bool) -> Any:
    places = list(_places(tree))
    if not places or generator.random() < 0.01:
        return _value(generator, raw)
    parent, key = generator.choice(places)
    old = parent[key]
    choice = generator.randrange(12)
    if choice < 4:
        parent[key] = _value(generator, raw)
    elif choice < 6:
        parent[key] = _near(old, generator, raw)
    elif choice == 6:
        del parent[key]
    elif choice == 7 and isinstance(parent, dict):
        parent[text(generator)] = old if generator.random() < 0.5 else _value(generator, raw)
    elif choice == 8 and isinstance(parent, list):
        parent[key:key] = [copy.deepcopy(old) for _ in range(generator.choice((1, 2, 50)))]
    elif choice == 9:
        other, name = generator.choice(places)
        parent[key] = copy.deepcopy(other[name])
    elif choice == 10 and isinstance(parent, dict) and raw:
        parent[key] = Pairs([(str(key), old), (str(key), _value(generator, raw))])  # see `_members`
    else:
        parent[key] = generator.choice(([old], {"a": old}, [old] * 3, str(old)[:200]))
    return tree


def _near(old: Any, generator: random.Random, raw: bool) -> Any:
    """Another value of the same type: what a check of the type alone lets pass."""
    if isinstance(old, bool) or old is None:
        return not old
    if isinstance(old, int):
        return generator.choice((old + 1, old - 1, -old, old * 2, old * 1000, integer(generator)))
    if isinstance(old, float):
        return generator.choice((-old, old * 1e30, old * 1e-30, old + 1, number(generator) if raw else 1e300))
    if isinstance(old, str):
        return generator.choice((text(generator), old + text(generator), old[:-1], old.upper(), old * 20))
    if isinstance(old, list):
        return old[::-1] if generator.random() < 0.3 else old[: generator.randint(0, len(old))]
    return _value(generator, raw)


def _value(generator: random.Random, raw: bool) -> Any:
    while True:
        found = value(generator)
        if raw or not isinstance(found, Raw):
            return found


def _places(tree: Any) -> Any:
    """Every (container, key)."""
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield tree, key
            yield from _places(child)
    elif isinstance(tree, list) and not isinstance(tree, Pairs):
        for index, child in enumerate(tree):
            yield tree, index
            yield from _places(child)


def to_json(tree: Any) -> str:
    """JSON text, of `Raw` values and keys that come twice too."""
    if isinstance(tree, Raw):
        return str(tree)
    if isinstance(tree, dict):
        return "{" + ", ".join(_members(tree)) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(to_json, tree)) + "]"
    return json.dumps(tree)


def _members(tree: dict[str, Any]) -> list[str]:
    found = []
    for key, child in tree.items():
        pairs = child if isinstance(child, Pairs) else [(key, child)]
        found += [f"{json.dumps(str(name))}: {to_json(item)}" for name, item in pairs]
    return found


def to_toml(tree: Any, generator: random.Random) -> str:
    """TOML text. What TOML has no word for is written anyway, as somebody may."""
    if not isinstance(tree, dict):
        return _toml(tree)
    lines = []
    for key, child in tree.items():
        pairs = child if isinstance(child, Pairs) else [(key, child)]
        lines += [f"{_toml_key(str(name))} = {_toml(item)}" for name, item in pairs]
    if generator.random() < 0.02:
        lines.append(".".join(["a"] * generator.choice((100, 10_000, 200_000))) + " = 1")  # a table per dot
    return "".join(f"{line}\n" for line in lines)


def _toml(tree: Any) -> str:
    if isinstance(tree, Raw):
        return str(tree)
    if isinstance(tree, Pairs):
        return _toml(tree[-1][1])
    if isinstance(tree, dict):
        return "{ " + ", ".join(f"{_toml_key(str(key))} = {_toml(child)}" for key, child in tree.items()) + " }"
    if isinstance(tree, list):
        return "[" + ", ".join(map(_toml, tree)) + "]"
    if isinstance(tree, float):
        return repr(tree)
    return json.dumps(tree)


def _toml_key(key: str) -> str:
    return key if key and key.replace("_", "a").isalnum() and key.isascii() else json.dumps(key)
