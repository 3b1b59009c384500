"""Classes of the instructions that inference is made of, from their bytes as an assembler writes them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mfedge.bench.count import aarch64, blocks, x86_64
from mfedge.bench.count.blocks import Block
from mfedge.bench.count.classes import UNKNOWN, Instruction

pytest.importorskip("capstone")

AARCH64 = {
    "fmla v0.4s, v1.4s, v2.4s": Instruction("multiply-add", 16),
    "fmla v0.4s, v1.4s, v2.s[3]": Instruction("multiply-add", 16),
    "fmla v0.2s, v1.2s, v2.2s": Instruction("multiply-add", 8),
    "fmla v0.8h, v1.8h, v2.h[1]": Instruction("multiply-add", 16),
    "fmls v31.4s, v1.4s, v2.4s": Instruction("multiply-add", 16),
    "fmlal v0.4s, v1.4h, v2.4h": Instruction("multiply-add", 16),
    "fmadd s0, s1, s2, s3": Instruction("multiply-add", 4),
    "smlal2 v0.8h, v1.16b, v2.16b": Instruction("multiply-add", 16),
    "mla v0.4s, v1.4s, v2.4s": Instruction("multiply-add", 16),
    "sdot v0.4s, v1.16b, v2.4b[1]": Instruction("dot-product", 16),
    "udot v0.2s, v1.8b, v2.8b": Instruction("dot-product", 8),
    "smmla v0.4s, v1.16b, v2.16b": Instruction("dot-product", 16),
    "fmul v0.4s, v1.4s, v2.4s": Instruction("vector", 16),
    "fcvtl v0.4s, v1.4h": Instruction("vector", 16),
    "dup v0.4s, w1": Instruction("vector", 16),
    "fmov s0, w1": Instruction("vector", 4),
    "movi d0, #0": Instruction("vector", 8),
    "ldr q0, [x1, #32]": Instruction("load", 16, 16),
    "ldp q0, q1, [x2], #32": Instruction("load", 16, 32),
    "ldp d8, d9, [sp, #16]": Instruction("load", 8, 16),
    "ldr s4, [x1, x2, lsl #2]": Instruction("load", 4, 4),
    "ld1 {v0.4s, v1.4s, v2.4s, v3.4s}, [x0], #64": Instruction("load", 16, 64),
    "ld1r {v0.4s}, [x0]": Instruction("load", 16, 4),
    "ld1 {v0.s}[1], [x0]": Instruction("load", 0, 4),
    "ldr x0, [x1]": Instruction("load", 0, 8),
    "ldr x0, .": Instruction("load", 0, 8),
    "ldp w0, w1, [x2]": Instruction("load", 0, 8),
    "ldrsw x0, [x1]": Instruction("load", 0, 4),
    "ldrb w0, [x1]": Instruction("load", 0, 1),
    "ldurh w0, [x1, #-2]": Instruction("load", 0, 2),
    "ldaddal w0, w1, [x2]": Instruction("load", 0, 4, 4),
    "str q0, [x1], #16": Instruction("store", 16, 0, 16),
    "stp x29, x30, [sp, #-32]!": Instruction("store", 0, 0, 16),
    "st4 {v0.4s, v1.4s, v2.4s, v3.4s}, [x0]": Instruction("store", 16, 0, 64),
    "strb wzr, [x1]": Instruction("store", 0, 0, 1),
    "stlxr w0, x1, [x2]": Instruction("store", 0, 0, 8),
    "prfm pldl1keep, [x0, #256]": Instruction("prefetch"),
    "b.ne .": Instruction("branch"),
    "cbz x0, .": Instruction("branch"),
    "bl .": Instruction("branch"),
    "br x16": Instruction("branch"),
    "ret": Instruction("branch"),
    "bic x0, x1, x2": Instruction("scalar"),
    "add x0, x1, #0xb5": Instruction("scalar"),
    "madd x0, x1, x2, x3": Instruction("scalar"),
    "subs w0, w0, #1": Instruction("scalar"),
}  # fmt: skip
X86_64 = {
    "vfmadd231ps %ymm0, %ymm1, %ymm2": Instruction("multiply-add", 32),
    "vfmadd213ps (%rax), %ymm1, %ymm2": Instruction("multiply-add", 32, 32),
    "vfnmadd132ss %xmm0, %xmm1, %xmm2": Instruction("multiply-add", 16),
    "vfmaddsub231ps %ymm0, %ymm1, %ymm2": Instruction("multiply-add", 32),
    "vmulps (%rax), %ymm1, %ymm2": Instruction("vector", 32, 32),
    "vmaxps %ymm0, %ymm1, %ymm2": Instruction("vector", 32),
    "vcvtph2ps (%rax), %ymm0": Instruction("vector", 32, 16),
    "vxorps %xmm0, %xmm0, %xmm0": Instruction("vector", 16),
    "vmovaps %ymm0, %ymm1": Instruction("vector", 32),
    "vmovups 64(%rax), %ymm0": Instruction("load", 32, 32),
    "vbroadcastss (%rax), %ymm0": Instruction("load", 32, 4),
    "vmaskmovps (%rax), %ymm1, %ymm2": Instruction("load", 32, 32),
    "movslq (%rax), %rbx": Instruction("load", 0, 4),
    "popq %rbx": Instruction("load", 0, 8),
    "vmovups %ymm0, (%rax)": Instruction("store", 32, 0, 32),
    "vextractf128 $1, %ymm0, (%rax)": Instruction("store", 32, 0, 16),
    "movl %eax, 8(%rsp)": Instruction("store", 0, 0, 4),
    "pushq %rbx": Instruction("store", 0, 0, 8),
    "addq %rax, (%rbx)": Instruction("scalar", 0, 8, 8),
    "cmpl (%rax), %ebx": Instruction("scalar", 0, 4),
    "sete (%rax)": Instruction("scalar", 0, 0, 1),
    "leaq 8(%rax), %rbx": Instruction("scalar"),
    "nopw 8(%rax)": Instruction("scalar"),
    "prefetcht0 (%rax)": Instruction("prefetch"),
    "jne .": Instruction("branch"),
    "call .": Instruction("branch", 0, 0, 8),
    "jmp *(%rax)": Instruction("branch", 0, 8),
    "ret": Instruction("branch", 0, 8),
}


def assembled(folder: Path, text: str, prefix: str) -> bytes:
    """The bytes of an instruction."""
    assembler = shutil.which(f"{prefix}as")
    if assembler is None:
        pytest.skip(f"no {prefix}as on PATH")
    machine = ["-march=armv8.6-a+fp16"] if prefix.startswith("aarch64") else []
    subprocess.run([assembler, *machine, "-o", "one.o", "-"], input=f"{text}\n", text=True, cwd=folder, check=True)
    subprocess.run(
        [f"{prefix}objcopy", "-O", "binary", "--only-section=.text", "one.o", "one.bin"], cwd=folder, check=True
    )
    return (folder / "one.bin").read_bytes()


@pytest.mark.parametrize(("text", "expected"), AARCH64.items(), ids=AARCH64)
def test_aarch64(text: str, expected: Instruction, tmp_path: Path) -> None:
    code = assembled(tmp_path, text, "aarch64-linux-gnu-")
    assert aarch64.Decoder().decode(code) == [(4, expected)]


@pytest.mark.parametrize(("text", "expected"), X86_64.items(), ids=X86_64)
def test_x86_64(text: str, expected: Instruction, tmp_path: Path) -> None:
    code = assembled(tmp_path, text, "")
    assert x86_64.Decoder().decode(code) == [(len(code), expected)]


def test_what_no_disassembler_knows_is_counted_all_the_same() -> None:
    block = Block(0x1000, 7, bytes.fromhex("90 06 06 06"), ((0, 0), (1, 0), (2, 1), (3, 1)))  # nop, then no x86-64
    found = list(blocks.executed([block], x86_64.Decoder()))
    assert [entry.instruction for entry in found[1:]] == [UNKNOWN] * 3
    assert sum(entry.runs for entry in found) == 28 and sum(entry.misses[0] for entry in found) == 6
    assert [size for size, _ in aarch64.Decoder().decode(bytes(8))] == [4, 4]


def test_an_instruction_across_pages_belongs_to_the_next_block() -> None:
    code = bytes.fromhex("90 c4 e2")  # nop, and the first two bytes of an instruction of five
    misses = ((0, 0), (0, 0))
    at_the_end = blocks.executed([Block(0x2000 - len(code), 5, code, misses)], x86_64.Decoder())
    elsewhere = blocks.executed([Block(0x2000, 5, code, misses)], x86_64.Decoder())
    assert sum(entry.runs for entry in at_the_end) == 5
    assert sum(entry.runs for entry in elsewhere) == 10
