"""The plugin's file: how often each block of instructions ran in each region between two marks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from mfedge.bench.count.classes import UNKNOWN, Instruction

RECORD = struct.Struct("<QQII")  # address, runs, instructions, bytes: as plugin.c writes it
MISSES = struct.Struct("<QQ")  # of one instruction, in the first level and in the second
END = (1 << 64) - 1
PAGE = 4096


class Block(Struct, frozen=True):
    """Instructions that always run together."""

    address: int
    runs: int
    code: bytes
    misses: tuple[tuple[int, int], ...]  # of each instruction, all runs together


class Executed(Struct, frozen=True):
    """One instruction of the program, all its runs in a region."""

    address: int
    runs: int
    misses: tuple[int, int]
    instruction: Instruction


class Decoder(Protocol):
    """An instruction set."""

    def decode(self, code: bytes) -> list[tuple[int, Instruction]]:
        """(bytes, instruction) of each instruction, up to the first one that is not known."""


def read(path: Path) -> list[list[Block]]:
    """The blocks of each region.

    Raises:
        ValueError: the file ends within a record: the emulator was ended.
    """
    data = path.read_bytes()
    regions: list[list[Block]] = []
    current: list[Block] = []
    place = 0
    while place < len(data):
        try:
            address, runs, instructions, size = RECORD.unpack_from(data, place)
            place += RECORD.size
            if address == END:
                regions.append(current)
                current = []
                continue
            code = data[place : place + size]
            place += size
            misses = [MISSES.unpack_from(data, place + i * MISSES.size) for i in range(instructions)]
            place += instructions * MISSES.size
        except struct.error:
            raise ValueError(f"{path.name}: ends within a record") from None
        current.append(Block(address, runs, code, tuple(misses)))
    return regions


def executed(blocks: list[Block], decoder: Decoder) -> Iterator[Executed]:
    """Each instruction of a region's blocks.

    What the disassembler does not know is UNKNOWN. QEMU lists an instruction that crosses the end of a page with the
    block before it, cut off there, and executes it in the next block alone: that one is left out.
    """
    for block in blocks:
        decoded = decoder.decode(block.code)
        address = block.address
        for (size, instruction), misses in zip(decoded, block.misses, strict=False):
            yield Executed(address, block.runs, misses, instruction)
            address += size
        unknown = block.misses[len(decoded) :]
        if len(unknown) == 1 and (block.address + len(block.code)) % PAGE == 0:
            continue
        for misses in unknown:
            yield Executed(address, block.runs, misses, UNKNOWN)
