"""The tables of operator kinds and of their configuration, `tables/*.inc`, as Python reads them.

The same files are included by the C++ kernels and bindings, so shapes and rules are said once for both. The
interpreters of the two languages in them follow below: the letters of a shape, and the rules of a configuration.
`kinds.inc` explains both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent / "tables"
# MFEDGE_PADDING_ROWS: rows of zeros below the pixels of every map between operators. Without them its channels often
# lie a power of two apart, where the lines that are worked on together share few of the cache's sets.
PADDING_ROWS = 1
CONSTANTS = {"NO_WEIGHTS": (), "VECTORS": ("weights",), "VECTORS_AND_MATRICES": ("weights", "matrices")}

Shape = Sequence[Any]  # of integers; of symbolic ones in a trace


class Port(NamedTuple):
    """An input or output: its name, and its shape in letters."""

    name: str
    letters: str
    other: str | None = None  # another shape that it may have


class Row(NamedTuple):
    """What kinds.inc says of one kind."""

    number: int
    name: str  # in model files: "Block"
    whole: bool  # a whole part of a network, with all of its sizes as attributes
    constants: tuple[str, ...]  # that come after the inputs: weights, matrices
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rules: str

    @property
    def matrices(self) -> int | None:
        """The position of its matrices among the inputs in model files; None if it has none."""
        return len(self.inputs) + self.constants.index("matrices") if "matrices" in self.constants else None


class Field(NamedTuple):
    """What fields.inc says of one integer of a configuration."""

    letter: str  # of a dimension of this size; " " is none
    lowest: int
    highest: int


def _rows() -> dict[str, Row]:
    """By the C name, "BLOCK"."""
    found = {}
    for text in re.findall(
        r"^MFEDGE_KIND\((.*?)\)$", (FOLDER / "kinds.inc").read_text("utf-8"), re.DOTALL | re.MULTILINE
    ):
        kind, number, name, attributes, constants, rest = re.split(r",\s*", text, maxsplit=5)
        inputs, outputs = (
            tuple(Port(*re.findall(r'"(\w+)"', port)) for port in re.findall(r"\{(.*?)\}", ports))
            for ports in re.findall(r"MFEDGE_LIST\((.*?)\)", rest)
        )
        rules = "".join(re.findall(r'"(.*?)"', rest[rest.rindex(")") :]))
        whole = attributes == "ALL_SIZES"
        found[kind] = Row(int(number), name, whole, CONSTANTS[constants], inputs, outputs, rules)
    return found


def _fields() -> dict[str, Field]:
    pattern = r"^MFEDGE_FIELD\((\w+), '(.)', (\d+), (\d+)\)"
    found = re.findall(pattern, (FOLDER / "fields.inc").read_text("utf-8"), re.MULTILINE)
    return {name: Field(letter, int(lowest), int(highest)) for name, letter, lowest, highest in found}


KINDS = _rows()
BY_NAME = {row.name: row for row in KINDS.values()}
FIELDS = _fields()


def broken_rule(row: Row, config: Mapping[str, int]) -> str | None:
    """The first of a kind's rules that a configuration breaks: the field, what is expected and what was found."""
    for word in row.rules.split():
        name, sign, other = re.fullmatch(r"(\w+)([|=]?)(\w*):?", word).groups()  # type: ignore[union-attr]  # ours
        value, field = config[name], FIELDS[name]
        if sign == "=":
            if value != int(other):
                return None
        elif sign == "|":
            if config[other] % value:
                return f"{name}: expected a divisor of {other} {config[other]}, found {value}"
        elif not field.lowest <= value <= field.highest:
            return f"{name}: expected {field.lowest} to {field.highest}, found {value}"
    return None


def halved(size: Any) -> Any:
    """The size after a 3×3 convolution of stride 2."""
    return (size - 1) // 2 + 1


class Letters:
    """The sizes that the letters of shapes stand for, in one operator."""

    def __init__(self, row: Row, config: Mapping[str, int]) -> None:
        """Those of a configuration that breaks no rule; the inputs' are learned from them."""
        self.stride = config["stride"]
        self.known: dict[str, Any] = {}
        if row.whole:
            self.known = {field.letter: config[name] for name, field in FIELDS.items() if field.letter != " "}
            self.known["S"] = 2 * config["expand"]
            self.known["T"] = 2 * (config["expand2"] if self.stride == 2 else config["expand"])

    def fit(self, port: Port, shape: Shape) -> Iterator[Any]:
        """Whether an input may have this shape: a truth for its rank and one per dimension, symbolic if the size is."""
        yield len(shape) == len(port.letters)
        for letter, size in zip(port.letters, shape, strict=True):
            if letter == "b":
                yield size == 1 or size == self.known["B"]
            elif letter == "P":
                yield size > PADDING_ROWS
            elif letter.isdigit():
                yield size == int(letter)
            elif letter in self.known:
                yield size == self.known[letter]

    def learn(self, port: Port, shape: Shape) -> None:
        """Keep the sizes of an input, whose rank is that of `port`. The first input with a letter decides."""
        for letter, size in zip(port.letters, shape, strict=True):
            if letter != "b":
                self.known.setdefault(letter, size)

    @property
    def pixels(self) -> tuple[Any, Any]:
        """Rows and columns of the map or image that comes in, without rows of padding."""
        rows = self.known["P"] - PADDING_ROWS if "P" in self.known else self.known["H"]
        return rows, self.known["W"]

    def shape(self, port: Port) -> tuple[Any, ...]:
        """The shape of an output."""
        return tuple(self.pixels_written(letter) if letter in "pwqv" else self.known[letter] for letter in port.letters)

    def pixels_written(self, letter: str) -> Any:
        """Rows (p, q) with their padding, or columns (w, v), after the operator's stride; q and v are halved before."""
        rows, columns = self.pixels
        size = rows if letter in "pq" else columns
        for _ in range((letter in "qv") + (self.stride == 2)):
            size = halved(size)
        return size + PADDING_ROWS if letter in "pq" else size

    def describe(self, port: Port) -> str:
        """The shape that an input has to have, "(B or 1, 16, H, W)": sizes where they are known."""
        unknown = {"b": "B or 1", "P": f"H + {PADDING_ROWS}"}
        sizes = (str(self.known.get(letter, unknown.get(letter, letter))) for letter in port.letters)
        return f"({', '.join(sizes)})"
