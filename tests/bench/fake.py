"""A runtime that behaves as its file's text says: the bench's tests load it in real worker processes."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from mfedge.arrays import Array
from mfedge.errors import ArtifactError
from mfedge.runtimes.base import Metadata

LOADER = "tests.bench.fake:load"


def load(path: Path, runtime: str | None = None, threads: int = 1) -> FakeSession:
    """`path` holds "MILLISECONDS [BEHAVIOUR]"."""
    words = Path(path).read_text().split()
    if "refuse" in words:
        raise ArtifactError(f"{Path(path).name}: not a model")
    return FakeSession(float(words[0]) / 1e3, set(words[1:]), runtime or "fake", threads)


class FakeSession:
    """Computes for a while; cost is per 64×64 pixels, so that sizes matter."""

    def __init__(self, seconds: float, behaviour: set[str], runtime: str, threads: int) -> None:
        self.metadata = Metadata(runtime, "1.0", (1, 3, None, None), "NCHW", ("logits",), threads, "fake", "float32")
        self.seconds, self.behaviour = seconds, behaviour
        self.calls = 0
        self.born = time.perf_counter()
        if "pool" in behaviour:  # threads that exist but sleep
            for _ in range(3):
                threading.Thread(target=threading.Event().wait, daemon=True).start()
        if "two-threads" in behaviour:
            threading.Thread(target=_burn, daemon=True).start()

    def run(self, images: Array) -> dict[str, Array]:
        noise = 1.0 if "wrong" in self.behaviour else 0.0
        values = np.arange(10, dtype=np.float32)[None]
        return {"logits": values + np.float32(noise) * values**2}

    def prepare(self, images: Array) -> Any:
        return self.seconds * (images.shape[2] * images.shape[3] / 64**2) ** (0.5 if "half" in self.behaviour else 1.0)

    def invoke(self, prepared: Any) -> None:
        self.calls += 1
        late = time.perf_counter() - self.born > 0.6
        if "crash" in self.behaviour and late:
            ctypes.string_at(0)
        if "killed" in self.behaviour and late:
            os.kill(os.getpid(), signal.SIGKILL)
        if "memory" in self.behaviour and late:
            raise MemoryError("cannot allocate 12 GiB")
        if "hang" in self.behaviour and late:
            time.sleep(3600)
        end = time.perf_counter() + prepared  # by the clock: other work on the machine does not stretch it
        while time.perf_counter() < end:
            pass


def _burn() -> None:
    value = np.random.default_rng(0).standard_normal((256, 256))
    while True:
        value = np.tanh(value @ value * 1e-2)
