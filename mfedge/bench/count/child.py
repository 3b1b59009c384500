"""The counted process: ``python -m mfedge.bench.count.child``, on an emulated core, under the plugin.

It reads one request from standard input, marks each of its inferences for the plugin, and writes one reply to standard
output. What a runtime prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import re
import sys
import traceback
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from mfedge import plugins
from mfedge.arrays import random_images
from mfedge.errors import Exit, MfedgeError
from mfedge.runtimes.base import Metadata
from mfedge.workers import foreign
from mfedge.workers.child import confine

MARK = 77777  # the system call that plugin.c knows
SETTLE = 2  # inferences before the first one that counts: memory is got, and all code is translated
REPEATS = 3
COMPILER = re.compile(rb"GCC: \([^)]*\) [0-9.]+|clang version [0-9.]+")


class Request(Struct, frozen=True):
    """One case."""

    path: str
    runtime: str
    height: int
    width: int
    seed: int


class Counted(Struct, frozen=True, tag="counted"):
    """The inferences have run."""

    executed: Metadata
    maps: str  # /proc/self/maps
    versions: dict[str, str]  # of what had a hand in the instructions, beside the emulator
    outputs: dict[str, tuple[float, ...]]  # flat


class Failed(Struct, frozen=True, tag="failed"):
    """They have not: one of mfedge's errors, or a fault of its own, whose message is the traceback."""

    message: str
    exit_code: int


Reply = Counted | Failed


def count(request: Request) -> Counted:
    """Load, settle, and run between marks."""
    from mfedge import runtimes

    images = random_images(request.seed, request.height, request.width)
    session = runtimes.load(Path(request.path), runtime=request.runtime, threads=1)
    prepared = session.prepare(images)
    mark, number, invoke = ctypes.CDLL(None).syscall, ctypes.c_long(MARK), session.invoke
    with foreign.opening(session.metadata.runtime, Path(request.path)):
        invoke(prepared)
        gc.collect()
        gc.disable()
        mark(number)
        for _ in range(SETTLE - 1 + REPEATS):
            invoke(prepared)
            mark(number)
    outputs = session.run(images)
    maps = Path("/proc/self/maps").read_text()
    versions = {
        session.metadata.runtime: session.metadata.version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "libc": " ".join(platform.libc_ver()),
    }
    if found := re.search(r"/\S*/libmfedge_\w+\.so", maps):
        compiler = COMPILER.search(Path(found[0]).read_bytes())
        versions["compiler"] = compiler[0].decode() if compiler else "unknown"
    flat = {name: tuple(float(number) for number in output.ravel()) for name, output in outputs.items()}
    return Counted(session.metadata, maps, versions, flat)


def main() -> None:
    """Answer one request."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    confine(None)  # the emulator has its limit of memory already
    reply: Reply
    try:
        plugins.load()
        reply = count(msgspec.json.decode(sys.stdin.buffer.readline(), type=Request))
    except MfedgeError as error:
        reply = Failed(" ".join(str(error).split()), error.exit_code)
    except Exception:  # the parent says what it is, with the traceback if the user asks for it
        reply = Failed(traceback.format_exc(), Exit.FAULT)
    pipe.write(msgspec.json.encode(reply) + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
