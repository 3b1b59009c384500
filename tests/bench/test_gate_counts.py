"""The gate that counts: what blocks, what is refused, and when time is asked as well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from mfedge.bench.cases import Case
from mfedge.bench.count import cores, schema, suite, tally
from mfedge.bench.count.blocks import Executed
from mfedge.bench.count.classes import CLASSES, Class, Instruction
from mfedge.bench.count.run import Measured
from mfedge.bench.count.schema import SCHEMA, Count, Counts, Row
from mfedge.bench.gate import counts
from mfedge.bench.gate.run import Gate
from mfedge.errors import ArtifactError, Exit, GateError, MfedgeError, UsageError
from mfedge.sizes import Size
from tests.bench.test_commands import code, run
from tests.bench.test_count_run import TOOLS
from tests.bench.test_figures import small

CORE = cores.read("avx2")
MILLION = 1_000_000


def rows(**parts: tuple[Class, int]) -> tuple[Row, ...]:
    """A row of each name: so many instructions of one class, of which one in a hundred misses the first cache."""
    return tally.rows(
        (
            (name, Executed(0, number, (number // 100, 0), Instruction(kind, 32)))
            for name, (kind, number) in parts.items()
        ),
        CORE,
    )


def counted(runtime: int, product: int, depthwise: int = 10 * MILLION, size: int = 224, model: str = "m") -> Count:
    """A native model: a runtime's instructions, and those of two functions of ours."""
    libraries = rows(libruntime=("load", runtime), libmfedge_litert=("multiply-add", product + depthwise))
    functions = rows(product=("multiply-add", product), depthwise=("multiply-add", depthwise))
    versions = {"qemu": "7.2", "litert": "2.3"}
    return Count(
        model, "litert", Size(size, size), "model.tflite", "0" * 64, "native", "avx2", MILLION, versions, (runtime,),
        libraries, functions,
    )  # fmt: skip


def stored(*made: Count) -> Counts:
    return Counts(SCHEMA, "made", "avx2", CORE, CLASSES, None, made)


def compare(before: Count, after: Count) -> dict[str, counts.CountLine]:
    return {line.part: line for line in counts.compare(stored(before), stored(after), 0.005, 0.001)}


def test_the_same_counts_have_two_totals_and_nothing_else() -> None:
    lines = compare(counted(MILLION, 20 * MILLION), counted(MILLION, 20 * MILLION))
    assert list(lines) == [counts.ALL, counts.OWN]
    assert not any(line.blocks for line in lines.values()) and not counts.moved(list(lines.values()))


def test_our_library_has_a_limit_of_its_own() -> None:
    """0.2 % more of our library are less than 0.5 % of all."""
    lines = compare(counted(MILLION, 20 * MILLION), counted(MILLION, 20 * MILLION + 60_000))
    assert not lines[counts.ALL].blocks and lines[counts.OWN].blocks
    assert lines["function product"].growth == pytest.approx(0.003)
    assert "function depthwise" not in lines and lines["class multiply-add"].candidate == 30 * MILLION + 60_000
    assert lines["function product"].misses == (200_000, 200_600)


def test_what_moves_from_one_function_to_another_is_listed_and_does_not_block() -> None:
    lines = compare(counted(MILLION, 20 * MILLION), counted(MILLION, 19 * MILLION, 11 * MILLION))
    assert set(lines) == {counts.ALL, counts.OWN, "function product", "function depthwise"}
    assert not any(line.blocks for line in lines.values())
    assert counts.moved(list(lines.values())) == {("litert", Size(224, 224))}


def test_a_function_that_is_new_grew_from_nothing_and_fewer_instructions_pass() -> None:
    before = counted(MILLION, 20 * MILLION)
    gone = replace(before, functions=tuple(row for row in before.functions if row.name != "depthwise"))
    assert compare(gone, before)["function depthwise"].growth == float("inf")
    assert compare(before, gone)["function depthwise"].candidate == 0
    less = compare(before, counted(MILLION, 10 * MILLION))
    assert not any(line.blocks for line in less.values()) and less[counts.OWN].growth == pytest.approx(-1 / 3)


def test_a_model_that_becomes_native_is_judged_by_all_instructions_alone() -> None:
    native = counted(MILLION, 20 * MILLION)
    portable = replace(native, libraries=rows(libruntime=("load", 40 * MILLION)), functions=())
    lines = compare(portable, native)
    assert lines[counts.OWN].limit is None and not lines[counts.ALL].blocks


@pytest.mark.parametrize("name", ["qemu", "litert"])
def test_counts_of_other_versions_are_refused(name: str) -> None:
    before, after = counted(MILLION, MILLION), counted(MILLION, MILLION)
    other = replace(before, versions={**before.versions, name: "1.0"})
    with pytest.raises(GateError, match=rf"found {name} 1\.0 and") as raised:
        compare(other, after)
    assert raised.value.exit_code is Exit.ENVIRONMENT
    assert compare(replace(before, versions={**before.versions, "compiler": "GCC"}), after), "a portable one has none"


def test_counts_of_another_core_are_refused() -> None:
    made = stored(counted(MILLION, MILLION))
    smaller = replace(CORE, caches=replace(CORE.caches, line=32))
    with pytest.raises(GateError, match="another description of it"):
        counts.compare(replace(made, core=smaller), made, 0.005, 0.001)


def test_stored_counts_are_found_by_runtime_and_size_and_among_several_models_by_name() -> None:
    cases = [Case("m", "litert", Size(side, side), "m.tflite", "0", 1) for side in (224, 512, 96)]
    one = stored(counted(1, 1, size=512, model="other"), counted(2, 2, size=224, model="other"))
    found, chosen = counts.matching(one, cases)
    assert [case.size.height for case in chosen] == [224, 512] and [c.size.height for c in found.counts] == [224, 512]
    several = stored(*one.counts, counted(3, 3, size=96))
    assert counts.matching(several, cases)[0].counts == several.counts[2:]
    with pytest.raises(UsageError, match=r"expected one of z in litert at 224.*; found other in litert at 512"):
        counts.matching(several, [replace(case, model="z") for case in cases])
    with pytest.raises(UsageError, match="found nothing"):
        counts.matching(stored(), cases)


class Emulated:
    """What the emulator would answer, by the name of the file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Measured | MfedgeError) -> None:
        self.answers, self.timed = answers, 0
        monkeypatch.setattr(suite, "measure", self.measure)
        monkeypatch.setattr(Gate, "run", self.time)

    def measure(self, cases: Sequence[Case], *_: object) -> list[Measured | MfedgeError]:
        return [self.answers[Path(case.path).stem] for case in cases]

    def time(self, *_: object) -> Any:
        self.timed += 1
        raise GateError(Exit.INCONCLUSIVE, "timed")


def answer(total: int, logit: float = 1.0) -> Measured:
    count = replace(counted(MILLION, total, size=64), runtime="onnxruntime")
    return Measured(count, {"logits": (0.0, logit)})


@pytest.mark.parametrize(
    ("candidate", "options", "expected", "timed"),
    [
        (answer(20 * MILLION), [], 0, 0),
        (answer(20 * MILLION), ["--time"], 3, 1),
        (answer(20 * MILLION + 20_000), [], 3, 1),
        (answer(20 * MILLION + 20_000), ["--figures-only"], 0, 0),
        (answer(21 * MILLION), [], 1, 0),
        (answer(21 * MILLION), ["--count-limit", "5%", "--library-limit", "5%"], 3, 1),
        (answer(20 * MILLION, logit=2.0), [], 5, 0),
        (ArtifactError("m: the counted process died of signal 11 (SIGSEGV)"), [], 6, 0),
    ],
    ids=["same", "asked for time", "moved", "no time", "grown", "allowed", "other outputs", "dead"],
)
def test_time_is_asked_where_the_counts_have_moved(
    candidate: Measured | MfedgeError, options: list[str], expected: int, timed: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("onnxruntime")
    before, after = (str(small(tmp_path / f"{name}.onnx")) for name in ("before", "after"))
    emulated = Emulated(monkeypatch, before=answer(20 * MILLION), after=candidate)
    outcome = run("gate", before, after, "--count", "--runtimes", "onnxruntime", "--sizes", "64", *options)
    assert (code(outcome), emulated.timed) == (expected, timed), outcome.output


@pytest.mark.skipif(bool(TOOLS), reason=f"not installed here: {', '.join(TOOLS)}")
def test_a_stored_baseline_needs_no_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("capstone")
    before, after = small(tmp_path / "before.onnx"), small(tmp_path / "after.onnx", extra=1)
    out = tmp_path / "out"
    assert code(run("count", str(before), "--on", "avx2", "--size", "64", "--output", str(out))) == 0
    baseline = str(out / "result.json")
    same = run("gate", baseline, str(before), "--count", "--json")
    assert code(same) == 0, same.output
    (line,) = json.loads(same.stdout)["counts"]
    assert abs(line["candidate"] / line["baseline"] - 1) < 1e-3, "a small model, so that Python's part is large"
    before.unlink()
    junit = tmp_path / "gate.xml"
    grown = run("gate", baseline, str(after), "--count", "--junit", str(junit))
    assert code(grown) == 1
    assert "onnxruntime at 64: all instructions grew from" in grown.stdout and "| library onnxruntime" in grown.stdout
    assert ElementTree.parse(junit).getroot().get("failures") == "1"
    assert code(run("gate", baseline, str(after), "--count", "--on", "cortex-a76")) == 2
    assert schema.read(Path(baseline)).counts[0].model == "before"
