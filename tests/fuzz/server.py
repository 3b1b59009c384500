"""``python -m tests.fuzz.server KIND FOLDER``: a process that imports a kind's libraries once, and forks for each case.

It reads a seed per line and answers an outcome per line, as JSON. The child that it forks makes the files, limits its
own memory and CPU time, and calls; how it dies is the server's to tell.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import IO, Any

import msgspec

from mfedge.workers import foreign
from mfedge.workers.child import confine
from tests.fuzz import oracle
from tests.fuzz.case import Came, Kind, Outcome
from tests.fuzz.kinds import kind_named

ASLEEP = 20.0  # seconds in which a child neither computes nor wants to: it waits for what will not come
LOOK = 0.5  # seconds between two looks at it
HANDLER = Path(__file__).with_name("crash.cpp")
BUILD = Path(__file__).parents[2] / "build"


class Line(msgspec.Struct, omit_defaults=True):
    """From the child to the server: what it does, one field at a time."""

    note: str | None = None
    begins: str | None = None  # a call
    opens: str | None = None  # a library
    came: Came | None = None


def build_handler() -> Path | None:
    """The compiled crash.cpp; None without a compiler: deaths then have no native frames."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    made = BUILD / "crash.so"
    if compiler is None:
        return None
    if not made.is_file() or made.stat().st_mtime < HANDLER.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        part = BUILD / f"crash.{os.getpid()}.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(HANDLER), "-o", str(part)], check=True)
        part.replace(made)
    return made


class Server:
    """Forks a child per case."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self._kind, self._folder = kind, folder
        self._seeds = folder / "seeds"
        self._decoder = msgspec.json.Decoder(Line)
        handler = build_handler()
        self._handler = None if handler is None else ctypes.CDLL(str(handler))
        for module in kind.modules:
            importlib.import_module(module)
        self._seeds.mkdir()
        self._apart(lambda: kind.prepare(self._seeds))

    def case(self, seed: int) -> Outcome:
        """Run the case of a seed."""
        place = self._folder / f"{self._kind.name}-{seed}"
        place.mkdir()
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as frames, tempfile.TemporaryFile() as stack, tempfile.TemporaryFile() as said:
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                self._child(seed, place, writing, frames, stack, said)
            os.close(writing)
            told, status = self._watch(pid, reading)
            texts = [_text(file) for file in (frames, stack, said)]
        return self._outcome(seed, place, told, status, *texts)

    def _watch(self, pid: int, pipe: int) -> tuple[bytes, int]:
        """All that the child told, and how it ended. One that waits for nothing is ended as if its CPU time were used
        up, so that its stack is written."""
        told, signals, looked = b"", [signal.SIGXCPU, signal.SIGKILL], time.monotonic()
        asleep = 0.0
        while True:
            ready, _, _ = select.select([pipe], [], [], LOOK)
            if ready:
                chunk = os.read(pipe, 1 << 16)
                if not chunk:
                    break
                told += chunk
            if time.monotonic() - looked > LOOK:
                asleep = asleep + LOOK if _sleeps(pid) else 0.0
                looked = time.monotonic()
            if asleep > ASLEEP and signals:
                os.kill(pid, signals.pop(0))
                asleep = 0.0
        os.close(pipe)
        return told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _outcome(self, seed: int, place: Path, told: bytes, status: int, frames: str, stack: str, said: str) -> Outcome:
        outcome = Outcome(self._kind.name, seed, "", str(place), [])
        opened: list[str] = []
        current = "making the case"
        for text in told.splitlines():
            line = self._decoder.decode(text)
            outcome.note = line.note or outcome.note
            if line.begins is not None:
                current, opened = line.begins, []
            if line.opens is not None:
                opened.append(line.opens)
            if line.came is not None:
                outcome.came.append(line.came)
                current = ""
        if status:
            outcome.came.append(oracle.death(current, status, opened, frames, stack, said))
        elif "Warning:" in said and "/mfedge/" in said:
            outcome.came.append(oracle.finding("standard error", "a warning is printed", said[-3000:], "warning"))
        return outcome

    def _child(self, seed: int, place: Path, pipe: int, frames: IO[bytes], stack: IO[bytes], said: IO[bytes]) -> None:
        """Never returns."""
        code = 1
        try:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            self._run(seed, place, pipe, frames, stack)
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _run(self, seed: int, place: Path, pipe: int, frames: IO[bytes], stack: IO[bytes]) -> None:
        def tell(**fields: Any) -> None:
            os.write(pipe, msgspec.json.encode(Line(**fields)) + b"\n")

        case = self._kind.make(random.Random(f"{self._kind.name} {seed}"), self._seeds, place)
        tell(note=case.note)
        foreign.announce = lambda library, path, *_: tell(opens=library)
        warnings.simplefilter("default", RuntimeWarning)
        if self._handler is not None:
            self._handler.install(frames.fileno())
        faulthandler.enable(stack, all_threads=False)
        faulthandler.register(signal.SIGXCPU, stack, all_threads=False, chain=True)
        _limit(self._kind)
        for call in case.calls:
            tell(begins=call.name)
            tell(came=oracle.run(call))

    def _apart(self, action: Any) -> None:
        """In a child, as it may start threads, which a fork would lose."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                action()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0, "the seeds could not be written"


def _limit(kind: Kind) -> None:
    """Memory beyond what is in use, and CPU time."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    confine(used + kind.memory)
    seconds = int(time.process_time() + kind.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def _sleeps(pid: int) -> bool:
    """Whether no thread of a process runs or could run: a busy machine makes it slow, not asleep."""
    states = []
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.append(stat.read_text().rpartition(")")[2].split()[0])
    return bool(states) and not {"R", "D"} & set(states)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(1 << 16).decode(errors="replace")


def main(name: str, folder: str) -> None:
    """Answer until end of file."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    confine(None)  # it ends with the process that asks
    server = Server(kind_named(name), Path(folder))
    pipe.write(b"ready\n")
    for line in sys.stdin.buffer:
        pipe.write(msgspec.json.encode(server.case(int(line))) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
