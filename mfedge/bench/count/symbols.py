"""Which library and which function an address belongs to: the process's maps, and addr2line of binutils."""

from __future__ import annotations

import bisect
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from mfedge.bench.count.cores import Architecture
from mfedge.errors import MissingRuntimeError

GENERATED = "generated code"  # of a runtime that compiles at run time
STUBS = "without a symbol"  # the linker's stubs, through which other libraries are called
OURS = "libmfedge_"
PRIMITIVES = re.compile(r"/(isa/[^/]+|simd|memory)\.h$|/include/")  # an instruction belongs to what calls these
PACKAGES = {"aarch64": "binutils-aarch64-linux-gnu", "x86_64": "binutils"}
SECONDS = 120  # for the names of one library
QUALIFIERS = re.compile(r"mfedge::|(neon|avx2|avx512|sse2)::|\(anonymous namespace\)::| \[clone [^]]*\]")


class Mapping(Struct, frozen=True):
    """A file that a process has mapped: one line of /proc/PID/maps."""

    start: int
    end: int
    path: str  # "" where there is none

    @property
    def library(self) -> str:
        """The file's name."""
        return Path(self.path).name if self.path.startswith("/") else GENERATED


class Maps:
    """Where the files of a process are."""

    def __init__(self, text: str) -> None:
        """
        Args:
            text: /proc/self/maps.
        """
        found = []
        for line in text.splitlines():
            fields = line.split(maxsplit=5)
            start, _, end = fields[0].partition("-")
            found.append(Mapping(int(start, 16), int(end, 16), fields[5] if len(fields) > 5 else ""))
        self._mappings = sorted(found, key=lambda mapping: mapping.start)
        self._starts = [mapping.start for mapping in self._mappings]
        self._bases: dict[str, int] = {}
        for mapping in self._mappings:
            self._bases.setdefault(mapping.path, mapping.start)

    def find(self, address: int) -> Mapping:
        """The mapping that holds an address."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index >= 0 and address < self._mappings[index].end:
            return self._mappings[index]
        return Mapping(address, address, "")

    def base(self, path: str) -> int:
        """Where a library begins: its own addresses count from there."""
        return self._bases[path]


def functions(path: Path, addresses: Iterable[int], architecture: Architecture) -> dict[int, str]:
    """The function of each address of a library.

    Where the library has debug information, an inlined function is named with the one that it is a part of:
    "multiply<6, 4> in product". The small functions of vectors (isa/, simd.h) count as part of what calls them.

    Raises:
        MissingRuntimeError: binutils are not installed.
    """
    tool = f"{architecture}-linux-gnu-addr2line"
    program = shutil.which(tool) or (shutil.which("addr2line") if architecture == "x86_64" else None)
    if program is None:
        raise MissingRuntimeError(f"count: no {tool} on PATH; apt install {PACKAGES[architecture]}")
    wanted = sorted(set(addresses))
    done = subprocess.run(
        [program, "--addresses", "--functions", "--inlines", "--demangle", "--exe", str(path)],
        input="".join(f"{address:#x}\n" for address in wanted), capture_output=True, text=True, timeout=SECONDS,
        check=True,
    )  # fmt: skip
    frames: dict[int, list[tuple[str, str]]] = {address: [] for address in wanted}
    lines = iter(done.stdout.splitlines())
    current: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("0x"):
            current = frames[int(line, 16)]
        else:
            current.append((line, next(lines).partition(":")[0]))
    return {address: _name(found) for address, found in frames.items()}


def _name(frames: list[tuple[str, str]]) -> str:
    """Of (function, file) from the innermost inlined function to the compiled one."""
    if not frames or frames[-1][0] == "??":
        return STUBS
    outer = short(frames[-1][0])
    inner = next((short(name) for name, file in frames[:-1] if not PRIMITIVES.search(file)), outer)
    return outer if inner == outer else f"{inner} in {outer}"


def short(name: str) -> str:
    """A demangled name without its namespaces, arguments, result and what the compiler adds: "product<Strided, 6>"."""
    name = QUALIFIERS.sub("", name).replace("operator()", "lambda")
    depth = start = 0
    for i, character in enumerate(name):
        depth += (character == "<") - (character == ">")
        if depth == 0 and character == " ":
            start = i + 1  # after the type of the result
        if depth == 0 and character == "(":
            return name[start:i]
    return name[start:]
