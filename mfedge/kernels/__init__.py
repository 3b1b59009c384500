"""The native kernels: C++ sources, the built libraries, and the ways to them that need no PyTorch."""

from __future__ import annotations


def isa() -> str | None:
    """The instruction set that native kernels use on this CPU; None where the C API is not built."""
    from mfedge.kernels import find, library

    return library.isa() if find.find("kernels") is not None else None
