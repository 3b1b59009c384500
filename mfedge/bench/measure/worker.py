"""One case in a process of its own: ``python -m mfedge.bench.measure.worker RUNTIME [LOADER]``, driven over a pipe.

The driver starts it, tells it what to do line by line, and watches its threads from outside. What a runtime
prints goes to standard error, so that standard output stays the pipe.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mfedge import plugins
from mfedge.arrays import random_images
from mfedge.bench.measure import messages
from mfedge.errors import Exit, MfedgeError
from mfedge.runtimes.table import RUNTIMES
from mfedge.workers import foreign
from mfedge.workers.child import confine

if TYPE_CHECKING:
    from mfedge.runtimes.base import Session

LOADER = "mfedge.runtimes:load"
WINDOW_SECONDS, WINDOW_RUNS = 0.12, 2  # of warm-up: at least so long and so many


class Bench:
    """A loaded session and its prepared input."""

    def __init__(self, load: Callable[..., Session]) -> None:
        self._load = load
        self._session: Session | None = None
        self._images: Any = None
        self._prepared: Any = None

    def load(self, request: messages.LoadModel) -> messages.Loaded:
        """Pin, load, prepare, and run once."""
        confine(request.memory_bytes)
        pin_all_threads(request.cpu)
        self._images = random_images(request.seed, request.height, request.width)
        start = time.perf_counter()
        session = self._load(Path(request.path), runtime=request.runtime, threads=request.threads)
        loaded = time.perf_counter()
        self._session, self._prepared = session, session.prepare(self._images)
        prepared = time.perf_counter()
        session.invoke(self._prepared)
        first = time.perf_counter()
        pin_all_threads(request.cpu)
        return messages.Loaded(
            load_seconds=loaded - start,
            first_seconds=first - prepared,
            executed=session.metadata,
            pinned=allowed_cpus(),
        )

    def warm(self, request: messages.WarmUp) -> messages.Warm:
        """Windows of inferences until the medians of two in a row differ by no more than asked."""
        seconds: list[float] = []
        previous: float | None = None
        plateau = False
        end = time.perf_counter() + request.cap_seconds
        while not plateau:
            window: list[float] = []
            while len(window) < WINDOW_RUNS or sum(window) < WINDOW_SECONDS:
                window += self._timed(1, 1)
            seconds += window
            median = sorted(window)[len(window) // 2]
            plateau = previous is not None and abs(median / previous - 1) <= request.agreement
            previous = median
            if time.perf_counter() > end:
                break
        assert previous is not None
        return messages.Warm(tuple(seconds), plateau, max(1, round(request.sample_seconds / previous)))

    def sample(self, request: messages.Sample) -> messages.Samples:
        """The visit's samples, every one of them."""
        if request.settle:
            self._timed(1, 1)
        seconds: list[float] = []
        end = time.perf_counter() + request.visit_seconds
        while len(seconds) < request.samples or time.perf_counter() < end:
            seconds += self._timed(1, request.loops)
        return messages.Samples(tuple(seconds))

    def compute(self) -> messages.Answer:
        """Every output for the image."""
        assert self._session is not None
        found = self._session.run(self._images)
        return messages.Answer({name: tuple(float(number) for number in found[name].ravel()) for name in found})

    def _timed(self, samples: int, loops: int) -> list[float]:
        """Seconds of one inference, for each of `samples` loops."""
        assert self._session is not None
        invoke, prepared, clock = self._session.invoke, self._prepared, time.perf_counter
        seconds = []
        for _ in range(samples):
            start = clock()
            for _ in range(loops):
                invoke(prepared)
            seconds.append((clock() - start) / loops)
        return seconds


def pin_all_threads(cpu: int | None) -> None:
    """Every thread of this process, those a library has already started included, on one CPU."""
    if cpu is None or not hasattr(os, "sched_setaffinity"):
        return
    for thread in _threads():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(thread, {cpu})


def allowed_cpus() -> tuple[int, ...]:
    """CPUs that any thread of this process may run on."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    found: set[int] = set()
    for thread in _threads():
        with contextlib.suppress(ProcessLookupError):
            found |= os.sched_getaffinity(thread)
    return tuple(sorted(found))


def _threads() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]


def _handle(bench: Bench, request: messages.Request) -> messages.Reply:
    try:
        match request:
            case messages.LoadModel():
                return bench.load(request)
            case messages.WarmUp():
                return bench.warm(request)
            case messages.Sample():
                return bench.sample(request)
            case messages.Compute():
                return bench.compute()
    except MfedgeError as error:
        return messages.Failed(str(error), error.exit_code)
    except Exception as error:  # whatever a runtime throws is this case's result, not the end of the run
        short = "out of memory: " if foreign.is_out_of_memory(error) else ""
        return messages.Failed(f"{short}{foreign.reason(error)}", Exit.ARTIFACT)


def main(arguments: list[str]) -> None:
    """Read requests until end of file."""
    runtime, loader = arguments[0], arguments[1] if len(arguments) > 1 else LOADER
    confine(None)
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def send(reply: messages.Reply) -> None:
        pipe.write(msgspec.json.encode(reply) + b"\n")

    try:
        plugins.load()
        with contextlib.suppress(ImportError):  # loading reports a missing library
            importlib.import_module(RUNTIMES[runtime].library if runtime in RUNTIMES else "numpy")
        module, _, function = loader.partition(":")
        bench = Bench(getattr(importlib.import_module(module), function))
    except Exception as error:  # a broken library is this case's result too
        send(messages.Failed(f"{type(error).__name__}: {error}".splitlines()[0], 4))
        return
    gc.collect()
    gc.disable()
    send(messages.Ready(os.getpid()))
    decoder = msgspec.json.Decoder(messages.Request)
    for line in sys.stdin.buffer:
        send(_handle(bench, decoder.decode(line)))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main(sys.argv[1:])
