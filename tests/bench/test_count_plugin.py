"""The plugin on programs whose every instruction and cache line is known."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from mfedge.bench.count import blocks, cores, run
from mfedge.bench.count.emulator import compiled_plugin

pytest.importorskip("capstone")

N, LINES = 1000, 2000  # runs of the loop; cache lines: more than a first level has, fewer than a second
LOOPS = {
    "cortex-a76": """
        "1: fmla v0.4s, v1.4s, v2.4s\\n fmla v3.4s, v1.4s, v2.4s\\n ldr q4, [%1]\\n str q4, [%1]\\n"
        "fadd v5.4s, v6.4s, v7.4s\\n subs %0, %0, #1\\n b.ne 1b"
        : "+r"(n) : "r"(scratch) : "v0", "v3", "v4", "v5", "cc", "memory"
    """,
    "avx2": """
        "1: vfmadd231ps %%ymm0, %%ymm1, %%ymm2\\n vfmadd231ps %%ymm0, %%ymm1, %%ymm3\\n vmovups (%1), %%ymm4\\n"
        "vmovups %%ymm4, (%1)\\n vaddps %%ymm5, %%ymm6, %%ymm7\\n dec %0\\n jne 1b"
        : "+r"(n) : "r"(scratch) : "xmm2", "xmm3", "xmm4", "xmm7", "cc", "memory"
    """,
}
PER_RUN = {"multiply-add": 2, "vector": 1, "load": 1, "store": 1, "scalar": 1, "branch": 1}
PROGRAM = """
#include <unistd.h>
static char memory[%(lines)d * 64] __attribute__((aligned(64))), scratch[64] __attribute__((aligned(64)));
__attribute__((noinline)) static void loop(long n) { __asm__ volatile(%(loop)s); }
__attribute__((noinline)) static void touch(void) {
  for (long i = 0; i < %(lines)d; ++i) ((volatile char*)memory)[i * 64];
}
int main(void) {
  syscall(77777);
  loop(%(n)d); syscall(77777);
  loop(2 * %(n)d); syscall(77777);
  touch(); syscall(77777);
  touch(); syscall(77777);
  return 0;
}
"""


@pytest.fixture(scope="module", params=LOOPS)
def regions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[list[blocks.Executed]]:
    """What the plugin saw between the marks."""
    core, work = cores.read(request.param), tmp_path_factory.mktemp(request.param)
    compiler = {"aarch64": "aarch64-linux-gnu-gcc", "x86_64": "x86_64-linux-gnu-gcc"}[core.architecture]
    if missing := [tool for tool in (compiler, f"qemu-{core.architecture}", "cc") if shutil.which(tool) is None]:
        pytest.skip(f"no {missing[0]} on PATH")
    (work / "program.c").write_text(PROGRAM % {"lines": LINES, "n": N, "loop": LOOPS[request.param]})
    subprocess.run([compiler, "-O1", "-static", "program.c", "-o", "program"], cwd=work, check=True)
    option = compiled_plugin(core, work, work / "counted")
    qemu = [f"qemu-{core.architecture}", "-cpu", core.emulated, "-plugin", option, str(work / "program")]
    subprocess.run(qemu, check=True, timeout=60)
    decoder = run.DECODERS[core.architecture]()
    return [list(blocks.executed(region, decoder)) for region in blocks.read(work / "counted")]


def classes(region: list[blocks.Executed]) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in region:
        found[entry.instruction.kind] += entry.runs
    return found


def test_twice_the_loop_is_exactly_a_loop_more(regions: list[list[blocks.Executed]]) -> None:
    assert len(regions) == 4
    once, twice = classes(regions[0]), classes(regions[1])
    assert twice - once == Counter({kind: number * N for kind, number in PER_RUN.items()})


def test_what_does_not_fit_the_first_level_is_found_in_the_second(regions: list[list[blocks.Executed]]) -> None:
    first, second = ([sum(entry.misses[level] for entry in region) for level in (0, 1)] for region in regions[2:])
    assert LINES <= first[0] < LINES + 50 and LINES <= first[1] < LINES + 50, "memory that nobody has touched"
    assert LINES - 50 < second[0] < LINES + 50, "the least recently used line is the one that is wanted next"
    assert second[1] < 50


def test_a_miss_belongs_to_the_instruction_that_loads(regions: list[list[blocks.Executed]]) -> None:
    at: Counter[int] = Counter()
    for entry in regions[2]:
        at[entry.address] += entry.misses[0]
    ((address, misses),) = at.most_common(1)
    loads = [entry for entry in regions[2] if entry.address == address]
    assert misses == LINES == sum(entry.runs for entry in loads)
    assert {entry.instruction.loads for entry in loads} == {1}


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    (tmp_path / "counted").write_bytes(blocks.RECORD.pack(0x1000, 5, 3, 12) + bytes(12))
    with pytest.raises(ValueError, match="ends within a record"):
        blocks.read(tmp_path / "counted")
