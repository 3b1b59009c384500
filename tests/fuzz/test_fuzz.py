"""A few hundred cases of every kind, from a fixed seed; and the oracle finds what it is there to find."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mfedge.errors import ArtifactError, FaultError, MfedgeError, UsageError
from mfedge.workers import foreign
from tests.fuzz import oracle
from tests.fuzz.case import ARTIFACT, Call, Came, Case, Kind
from tests.fuzz.kinds import KINDS
from tests.fuzz.pool import Pool, repeat
from tests.fuzz.server import Server, build_handler

KEPT = Path(__file__).parents[2] / "build" / "fuzz"
CASES = {"toml": 300, "stored": 150, "picture": 300, "checkpoint": 100, "manifest": 150, "artifact": 100, "place": 150}
OF_MODELS = 60  # each of which is loaded in a runtime several times


def run(kind: str, cases: int, seed: int) -> None:
    pool = Pool([kind], seed, KEPT, slots=1)
    pool.run(cases=cases)
    tally = pool.tallies[kind]
    assert not tally.findings, "\n".join(f"{name}: {repeat(found[0])}" for name, found in tally.findings.items())
    assert tally.cases == cases
    assert tally.came["accepted"] and tally.came.total() > tally.came["accepted"], "neither all nor none is refused"


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.quick])
def test_nothing_is_found(kind: str) -> None:
    run(kind, CASES.get(kind, OF_MODELS), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found_in_many_cases(kind: str) -> None:
    run(kind, 10 * CASES.get(kind, OF_MODELS), seed=1_000_000)


# The oracle: what must be found is found, and what may happen is not.


def judged(function: Callable[[], object], check: Callable[[object], str | None] = lambda _: None) -> Came:
    return oracle.run(Call("call", function, ARTIFACT, check))


def raising(error: BaseException) -> Callable[[], object]:
    def function() -> object:
        raise error

    return function


def test_what_may_happen_is_told_apart() -> None:
    assert judged(lambda: 1).status == "accepted"
    assert judged(lambda: 1, lambda value: f"{value} is wrong").status == "finding"
    refused = judged(raising(ArtifactError("model.onnx: damaged")))
    assert (refused.status, refused.code) == ("refused", 6)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"), MemoryError(), RecursionError(), AssertionError(), SystemExit(1), UsageError("of another code"),
        FaultError("a fault of mfedge's own"), MfedgeError("of the code of a regression"), ArtifactError(""),
        ArtifactError("Traceback (most recent call last)"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:40],
)  # fmt: skip
def test_whatever_else_is_raised_is_a_finding(error: BaseException) -> None:
    assert judged(raising(error)).status == "finding"


def died(number: int, **told: str) -> Came:
    opened = told.pop("opened", "ONNX Runtime")
    texts = {"frames": "", "stack": "", "said": ""} | told
    return oracle.death("load", -number, [opened] if opened else [], **texts)


def test_deaths_are_told_apart() -> None:
    assert died(signal.SIGSEGV, frames="/lib/libonnxruntime.so(+0x12)").status == "died"
    assert died(signal.SIGXCPU, stack='  File "/a/onnx/shape_inference.py", line 3 in infer_shapes').status == "died"
    for own in (
        died(signal.SIGSEGV, opened=""),
        died(signal.SIGSEGV, opened="mfedge's TFLite reader"),
        died(
            signal.SIGSEGV, frames="/lib/libonnxruntime.so(+0x1)\n/x/mfedge/kernels/lib/libmfedge_onnxruntime.so(+0x2)"
        ),
        died(signal.SIGXCPU, stack='  File "/x/mfedge/formats/onnx/read.py", line 3 in graph'),
    ):
        assert own.status == "finding"


# The server, with kinds of its own: a child that dies tells where.


def server(tmp_path: Path, function: Callable[[], object], seconds: float = 20.0) -> Came:
    def make(*_: object) -> Case:
        return Case("made up", [Call("call", function, ARTIFACT)])

    (came,) = Server(Kind("made-up", make, seconds=seconds), tmp_path).case(0).came
    return came


def crash() -> None:
    with foreign.opening("a library", Path("model")):
        os.kill(os.getpid(), signal.SIGSEGV)


def crash_of_our_own() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def spin() -> None:
    while True:
        time.process_time()


def allocate() -> None:
    bytearray(8 << 30)


def test_a_crash_of_a_library_is_no_finding(tmp_path: Path) -> None:
    came = server(tmp_path, crash)
    assert (came.status, came.message) == ("died", "a library died: SIGSEGV")


@pytest.mark.parametrize("function", [crash_of_our_own, allocate], ids=["crash", "memory"])
def test_a_crash_and_memory_without_a_library_are_findings(function: Callable[[], object], tmp_path: Path) -> None:
    assert server(tmp_path, function).status == "finding"


def test_a_loop_of_our_own_is_a_finding_with_its_place(tmp_path: Path) -> None:
    came = server(tmp_path, spin, seconds=0.5)
    assert came.status == "finding" and "in spin" in came.detail


@pytest.mark.skipif(build_handler() is None, reason="needs a C++ compiler")
def test_a_crash_tells_its_native_frames(tmp_path: Path) -> None:
    assert "libc" in server(tmp_path, crash_of_our_own).detail
