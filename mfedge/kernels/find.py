"""Where the built native kernels are.

If a C++ compiler was available when mfedge was installed, the libraries are in mfedge/kernels/lib/.
MFEDGE_NATIVE_LIB names another folder, for tests.
"""

from __future__ import annotations

import os
from pathlib import Path

from mfedge.errors import MissingRuntimeError, UsageError

ABI = 3  # MFEDGE_ABI_VERSION of mfedge_kernels.h
NAMES = ("kernels", "onnxruntime", "openvino", "litert")
FILES = ("libmfedge_{}.so", "libmfedge_{}.dylib", "mfedge_{}.dll")
KERNELS = ("portable", "native")  # what --kernels takes
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
        MissingRuntimeError: it is not built.
    """
    found = find(name)
    if found is None:
        raise MissingRuntimeError(
            f"native kernels: not built for {name} (none in {folder()}); install a C++ compiler and reinstall",
            about="kernels",
        )
    return found
