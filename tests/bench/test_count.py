"""Cores, rows, bounds, names and what is stored: the parts of `mfedge count` that need no emulator."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mfedge import resources
from mfedge.bench.count import chart, cores, schema, suite, symbols, tables, tally
from mfedge.bench.count.blocks import Executed
from mfedge.bench.count.classes import CLASSES, Instruction
from mfedge.bench.count.run import Measured
from mfedge.bench.count.schema import SCHEMA, Count, Counts, Row
from mfedge.errors import MfedgeError, UsageError
from mfedge.runtimes.table import RUNTIMES
from mfedge.sizes import Size

A55, A76, AVX2 = (cores.read(name) for name in ("cortex-a55", "cortex-a76", "avx2"))
NAMES = resources.names("benchmarks/cores")


def row(core: cores.Core, *entries: tuple[int, Instruction]) -> Row:
    """The row of so many runs of each instruction."""
    (made,) = tally.rows((("code", Executed(0, runs, (2, 1), found)) for runs, found in entries), core)
    return made


def counts(*made: Count, core: str = "cortex-a76", reference: str | None = None) -> Counts:
    return Counts(SCHEMA, "made", core, cores.read(core), CLASSES, reference, made)


def count(model: str, total: int, runtime: str = "litert", side: int = 224, kernels: str = "portable") -> Count:
    """A count of as many multiply-adds on vectors."""
    library = row(A76, (total, Instruction("multiply-add", 16)))
    function = msgspec.structs.replace(library, name="multiply<6, 4> in product")
    return Count(
        model, runtime, Size(side, side), "model.tflite", "0" * 64, kernels, None, total, {"qemu": "7.2"}, (total,) * 3,
        (library,), (function,) if kernels == "native" else (),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_core_states_its_sources_and_has_a_pipe_for_what_matters(name: str) -> None:
    core = cores.read(name)
    assert all(source for source in core.sources)
    assert {"multiply-add", "vector", "load", "store", "scalar", "branch"} <= {
        k for pipe in core.pipes for k in pipe.bytes
    }
    assert core.caches.l1.kib < core.caches.l2.kib


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ('emulated = "cortex-a76"', "missing required field `emulated`"),
        ("midr = 0x414fd0b1", "expected midr"),
        ("ways = 4", "ways"),
        ("load = 16", "lod"),
        ("line = 64", "whole sets of lines"),
    ],
)
def test_a_file_that_is_no_core_is_refused(changed: str, said: str, tmp_path: Path) -> None:
    text = (resources.folder("benchmarks/cores") / "cortex-a76.toml").read_text()
    other = {"ways = 4": "ways = 0", "load = 16": "lod = 16", "line = 64": "line = 48"}.get(changed, "")
    assert changed in text
    (tmp_path / "mine.toml").write_text(
        text.replace(changed, other + " #", 1) if not other else text.replace(changed, other, 1)
    )
    with pytest.raises(UsageError, match=said):
        cores.read(str(tmp_path / "mine.toml"))


def test_an_unknown_core_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="--on m1: unknown; expected one of avx2, cortex-a55, cortex-a76, neoverse-n1"):
        cores.read("m1")


def test_the_bound_is_the_longest_need() -> None:
    """By hand, of the guides' numbers: two pipes of 16 bytes and four instructions per cycle on the large core."""
    multiply, load = Instruction("multiply-add", 16), Instruction("load", 16, 32, 0)
    store, add = Instruction("store", 16, 0, 16), Instruction("scalar")
    busy = row(A76, (1000, multiply), (100, load))
    assert schema.bound(busy, counts()) == schema.Bound(500.0, "vector")
    moving = row(A76, (100, multiply), (400, load), (100, store))
    assert schema.bound(moving, counts()) == schema.Bound((400 * 2 + 100 * 2) / 2, "load/store")
    looping = row(A76, (1000, multiply), (1400, add))
    assert schema.bound(looping, counts()) == schema.Bound(2400 / 4, "decoding")


def test_the_small_core_takes_both_pipes_for_a_wide_vector() -> None:
    found = row(
        A55,
        (300, Instruction("multiply-add", 16)),
        (300, Instruction("multiply-add", 8)),
        (10, Instruction("load", 16, 16)),
    )
    assert schema.bound(found, counts(core="cortex-a55")) == schema.Bound((600 + 300) / 2, "vector")
    loading = row(A55, (300, Instruction("load", 16, 32)))
    assert schema.bound(loading, counts(core="cortex-a55")) == schema.Bound(300 * 4.0, "load")


def test_an_operand_in_memory_uses_a_load_pipe_and_a_fused_branch_no_slot() -> None:
    found = row(
        AVX2, (800, Instruction("multiply-add", 32, 32)), (400, Instruction("branch")), (400, Instruction("scalar"))
    )
    assert found.uses == (800, 800, 800, 0, 800)
    assert schema.bound(found, counts(core="avx2")) == schema.Bound(400.0, "multiply-add")
    assert found.total == 1600 and found.misses == (6, 3)


def test_what_is_stored_is_read_back(tmp_path: Path) -> None:
    made = counts(count("a", 2_000_000), count("b", 1_000_000, kernels="native"), reference="b")
    (tmp_path / "counts.json").write_bytes(schema.encode(made))
    assert schema.read(tmp_path / "counts.json") == made
    assert schema.encode(schema.read(tmp_path / "counts.json")) == schema.encode(made)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"mfedge.count/1", b"mfedge.count/2", "written by a newer mfedge"),
        (b"mfedge.count/1", b"mfedge.bench/1", "found schema 'mfedge.bench/1'"),
        (b'"uses": [2000000, 0, 0, 0]', b'"uses": [2000000]', "code: expected .* numbers"),
        (b'"load"', b'"lod"', "Invalid enum value 'lod'"),
        (b'"counts"', b'"count"', "missing required field `counts`"),
    ],
)
def test_stored_counts_that_are_none_are_refused(old: bytes, new: bytes, said: str, tmp_path: Path) -> None:
    data = schema.encode(counts(count("a", 2_000_000)))
    assert old in data
    (tmp_path / "counts.json").write_bytes(data.replace(old, new))
    with pytest.raises(UsageError, match=said):
        schema.read(tmp_path / "counts.json")


def test_ratios_are_to_the_reference_in_the_same_runtime_at_the_same_size() -> None:
    made = counts(count("a", 3_000_000), count("b", 2_000_000), count("a", 9_000_000, "onnxruntime"), reference="b")
    shown = tables.cases(made)
    ratios = [line[shown.columns.index("/ reference")] for line in shown.rows]
    assert ratios == ["1.50", "1.00", "–"]
    assert "| a | LiteRT | 224 | 3.00 | 1.50 | 100% |" in tables.markdown(made)


def test_rows_beyond_the_first_are_added_up() -> None:
    parts = tuple(Row(str(i), (i,) * len(CLASSES), (i,) * len(A76.pipes), (i, i)) for i in range(30, 0, -1))
    one = msgspec.structs.replace(count("a", 1), functions=parts)
    shown = tables.functions(one, counts(one), 25)
    assert [line[0] for line in shown.rows[-2:]] == ["6", "5 others"]
    assert schema.added("all", parts).total == sum(range(31)) * len(CLASSES)
    assert tables.functions(one, counts(one), 30).rows[-1][0] == "1"


def test_the_chart_draws_each_kind_of_file_and_is_the_same_every_time() -> None:
    pytest.importorskip("matplotlib")
    made = counts(
        count("mobile-former-26m-native", 20_000_000, kernels="native"),
        count("mobile-former-26m", 30_000_000),
        count("mobilenet-v3-large", 90_000_000),
        count("mobilenet-v3-large", 300_000_000, side=512),
        reference="mobilenet-v3-large",
    )
    assert {chart.kind(found) for found in made.counts} == {"native", "portable", "reference"}
    drawn = chart.draw(made)
    assert drawn.startswith(b"<?xml") and drawn == chart.draw(made)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void HERE::product<HERE::Strided, float>(int, float const*)", "product<Strided, float>"),
        ("multiply<6, 4, 0, HERE::Strided>", "multiply<6, 4, 0, Strided>"),
        ("HERE::Block::run(mfedge::Arena&, mfedge::Call const&) const [clone .constprop.0]", "Block::run"),
        ("operator()", "lambda"),
        ("memcpy", "memcpy"),
    ],
)
def test_a_function_s_name_is_short(name: str, expected: str) -> None:
    for place in ("mfedge::neon::(anonymous namespace)", "mfedge::avx2::(anonymous namespace)"):
        assert symbols.short(name.replace("HERE", place)) == expected


def test_addresses_belong_to_the_file_that_is_mapped_there() -> None:
    maps = symbols.Maps(
        "5000-6000 r--p 00000000 fe:00 7   /somewhere/lib one.so\n"
        "6000-8000 r-xp 00001000 fe:00 7   /somewhere/lib one.so\n"
        "9000-a000 r-xp 00000000 00:00 0 \n"
        "a000-b000 rw-p 00000000 00:00 0   [heap]\n"
    )
    assert [maps.find(address).library for address in (0x5000, 0x7FFF, 0x9000, 0xA000, 0x8000, 0x10)] == [
        "lib one.so", "lib one.so", *[symbols.GENERATED] * 4,
    ]  # fmt: skip
    assert maps.base("/somewhere/lib one.so") == 0x5000


def test_the_suite_of_phones_names_every_variant_twice() -> None:
    chosen = suite.read("phones")
    networks = [name for name in resources.names("models") if not name.startswith("mobilenet")]
    assert set(chosen.models) == {
        *networks,
        *(f"{name}@native" for name in networks),
        *(set(resources.names("models")) - set(networks)),
    }
    assert chosen.on in NAMES and set(chosen.runtimes or ()) <= set(RUNTIMES)


def test_a_suite_of_latencies_is_no_suite_of_counts() -> None:
    with pytest.raises(UsageError, match=r"crossover.toml: not a suite of counts"):
        suite.read("crossover")


def test_the_only_case_that_fails_is_the_command_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from mfedge.bench.cases import Case
    from mfedge.errors import ArtifactError

    def fails(case: Case, *_: object) -> Measured:
        raise ArtifactError(f"{case.model}: damaged")

    monkeypatch.setattr(suite, "count", fails)
    cases = [Case(name, "litert", Size(64, 64), f"{name}.tflite", "0", 1) for name in ("a", "b")]
    with pytest.raises(MfedgeError, match="a: damaged"):
        suite.run(cases[:1], "avx2", "one", None)
    both = suite.run(cases, "avx2", "two", None)
    assert [(failure.model, failure.exit_code) for failure in both.failures] == [("a", 6), ("b", 6)] and not both.counts
