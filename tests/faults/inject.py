"""One command, broken once, and everything that is then not as it should be."""

from __future__ import annotations

import contextlib
import errno
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from mfedge import files
from mfedge.artifacts import manifest
from mfedge.errors import ArtifactError, Exit
from tests.faults.commands import Command, World, contents, state

SIGNALS = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED, signal.SIGHUP: Exit.HUNG_UP}
ERRORS = (errno.ENOSPC, errno.EROFS, errno.EIO)
DISK = Path(__file__).parent / "disk.c"
LIBRARY = DISK.parent.parent.parent / "build" / "disk.so"
LONGEST = 600  # characters of a line on standard error
LEAVE = 3.0  # seconds in which the processes of a command are gone after it


class Whole(Struct, frozen=True):
    """A command that nothing disturbed: what it left, how long it took, and how often it changed the disk."""

    was: dict[str, bytes]
    after: dict[str, bytes]
    seconds: float
    operations: int


class Broken(Struct, frozen=True):
    """A command that was disturbed."""

    command: str
    fault: str
    exit_code: int
    left: str  # "before", "after", or both where a command writes several answers
    wrong: tuple[str, ...]  # what is not as it should be


def undisturbed(command: Command, world: World) -> Whole:
    """Run it to its end."""
    was = contents(world.out)
    counter = _counter(world)
    begin = time.monotonic()
    code, told = _finish(world.start(command, _disk(world, counter, 1 << 40, errno.EIO)))
    assert code == 0, (command, told)
    return Whole(was, contents(world.out), time.monotonic() - begin, int.from_bytes(counter.read_bytes(), "little"))


def interrupted(command: Command, whole: Whole, number: signal.Signals, moment: float, *, world: World) -> Broken:
    """Send a signal after `moment` seconds. What kill -9 leaves, the next run of the command has to sweep."""
    process = world.start(command)
    time.sleep(moment)
    process.send_signal(number)
    code, told = _finish(process)
    fault = f"{number.name} after {moment:.2f} s"
    if number == signal.SIGKILL:
        wrong = _processes(world)
        left = _left(command, world, whole, wrong, swept=not command.units)
        if command.units:
            again, told = _finish(world.start(command))
            if again != 0:
                wrong.append(f"the next run ends with {again}: {told[-300:]}")
            _left(command, world, whole, wrong)
        return Broken(command.name, fault, code, left, tuple(wrong))
    wrong = [*_told(told), *_processes(world)]
    left = _left(command, world, whole, wrong)
    if code not in ({SIGNALS[number], Exit.DONE} if left == "after" or not command.units else {SIGNALS[number]}):
        wrong.append(f"exit code {code}: {told[-300:]}")
    return Broken(command.name, fault, code, left, tuple(wrong))


def failed(command: Command, whole: Whole, error: int, after: int, *, world: World) -> Broken:
    """The disk refuses from its operation number `after` on.

    One that has turned read-only between two renames takes no third, and none back: then each file is whole, and not
    each answer.
    """
    if error == errno.EROFS:
        each = tuple((name,) for name in {**whole.was, **whole.after} if name.startswith(command.paths))
        command = msgspec.structs.replace(command, units=each)
    code, told = _finish(world.start(command, _disk(world, _counter(world), after, error)))
    wrong = [*_told(told), *_processes(world)]
    left = _left(command, world, whole, wrong, swept=error != errno.EROFS)  # nothing can be swept from a read-only disk
    expected = {Exit.STORAGE, Exit.DONE} if left == "after" else {Exit.STORAGE}
    if code not in expected:
        wrong.append(f"exit code {code}: {told[-300:]}")
    return Broken(command.name, f"{errno.errorcode[error]} from operation {after} on", code, left, tuple(wrong))


def starved(command: Command, whole: Whole, most: int, *, world: World) -> Broken:
    """It may have no more than `most` open at a time."""
    process = world.start(command, limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))
    code, told = _finish(process)
    wrong = [*_told(told), *_processes(world)]
    left = _left(command, world, whole, wrong)
    if code not in {*Exit} - {Exit.REGRESSION, Exit.INCONCLUSIVE, Exit.PARITY, Exit.FAULT}:
        wrong.append(f"exit code {code}: {told[-300:]}")
    return Broken(command.name, f"{most} open files", code, left, tuple(wrong))


def crowded(command: Command, whole: Whole, *, world: World) -> Broken:
    """Two of it write into one place at the same time."""
    processes = [world.start(command) for _ in range(2)]
    codes, wrong = [], []
    for process in processes:
        code, told = _finish(process)
        codes.append(code)
        wrong += _told(told)
    left = _left(command, world, whole, wrong)
    if 0 not in codes or left != "after":
        wrong.append(f"exit codes {codes}")
    return Broken(command.name, "two at once", max(codes), left, tuple(wrong))


def compile_disk() -> str | None:
    """Compile the disk that fails; why it cannot be, or None."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or sys.platform != "linux":
        return "the disk that fails needs Linux and a C compiler"
    with files.beside(LIBRARY) as made:
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", made, DISK, "-ldl"], check=True)
    return None


def _disk(world: World, counter: Path, after: int, error: int) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(LIBRARY),
        "MFEDGE_DISK_BELOW": str(world.out),
        "MFEDGE_DISK_AFTER": str(after),
        "MFEDGE_DISK_ERROR": str(error),
        "MFEDGE_DISK_COUNTER": str(counter),
    }


def _counter(world: World) -> Path:
    path = world.folder / "operations"
    path.write_bytes(bytes(8))
    return path


def _finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    told = process.communicate(timeout=300)[1]
    code = process.returncode
    return (code if code >= 0 else 128 - code), told  # as a shell says it


def _told(told: str) -> list[str]:
    """What is wrong with standard error."""
    wrong = []
    if "Traceback" in told or "Exception ignored" in told:
        wrong.append(f"a traceback: {told[-1500:]}")
    if sum(line.startswith("error:") for line in told.splitlines()) > 1:
        wrong.append(f"more than one error: {told[-600:]}")
    wrong += [f"a line of {len(line)} characters" for line in told.splitlines() if len(line) > LONGEST]
    return wrong


def _processes(world: World) -> list[str]:
    """Processes of the command that outlive it."""
    end = time.monotonic() + LEAVE
    while (alive := world.processes()) and time.monotonic() < end:
        time.sleep(0.05)
    return [f"a process is left: {line[:200]}" for line in alive]


def _left(command: Command, world: World, whole: Whole, wrong: list[str], swept: bool = True) -> str:
    """The state of the command's files; to `wrong` is added what is half, and what should not be there."""
    now = contents(world.out)
    states = {unit: state(command, unit, now=now, was=whole.was, whole=whole.after) for unit in command.units}
    wrong += [f"{', '.join(unit)}: neither as before nor whole" for unit, found in states.items() if found == "half"]
    for name, data in now.items():
        expected = whole.was.get(name, b"" if name.endswith("/") and name[:-1] in _folders(whole.was) else None)
        if not name.startswith(command.paths) and (swept or ".mfedge-staging" not in name) and data != expected:
            wrong.append(f"{name} is left")
    for name in whole.was:
        if name not in now and not name.startswith(command.paths):
            wrong.append(f"{name} is gone")
    if swept:
        wrong += [f"temporary {name} is left" for name in contents(world.temporary)]
    for unit in command.units:
        for name in unit:
            with contextlib.suppress(FileNotFoundError):
                if (world.out / name / "manifest.json").exists():
                    try:
                        manifest.opened(world.out / name)
                    except ArtifactError as error:
                        wrong.append(f"{name}: {error}")
    found = set(states.values()) or {"before"}
    return found.pop() if len(found) == 1 else "both"


def _folders(files: dict[str, bytes]) -> set[str]:
    return {str(parent) for name in files for parent in Path(name).parents}
