"""Classes of 64-bit ARM's instructions, from what capstone prints of them: "fmla v0.4s, v1.4s, v2.s[0]"."""

from __future__ import annotations

import re
from functools import cache

from mfedge.bench.count.classes import UNKNOWN, Class, Instruction
from mfedge.extras import needing

DOT_PRODUCT = re.compile(r"([us]|us|su)dot|bfdot|([us]|us)mmla|bfmmla")
MULTIPLY_ADD = re.compile(r"fc?ml[as]\w*|fn?m(add|sub)|bfml\w*|([us]|sqd)?ml[as]l?2?|sqrdml[as]h")
BRANCH = re.compile(r"b(\.\w+)?|bl|br|blr|ret\w*|cbn?z|tbn?z|br[ak]\w*|blr[ak]\w*")
ATOMIC = re.compile(r"(ldadd|ldclr|ldeor|ldset|ld[us]max|ld[us]min|swp|cas)\w*")
VECTOR_REGISTER = re.compile(r"\b([vqdshb])\d+(?:\.(\d*)([bhsdq]))?")
GENERAL_REGISTER = re.compile(r"\b([wx])(?:\d+|zr)|\bsp\b")
BYTES = {"b": 1, "h": 2, "s": 4, "d": 8, "q": 16, "w": 4, "x": 8, "v": 16}


class Decoder:
    """Instructions of 4 bytes each, each decoded once."""

    def __init__(self) -> None:
        with needing("count", "counting instructions"):
            import capstone
        self._capstone = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)

    def decode(self, code: bytes) -> list[tuple[int, Instruction]]:
        """(bytes, instruction) of each word; what capstone does not know is UNKNOWN."""
        return [(4, self._word(code[i : i + 4])) for i in range(0, len(code), 4)]

    @cache  # noqa: B019 - as long as the decoder lives
    def _word(self, word: bytes) -> Instruction:
        for _, _, mnemonic, operands in self._capstone.disasm_lite(word, 0):
            return instruction(mnemonic, operands)
        return UNKNOWN


def instruction(mnemonic: str, operands: str) -> Instruction:
    """The class and the bytes of one instruction.

    Args:
        mnemonic: as capstone prints it, "ldp".
        operands: as capstone prints them, "q0, q1, [x2, #0x20]".
    """
    width = max((_width(*found) for found in VECTOR_REGISTER.findall(operands)), default=0)
    if mnemonic.startswith(("prfm", "prfum")):
        return Instruction("prefetch")
    if BRANCH.fullmatch(mnemonic):
        return Instruction("branch")
    if ATOMIC.fullmatch(mnemonic):
        moved = _moved(mnemonic, operands.partition(",")[0])  # one register goes in, and another one comes out
        return Instruction("load", 0, moved, moved)
    if mnemonic.startswith("ld"):
        return Instruction("load", width, _moved(mnemonic, operands), 0)
    if mnemonic.startswith("st"):
        return Instruction("store", width, 0, _moved(mnemonic, operands))
    kind: Class = "scalar"
    if width:
        kind = "vector"
        if DOT_PRODUCT.fullmatch(mnemonic):
            kind = "dot-product"
        elif MULTIPLY_ADD.fullmatch(mnemonic):
            kind = "multiply-add"
    return Instruction(kind, width)


def _width(register: str, count: str, element: str) -> int:
    """Bytes of a vector register: of v0.4s 16, of d0 8. One element of v0.s[1] is as wide as the others decide: 0."""
    if not element:
        return BYTES[register]
    return int(count) * BYTES[element] if count else 0


def _moved(mnemonic: str, operands: str) -> int:
    """Bytes that a load or store moves."""
    registers = operands.partition("[")[0]
    if "{" in registers:
        found = VECTOR_REGISTER.findall(registers)
        replicated = mnemonic.endswith("r")  # ld1r reads one element, which it writes to all
        return sum(BYTES[element] * (int(count) if count and not replicated else 1) for _, count, element in found)
    if vectors := VECTOR_REGISTER.findall(registers):
        return sum(BYTES[register] for register, _, _ in vectors)
    for suffix, size in (("sb", 1), ("b", 1), ("sh", 2), ("h", 2), ("sw", 4)):
        if mnemonic.endswith(suffix):
            return size * (2 if mnemonic.startswith(("ldp", "stp")) else 1)
    found_general = [match[0] for match in GENERAL_REGISTER.finditer(registers)]
    if mnemonic.startswith(("stxr", "stlxr", "stxp", "stlxp")):
        found_general = found_general[1:]  # the first one says whether it succeeded
    return sum(4 if register.startswith("w") else 8 for register in found_general)
