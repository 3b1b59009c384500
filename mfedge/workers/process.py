"""The parent's side of a worker: start it, ask with a time limit, and say in one line how it died."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from mfedge.workers.foreign import OUT_OF_MEMORY

PARENT = "MFEDGE_WORKER_OF"  # environment variable of a worker: the number of its parent's process
MODULES = {"PYTHONSAFEPATH": "1"}  # of a worker: `-m` alone would import what lies in the working folder
MESSAGE = 400  # characters of a child's last words that are shown
Status = Literal["failed", "killed", "timeout"]


class Limits(Struct, frozen=True):
    """What a worker may take."""

    seconds: float = 120.0  # for any single answer
    memory_bytes: int = 8 << 30  # of address space; a machine with less memory has less

    @property
    def address_space(self) -> int:
        """The limit for this machine."""
        with contextlib.suppress(ValueError, OSError, AttributeError):
            return min(self.memory_bytes, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        return self.memory_bytes


class Death(Exception):
    """A worker is gone, or was ended; `reason` continues a sentence that begins with what it was doing."""

    def __init__(self, status: Status, reason: str, signal: int | None = None) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason
        self.signal = signal


class Process:
    """A Python process that answers lines on its standard output to lines on its standard input."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        limits: Limits,
        environment: Mapping[str, str],
        interpreter: Sequence[str] = (),
    ) -> None:
        """Start ``python -m module arguments``.

        Args:
            module: of the child.
            arguments: of its command line.
            limits: of each answer's time; the child sets the memory's limit itself, as it knows when.
            environment: variables beside those of this process.
            interpreter: the command that starts Python, under an emulator for example; default: this Python.
        """
        self.limits = limits
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._buffer = b""
        self._process = subprocess.Popen(
            [*(interpreter or (sys.executable,)), "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **environment, PARENT: str(os.getpid()), **MODULES, "PYTHONPATH": module_path()},
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the worker
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Send one line.

        Raises:
            Death: nobody reads it.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self.death() from None

    def receive(self) -> bytes:
        """The next line.

        Raises:
            Death: the process ended, or did not answer in time and was ended.
        """
        assert self._process.stdout is not None
        end = time.monotonic() + self.limits.seconds
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self._process.kill()
                raise Death("timeout", f"did not answer within {self.limits.seconds:g} s and was ended")
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                raise self.death()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def death(self) -> Death:
        """Why the process is gone."""
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            hint = "; the system may be out of memory" if code == -signal.SIGKILL else self._memory_hint()
            return Death("killed", f"died of signal {-code} ({name}){hint}", -code)
        return Death("failed", f"ended with code {code}: {self.last_words() or 'no message'}")

    def _memory_hint(self) -> str:
        """A library that is refused memory often aborts, and says so only on standard error."""
        if not any(sign in self.last_words().lower() for sign in OUT_OF_MEMORY):
            return ""
        return f"; it was refused memory beyond {self.limits.address_space / 2**30:.3g} GiB"

    def last_words(self) -> str:
        """The last line that the process wrote to its standard error."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:MESSAGE] if lines else ""

    def kill(self) -> None:
        """End the process at once, from any thread; whoever waits for its answer gets a Death."""
        self._process.kill()

    def leave(self) -> None:
        """Ask the process to end; `close` waits for it."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()

    def close(self) -> None:
        """End the process; at once, if it does not leave by itself."""
        self.leave()
        try:
            self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()


def module_path() -> str:
    """PYTHONPATH of a child that finds the same modules as this process, installed or not."""
    return os.pathsep.join([str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)])
