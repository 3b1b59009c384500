"""Classes of x86-64's instructions, from capstone's operands: one in memory has a size, and is read or written."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from mfedge.bench.count.classes import Class, Instruction
from mfedge.extras import needing

DOT_PRODUCT = re.compile(r"vpdp\w+|tdp\w+")
MULTIPLY_ADD = re.compile(r"vfn?m(add|sub)(add|sub)?\d+\w+")
MOVE = re.compile(r"v?(mov\w*|p?broadcast\w*|lddqu|p?maskmov\w*|extract\w*|pextr\w*)")
WRITES = re.compile(rf"{MOVE.pattern}|set\w+")  # and do not read what they write
STRING = re.compile(r"(rep\w* )?(movs|stos|lods)[bwdq]")
PUSHED = 8  # bytes that push, call, pop and ret move


class Decoder:
    """Instructions of 1 to 15 bytes; each text of bytes is decoded once."""

    def __init__(self) -> None:
        with needing("count", "counting instructions"):
            import capstone
        self._capstone = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._capstone.detail = True
        self._x86 = capstone.x86
        self._groups = {capstone.CS_GRP_JUMP, capstone.CS_GRP_CALL, capstone.CS_GRP_RET}
        self._read, self._write = capstone.CS_AC_READ, capstone.CS_AC_WRITE

    @cache  # noqa: B019 - as long as the decoder lives
    def decode(self, code: bytes) -> list[tuple[int, Instruction]]:
        """(bytes, instruction) of each instruction, up to the first one that capstone does not know."""
        return [(made.size, self._instruction(made)) for made in self._capstone.disasm(code, 0)]

    def _instruction(self, made: Any) -> Instruction:
        name = made.mnemonic
        loads = stores = width = 0
        for i, operand in enumerate(made.operands):
            if operand.type == self._x86.X86_OP_REG and (register := made.reg_name(operand.reg))[1:3] == "mm":
                width = max(width, {"x": 16, "y": 32, "z": 64}.get(register[0], 8))
            elif operand.type == self._x86.X86_OP_MEM and name not in ("lea", "nop"):
                # capstone does not know for all moves which way they go: the first operand is where they write.
                access = (self._read if i else self._write) if WRITES.fullmatch(name) else operand.access or self._read
                loads += operand.size if access & self._read else 0
                stores += operand.size if access & self._write else 0
        if name.startswith("prefetch"):
            return Instruction("prefetch")
        if name in ("push", "call"):
            stores = stores or PUSHED
        if name in ("pop", "ret"):
            loads = loads or PUSHED
        if self._groups & set(made.groups):
            return Instruction("branch", 0, loads, stores)
        return Instruction(_kind(name, width, loads, stores), width, loads, stores)


def _kind(name: str, width: int, loads: int, stores: int) -> Class:
    if MULTIPLY_ADD.fullmatch(name):
        return "multiply-add"
    if DOT_PRODUCT.fullmatch(name):
        return "dot-product"
    if MOVE.fullmatch(name) or STRING.fullmatch(name) or name in ("push", "pop"):
        if stores:
            return "store"
        if loads:
            return "load"
    return "vector" if width else "scalar"
