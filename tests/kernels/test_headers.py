"""Every header of the kernels can be opened alone, as an editor does; the public one can be copied alone to an app."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kernels.build import ISAS, SOURCES, missing_tools

pytestmark = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))

CXX = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), "")
COMPILERS = pytest.mark.parametrize("compiler", ["c++", pytest.param("clang++", marks=pytest.mark.slow)])
FLAGS = dict(re.findall(r"^set\(FLAGS_(\w+) ?(.*)\)$", (SOURCES / "isa" / "isas.cmake").read_text(), re.MULTILINE))
OF_ONE_SET = re.compile(r"simd_(\w+)\.h|rows_(avx)\.h")
TARGET = re.compile(r"__(AVX|SSE|F16C|FMA|x86_64|aarch64|ARM)\w*")  # macros of a compiler's target


def headers(isa: str) -> list[Path]:
    """Those that the kernels of an instruction set may include."""
    found = sorted([*(SOURCES / "isa").glob("*.h"), *(SOURCES / "src").glob("*.h")])
    return [
        path
        for path in found
        if not (of := OF_ONE_SET.fullmatch(path.name)) or of[1] == isa or (of[2] and isa.startswith(of[2]))
    ]


def compiles(compiler: str, header: Path, *flags: str) -> str | None:
    """What the compiler says against it; None if nothing."""
    command = [compiler, "-std=gnu++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", *flags]
    done = subprocess.run([*command, "-include", str(header), "-x", "c++", os.devnull], capture_output=True, text=True)
    return f"{header.name}: {done.stderr[:2000]}" if done.returncode else None


def test_every_instruction_set_has_its_flags_and_its_file() -> None:
    table = (SOURCES / "isa" / "isas.inc").read_text()
    assert re.findall(r"^MFEDGE_ISA\((\w+)", table, re.MULTILINE) == list(FLAGS)
    assert {path.stem for path in (SOURCES / "isa").glob("simd_*.h")} == {f"simd_{name}" for name in FLAGS}


@COMPILERS
@pytest.mark.parametrize("isa", ISAS)
def test_a_header_alone_compiles(isa: str, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on PATH")
    found = headers(isa)
    assert len(found) >= 20
    refused = [compiles(compiler, header, f"-DMFEDGE_ISA_NAME={isa}", *FLAGS[isa].split()) for header in found]
    assert not list(filter(None, refused)), "\n".join(filter(None, refused))


def test_an_editor_that_knows_no_flags_takes_the_baseline() -> None:
    refused = [compiles(CXX, header) for header in headers(ISAS[-1])]
    assert not list(filter(None, refused)), "\n".join(filter(None, refused))


FAST = ("-ffast-math", "-Ofast", "-ffinite-math-only", "-funsafe-math-optimizations")


@COMPILERS
@pytest.mark.parametrize("flag", FAST)
def test_arithmetic_that_is_not_ieee_754_is_refused(flag: str, compiler: str) -> None:
    """By every source; openvino.cpp needs the headers of OpenVINO before it comes to ours."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on PATH")
    if compiler == "clang++" and flag == "-funsafe-math-optimizations":
        pytest.skip("clang says nothing of it to a source; CMakeLists.txt takes back what matters")
    command = [compiler, "-std=gnu++17", "-fsyntax-only", flag, f"-I{SOURCES / 'include'}"]
    for source in sorted([*SOURCES.glob("src/*.cpp"), *SOURCES.glob("bindings/*.cpp")]):
        if source.name == "openvino.cpp":
            assert "../src/letters.h" in source.read_text()
            continue
        done = subprocess.run([*command, str(source)], capture_output=True, text=True)
        assert done.returncode, source.name
        assert "compute wrong results with -ffast-math" in done.stderr, (source.name, done.stderr[:1000])


def test_the_target_is_asked_for_in_one_place() -> None:
    """In isa/, and where the CPU is asked what it runs."""
    asking = {path.name for path in (SOURCES / "src").iterdir() if TARGET.search(path.read_text())}
    assert asking == {"cpu.cpp"}


def test_the_public_header_alone_is_plain_c(tmp_path: Path) -> None:
    shutil.copy(SOURCES / "include" / "mfedge_kernels.h", tmp_path)
    (tmp_path / "app.c").write_text(
        '#include "mfedge_kernels.h"\nmfedge_config config = {.tokens = 6};\nmfedge_kind kind = MFEDGE_BLOCK;\n'
    )
    command = ["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "app.c"]
    if shutil.which("cc") is None:
        pytest.skip("no cc on PATH")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
