"""The tables of kinds and fields say the same to C, C++ and Python, and the library that was built from them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfedge.kernels import find, kinds, layout, library
from mfedge.kernels.kinds import FIELDS, KINDS, PADDING_ROWS, Letters, broken_rule
from mfedge.kernels.layout import Config, Kind
from mfedge.kernels.library import TYPES, Operator, Type
from tests.kernels.build import SOURCES
from tests.kernels.strategies import configs

BUILT = pytest.mark.skipif(find.find("kernels") is None, reason="the native kernels are not built")
HEADER = (SOURCES / "include" / "mfedge_kernels.h").read_text()
WHOLE = [kind for kind in Kind if kind.row.whole]


def test_python_has_the_kinds_of_the_table() -> None:
    assert {kind.name: kind.value for kind in Kind} == {name: row.number for name, row in KINDS.items()}
    assert [row.number for row in KINDS.values()] == list(range(1, len(KINDS) + 1))
    assert len(kinds.BY_NAME) == len(KINDS)


def test_python_has_the_fields_of_the_table() -> None:
    assert list(FIELDS) == list(Config._fields)
    letters = [field.letter for field in FIELDS.values() if field.letter != " "]
    assert len(set(letters)) == len(letters)


def test_python_has_the_types_of_the_table() -> None:
    table = re.findall(
        r'^MFEDGE_TYPE\((\w+), (\d+), "(\w+)", (\d+)', (SOURCES / "tables" / "types.inc").read_text(), re.M
    )
    assert {name: int(number) for name, number, _, _ in table} == {member.name: member.value for member in Type}
    assert {(name, int(size)) for _, _, name, size in table} == {(dtype.name, dtype.itemsize) for dtype in TYPES}


def test_the_header_has_them_too() -> None:
    """The C++ sources hold it against the tables as they are compiled; this holds where nothing can be."""
    struct = re.search(r"typedef struct mfedge_config \{(.*?)\} mfedge_config;", HEADER, re.DOTALL)
    assert struct
    assert re.findall(r"int32_t (\w+);", struct[1]) == list(FIELDS)
    found = dict(re.findall(r"^  MFEDGE_(\w+) = (\d+),?$", HEADER, re.MULTILINE))
    assert found == {name: str(row.number) for name, row in KINDS.items()}
    assert re.findall(r"^#define MFEDGE_ABI_VERSION (\d+)", HEADER, re.MULTILINE) == [str(find.ABI)]
    assert re.findall(r"MFEDGE_PADDING_ROWS = (\d+)", HEADER) == [str(PADDING_ROWS)]
    limits = dict(re.findall(r"MFEDGE_MAX_(INPUTS|OUTPUTS) = (\d+)", HEADER))
    assert int(limits["INPUTS"]) == max(len(row.inputs) for row in KINDS.values())
    assert int(limits["OUTPUTS"]) == max(len(row.outputs) for row in KINDS.values()) == library.MAX_OUTPUTS


@pytest.mark.parametrize("name", KINDS)
def test_a_row_is_in_the_languages_that_it_is_written_in(name: str) -> None:
    row = KINDS[name]
    named: set[str] = set()
    for word in row.rules.split():
        left, sign, right = re.fullmatch(r"(\w+)([|=]?)(\w*):?", word).groups()
        assert left in FIELDS and (right in FIELDS if sign == "|" else True)
        assert not sign or {left, right if sign == "|" else left} <= named, "after both have been named: none is 0"
        named.add(left)
    sizes = {field.letter for field in FIELDS.values()} - {" "}
    for port in row.inputs:
        assert set(port.letters + (port.other or "")) <= sizes | set("BbHWP0123456789"), port
        assert len(set(port.letters)) == len(port.letters)
    learned = set("".join(port.letters for port in row.inputs))
    for port in row.outputs:
        needs = {"p": "P", "w": "W", "q": "H", "v": "W"}
        assert all(needs.get(letter, letter) in learned | sizes | set("ST") for letter in port.letters), port


def test_a_rule_that_is_broken_is_named() -> None:
    block = KINDS["BLOCK"]
    config = Config(8, 16, 12, 24, 2, 3, 12, 2, 4)._asdict()
    assert broken_rule(block, config) is None
    assert broken_rule(block, config | {"tokens": 17}) == "tokens: expected 1 to 16, found 17"
    assert broken_rule(block, config | {"heads": 5}) == "heads: expected a divisor of out_channels 12, found 5"
    assert broken_rule(block, config | {"expand": 20}) == "in_channels: expected a divisor of expand 20, found 8"
    assert broken_rule(block, config | {"expand": 20, "expand2": 0, "stride": 1}) is None, "of stride 2 alone"


def test_a_shape_is_described_by_the_sizes_that_are_known() -> None:
    row = KINDS["BLOCK"]
    letters = Letters(row, Config(8, 16, 12, stride=1, tokens=3, token_dim=12)._asdict())
    assert [letters.describe(port) for port in row.inputs] == ["(B, 8, H + 1, W)", "(B or 1, 3, 12)", "(B, 3, 8)"]
    letters.learn(row.inputs[0], (2, 8, 10, 7))
    assert letters.describe(row.inputs[2]) == "(2, 3, 8)" and letters.pixels == (9, 7)


@BUILT
@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(WHOLE))
def test_the_library_infers_the_same_shapes(data: st.DataObject, kind: Kind) -> None:
    """Of random inputs; what it computes from them is not looked at."""
    import numpy as np

    config = data.draw(configs(kind if kind is not Kind.TOKENS else Kind.BLOCK))
    weights, matrices = library.count_weights(kind, config)
    assert (weights, matrices) == (
        layout.count(layout.vectors(kind, config)),
        layout.count(layout.matrices(kind, config)),
    )
    operator = Operator(kind, config, np.zeros(weights, np.float32), np.zeros(matrices, np.float16))
    assert (operator.inputs, operator.outputs) == (len(kind.row.inputs), len(kind.row.outputs))
    known = {"B": data.draw(st.integers(1, 3)), "H": data.draw(st.integers(1, 40)), "W": data.draw(st.integers(1, 40))}
    known["P"] = known["H"] + PADDING_ROWS
    letters = Letters(kind.row, config._asdict())
    shapes = [
        tuple(
            int(letter) if letter.isdigit() else known.get(letter.upper(), letters.known.get(letter))
            for letter in port.letters
        )
        for port in kind.row.inputs
    ]
    outputs = operator.run(*(np.zeros(shape, np.float32) for shape in shapes))
    assert [value.shape for value in outputs] == layout.output_shapes(kind, config, *shapes)


def test_nothing_of_the_kernels_imports_torch() -> None:
    modules = sorted(path.stem for path in SOURCES.glob("*.py") if path.stem != "__init__")
    code = (
        f"import sys, importlib; [importlib.import_module('mfedge.kernels.' + name) for name in {modules}]; "
        "import mfedge.formats.fused_graph; print(sorted({'torch', 'mfedge.ops', 'mfedge.nn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
