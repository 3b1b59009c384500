"""A function in a worker does what it does in place, and cannot take its caller with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mfedge.errors import ArtifactError, CheckpointError, Exit, FaultError, MfedgeError, MissingRuntimeError
from mfedge.sizes import Size
from mfedge.workers.call import isolated
from mfedge.workers.process import Limits
from tests.workers import foreign_code as code

QUICK = Limits(seconds=20, memory_bytes=2 << 30)
FILE = Path("a folder/model.onnx")


def refused(function: Callable[[Path], Any], limits: Limits = QUICK, **options: Any) -> MfedgeError:
    with pytest.raises(MfedgeError) as caught:
        isolated(function, limits, **options)(FILE)
    return caught.value


def test_the_same_value_and_progress(capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []
    call = isolated(code.behave, QUICK, heard.append)
    answer = call(FILE, Size(32, 64), numbers=[1.5, 2.0], none=None)
    assert answer == code.Answer(str(FILE), Size(32, 64), (1.5, 2.0), None)
    assert heard == ["half done"]
    assert capfd.readouterr() == ("", ""), "what a library prints is not the caller's output"


def test_a_crash_names_the_library_the_file_and_the_signal() -> None:
    error = refused(code.crash)
    assert type(error) is ArtifactError
    assert str(error) == f"{FILE}: a runtime died of signal 11 (SIGSEGV)"
    assert type(refused(code.crash_of_a_checkpoint)) is CheckpointError


def test_a_hang_ends() -> None:
    start = time.monotonic()
    error = refused(code.hang, Limits(seconds=1))
    assert type(error) is ArtifactError and "did not answer within 1 s" in str(error)
    assert time.monotonic() - start < 5


def test_what_is_slow_and_alive_is_waited_for() -> None:
    assert isolated(code.slow, Limits(seconds=2.5))(FILE) == "done"


def test_memory_beyond_the_limit() -> None:
    error = refused(code.allocate)
    assert type(error) is ArtifactError and "memory" in str(error)
    assert isolated(code.allocate, Limits(memory_bytes=6 << 30))(FILE) == 3 << 30


def test_whatever_a_reader_raises_is_the_files_fault() -> None:
    assert "recursion depth" in str(refused(code.recurse))
    assert str(refused(code.chatter)) == f"{FILE}: a runtime cannot read it: Rank is 3"


def test_mfedges_errors_arrive_as_they_are() -> None:
    error = refused(code.refuse)
    assert (type(error), str(error), error.about) == (MissingRuntimeError, f"{FILE}: not built", "kernels")
    assert type(refused(code.refuse_in_a_library)) is CheckpointError
    assert refused(code.judge).exit_code == Exit.INCONCLUSIVE


def test_a_fault_of_our_own_is_one_with_its_traceback() -> None:
    error = refused(code.fault)
    assert type(error) is FaultError and error.exit_code == 70
    assert "foreign_code.py" in str(error) and "KeyError" in str(error)
    assert "ended with code 3" in str(refused(code.die_silently))


def test_a_worker_ends_with_its_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", "from tests.workers.test_call import *; isolated(code.hang, Limits())(FILE)"],
        cwd=Path(__file__).parents[2],
    )
    children: list[psutil.Process] = []
    end = time.monotonic() + 20
    while not children and time.monotonic() < end:
        children = psutil.Process(parent.pid).children()
        time.sleep(0.05)
    (child,) = children
    time.sleep(1.0)  # until it hangs
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running()


def test_no_process_is_left() -> None:
    before = set(psutil.Process().children())
    refused(code.hang, Limits(seconds=0.5))
    refused(code.fault)
    assert set(psutil.Process().children()) <= before
