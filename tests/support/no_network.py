"""``python no_network.py COMMAND…``: the command dies if it, or any process of its, asks for an internet socket.

A filter of system calls (seccomp) needs no privilege and cannot be undone, not even by the processes that it starts.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # AUDIT_ARCH_…, the number of socket(2)
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
KILL, ALLOW = 0x80000000, 0x7FFF0000
AF_INET, AF_INET6 = 2, 10
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2  # of prctl(2)


def forbid() -> None:
    """Install the filter."""
    architecture, socket = SOCKET[platform.machine()]
    program = [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 0, 6, architecture),
        (LOAD, 0, 0, NUMBER), (EQUAL, 0, 4, socket),
        (LOAD, 0, 0, FIRST_ARGUMENT), (EQUAL, 1, 0, AF_INET), (EQUAL, 0, 1, AF_INET6),
        (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    filters = Program(len(program), ctypes.addressof(code))
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(filters), 0, 0):
        raise OSError(ctypes.get_errno(), "the filter of system calls cannot be installed")


if __name__ == "__main__":
    forbid()
    os.execvp(sys.argv[1], sys.argv[1:])
