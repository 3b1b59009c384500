"""Stored JSON: what is one line, that nothing is lost, and that the repository's own files are written so."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfedge.bench import stored

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILES = sorted(BENCHMARKS.rglob("*.json"))

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def test_samples_and_visits_are_one_line_each() -> None:
    visits = [{"round": i, "seconds": [0.25, 1e-7]} for i in range(2)]
    value = {"schema": "x/1", "size": {"height": 224}, "pinned": [1, 2], "cases": [{"visits": visits}], "none": {}}
    assert stored.encode(value).decode() == (
        '{\n "schema": "x/1",\n "size": {\n  "height": 224\n },\n "pinned": [1, 2],\n "cases": [\n  {\n   "visits": [\n'
        '    {"round": 0, "seconds": [0.25, 1e-7]},\n    {"round": 1, "seconds": [0.25, 1e-7]}\n   ]\n  }\n ],\n'
        ' "none": {}\n}\n'
    )


@given(values)
def test_nothing_is_lost(value: object) -> None:
    encoded = stored.encode(value)
    assert msgspec.json.decode(encoded) == msgspec.json.decode(msgspec.json.encode(value))
    assert stored.encode(msgspec.json.decode(encoded)) == encoded


def test_brackets_in_a_string_are_text() -> None:
    assert stored.encode({"a": "[{\n", "b": [["]", ","]]}) == b'{\n "a": "[{\\n",\n "b": [\n  ["]", ","]\n ]\n}\n'


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(BENCHMARKS).as_posix())
def test_the_repository_s_results_are_written_so(path: Path) -> None:
    data = path.read_bytes()
    assert data == stored.encode(msgspec.json.decode(data))
