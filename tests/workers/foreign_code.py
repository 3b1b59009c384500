"""What a worker is made to run in the tests: functions that behave, and functions that do not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from mfedge.errors import CheckpointError, GateError, MissingRuntimeError
from mfedge.sizes import Size
from mfedge.workers import foreign


class Answer(Struct, frozen=True):
    """Of several types."""

    path: str
    size: Size
    numbers: tuple[float, ...]
    none: str | None


def behave(path: Path, size: Size, numbers: list[float], progress: Callable[[str], None], none: str | None) -> Answer:
    progress("half done")
    print("a library that prints")
    os.write(1, b"a library that writes to descriptor 1\n")
    return Answer(str(path), size, tuple(numbers), none)


def crash(path: Path) -> None:
    with foreign.opening("a runtime", path):
        os.kill(os.getpid(), signal.SIGSEGV)


def crash_of_a_checkpoint(path: Path) -> None:
    with foreign.opening("a runtime", path), foreign.opening("PyTorch", path, CheckpointError):
        os.kill(os.getpid(), signal.SIGSEGV)


def hang(path: Path) -> None:
    with foreign.opening("a runtime", path):
        time.sleep(1000)


def slow(path: Path) -> str:
    """Slower than its limit as a whole, and alive."""
    with foreign.opening("a runtime", path):
        for _ in range(12):
            time.sleep(0.3)
            foreign.alive()
    return "done"


def allocate(path: Path) -> int:
    with foreign.opening("a runtime", path):
        return len(bytearray(3 << 30))


def recurse(path: Path) -> int:
    def deeper(depth: int) -> int:
        return deeper(depth + 1)

    with foreign.opening("a reader", path):
        return deeper(0)


def chatter(path: Path) -> None:
    with foreign.opening("a runtime", path):
        raise RuntimeError(
            "Exception from src/inference/src/cpp/core.cpp:84:\nCheck 'a == b' failed at src/x.cpp:12:\nRank is 3\n\n"
        )


def refuse(path: Path) -> None:
    raise MissingRuntimeError(f"{path}: not built", about="kernels")


def refuse_in_a_library(path: Path) -> None:
    with foreign.opening("a runtime", path):
        raise CheckpointError(f"{path}: unfit")


def judge(path: Path) -> None:
    from mfedge.errors import Exit

    raise GateError(Exit.INCONCLUSIVE, f"{path}: cannot tell")


def fault(path: Path) -> None:
    raise KeyError(str(path))


def die_silently(path: Path) -> None:
    os._exit(3)
