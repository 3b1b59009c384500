"""Where the built kernels are looked for, and what is said of those that this machine cannot load."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from mfedge.cli.doctor import native_kernels
from mfedge.errors import Exit, MissingRuntimeError
from mfedge.kernels import find, library
from mfedge.runtimes import litert, onnxruntime, openvino

NUMBERS = {name: number for number, name in find.ELF_MACHINES.items()}
OTHER = "aarch64" if platform.machine() == "x86_64" else "x86_64"
ORDERS = {1: "little", 2: "big"}


def elf(machine: int, order: int = 1) -> bytes:
    """The header of a shared object for 64-bit machines."""
    numbers = [(3).to_bytes(2, ORDERS[order]), machine.to_bytes(2, ORDERS[order])]
    return b"\x7fELF" + bytes((2, order, 1)) + bytes(9) + b"".join(numbers) + bytes(100)


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", find.NAMES)
@pytest.mark.parametrize(
    ("header", "built"),
    [(elf(NUMBERS[OTHER]), OTHER), (elf(243), "riscv"), (elf(22, order=2), "a CPU of ELF's number 22")],
    ids=["other", "riscv", "s390x"],
)
def test_a_library_of_another_cpu_is_named(name: str, header: bytes, built: str, libraries: Path) -> None:
    (libraries / f"libmfedge_{name}.so").write_bytes(header)
    with pytest.raises(MissingRuntimeError) as caught:
        find.path(name)
    file, here = libraries / f"libmfedge_{name}.so", platform.machine()
    assert str(caught.value) == f"native kernels: {file} is built for {built}, this machine is {here}; reinstall mfedge"
    assert caught.value.exit_code == Exit.ENVIRONMENT


def test_everything_that_loads_one_says_so(libraries: Path) -> None:
    for name in find.NAMES:
        (libraries / f"libmfedge_{name}.so").write_bytes(elf(NUMBERS[OTHER]))
    for load in (
        library.load, openvino.extension, lambda: onnxruntime.register(None), lambda: litert.delegate(None, "litert"),
    ):  # fmt: skip
        with pytest.raises(MissingRuntimeError, match=f"is built for {OTHER}, this machine is "):
            load()
    assert f"is built for {OTHER}, this machine is " in native_kernels()["missing"]


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not a library", elf(0)[:19]], ids=len)
def test_what_is_no_library_is_its_loaders_to_refuse(content: bytes, libraries: Path) -> None:
    (libraries / "libmfedge_kernels.so").write_bytes(content)
    assert find.path("kernels") == libraries / "libmfedge_kernels.so"
    with pytest.raises(MissingRuntimeError, match="cannot be loaded"):
        library.load()


def test_a_real_one_of_another_cpu(libraries: Path) -> None:
    compiler = f"{OTHER.replace('_', '-')}-linux-gnu-g++"
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on PATH")
    made = libraries / "libmfedge_kernels.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-nostdlib", "-x", "c++", "/dev/null", "-o", str(made)], check=True)
    with pytest.raises(MissingRuntimeError, match=f"is built for {OTHER}, this machine is "):
        find.path("kernels")


def test_those_of_this_machine_are_taken() -> None:
    for name in find.NAMES:
        if find.find(name) is not None:
            assert find.path(name) == find.find(name)
