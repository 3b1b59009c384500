"""What an instruction is: its class, and the bytes that it computes with and moves."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

Class = Literal["multiply-add", "dot-product", "vector", "load", "store", "prefetch", "branch", "scalar"]
CLASSES: tuple[Class, ...] = get_args(Class)


class Instruction(Struct, frozen=True):
    """One instruction. It has one class, and beside that it may read or write memory, as x86's often do."""

    kind: Class
    width: int = 0  # bytes of its widest register
    loads: int = 0  # bytes read from memory
    stores: int = 0  # bytes written to memory


UNKNOWN = Instruction("scalar")  # what the disassembler does not know: system instructions
