"""Where the built native kernels are.

If a C++ compiler was available when mfedge was installed, the libraries are in mfedge/kernels/lib/.
MFEDGE_NATIVE_LIB names another folder, for tests.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from mfedge.errors import MissingRuntimeError, UsageError

ABI = 3  # MFEDGE_ABI_VERSION of mfedge_kernels.h
NAMES = ("kernels", "onnxruntime", "openvino", "litert")
FILES = ("libmfedge_{}.so", "libmfedge_{}.dylib", "mfedge_{}.dll")
KERNELS = ("portable", "native")  # what --kernels takes
ELF_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}  # e_machine, as elf.h has it
INSTALLED = Path(__file__).resolve().parent / "lib"


def check_kernels(kernels: str) -> None:
    """Raise UsageError unless `kernels` is one of KERNELS."""
    if kernels not in KERNELS:
        raise UsageError(f"--kernels {kernels}: expected one of {', '.join(KERNELS)}")


def folder() -> Path:
    """Where the libraries are looked for."""
    return Path(os.environ.get("MFEDGE_NATIVE_LIB") or INSTALLED)


def find(name: str) -> Path | None:
    """The library of one of NAMES, the C API or the operators of a runtime; None if it is not built."""
    if name not in NAMES:
        raise ValueError(f"native library {name}: expected one of {', '.join(NAMES)}")
    files = [folder() / pattern.format(name) for pattern in FILES]
    return next((file for file in files if file.is_file()), None)


def path(name: str) -> Path:
    """As `find`.

    Raises:
        MissingRuntimeError: it is not built, or for another CPU: where a loader would say that it is no such file.
    """
    found = find(name)
    if found is None:
        raise MissingRuntimeError(
            f"native kernels: not built for {name} (none in {folder()}); install a C++ compiler and reinstall",
            about="kernels",
        )
    built, machine = _built_for(found), platform.machine()
    if built and machine in ELF_MACHINES.values() and built != machine:
        raise MissingRuntimeError(
            f"native kernels: {found} is built for {built}, this machine is {machine}; reinstall mfedge",
            about="kernels",
        )
    return found


def _built_for(library: Path) -> str | None:
    """The CPU of an ELF file, by its header; None of any other file."""
    try:
        with library.open("rb") as file:
            header = file.read(20)
    except OSError:
        return None  # its loader says why
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    number = int.from_bytes(header[18:20], "big" if header[5] == 2 else "little")
    return ELF_MACHINES.get(number, f"a CPU of ELF's number {number}")
