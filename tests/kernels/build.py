"""Compile the C++ tests of the native kernels, in build/, where what has not changed stays compiled."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent.parent
SOURCES = CHECKOUT / "mfedge" / "kernels"
ISAS = {"x86_64": ("avx512", "avx2", "sse2"), "AMD64": ("avx512", "avx2", "sse2")}.get(platform.machine(), ("neon",))


def missing_tools(compiler: str | None = None) -> str | None:
    """Why nothing can be compiled, or None."""
    found = compiler or os.environ.get("CXX")
    names = found.split()[:1] if found else ["c++", "g++", "clang++"]
    if not any(map(shutil.which, names)):
        return f"no C++ compiler: none of {', '.join(names)} is on PATH"
    return None if shutil.which("cmake") else "no cmake on PATH; pip install cmake"


def build(flavour: str, *options: str) -> Path:
    """The test program, compiled with these options of CMake; fails the test if it cannot be.

    Args:
        flavour: names the folder; another for other options.
    """
    folder = CHECKOUT / "build" / "native-tests" / flavour
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{flavour}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest's processes side by side
        if _configure(folder, *options).returncode:
            shutil.rmtree(folder)  # of another compiler, or of a checkout that has been moved
            _succeeded(_configure(folder, *options))
        _succeeded(_run("cmake", "--build", str(folder), "--target", "test_kernels"))
    return folder / "test_kernels"


def _configure(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return _run(
        "cmake", "-S", str(SOURCES), "-B", str(folder), *(["-G", "Ninja"] if shutil.which("ninja") else []),
        f"-DMFEDGE_LIB={folder / 'lib'}", "-DMFEDGE_TESTING=ON", "-DMFEDGE_BINDINGS=OFF", "-DMFEDGE_WERROR=ON",
        *options,
    )  # fmt: skip


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


def _succeeded(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        pytest.fail(f"{' '.join(done.args)}\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
