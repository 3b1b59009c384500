"""The parent's side of one worker: start, ask with a time limit, watch its threads, tell how it died."""

from __future__ import annotations

import signal
from typing import TypeVar

import msgspec

from mfedge.bench.cases import Case
from mfedge.bench.measure import messages, threads
from mfedge.bench.measure.environment import out_of_memory_kills
from mfedge.bench.measure.worker import LOADER
from mfedge.bench.results.schema import Load, Protocol, Status
from mfedge.errors import Exit, MfedgeError
from mfedge.runtimes.table import label
from mfedge.workers.process import Death, Limits, Process

SETTLE_BELOW = 0.05  # seconds: a longer inference does not notice what another process left in the caches
ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TBB_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0",  # no spinning
    "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONHASHSEED": "0",
}  # fmt: skip


R = TypeVar("R", bound=messages.Reply)


class WorkerError(MfedgeError):
    """A case that cannot be measured; `status` says how it ended. The others go on."""

    def __init__(self, status: Status, message: str, exit_code: Exit = Exit.REGRESSION) -> None:
        super().__init__(message)
        self.status: Status = status
        self.exit_code = exit_code


class Worker:
    """A process for one case. Its libraries load while the next one starts; nothing is timed before `load`."""

    def __init__(self, case: Case, protocol: Protocol, loader: str = LOADER) -> None:
        self.case = case
        self.loaded: messages.Loaded | None = None
        self.warm: messages.Warm | None = None
        self._protocol = protocol
        self._started: threads.Usage | None = None
        self._kills = out_of_memory_kills()
        self._process = Process(
            "mfedge.bench.measure.worker",
            (case.runtime, loader),
            Limits(protocol.timeout_seconds, protocol.memory_bytes),
            {**ONE_THREAD, "OMP_NUM_THREADS": str(protocol.threads)},
        )

    @property
    def pid(self) -> int:
        """Of the worker's process."""
        return self._process.pid

    def load(self) -> Load:
        """Wait for the libraries, pin, load, warm up.

        Raises:
            WorkerError: it could not be loaded, died, took too long, or computed on more threads than allowed.
        """
        protocol, case = self._protocol, self.case
        self._answer(messages.Ready)
        base = threads.memory(self.pid)
        size = case.size
        self.loaded = self._ask(
            messages.LoadModel(
                case.path,
                case.runtime,
                protocol.threads,
                size.height,
                size.width,
                protocol.seed,
                protocol.cpu,
                self._process.limits.address_space,
            ),
            messages.Loaded,
        )
        self._started = threads.usage(self.pid)
        self.warm = self._ask(
            messages.WarmUp(protocol.warmup_seconds, protocol.warmup_agreement, protocol.sample_seconds), messages.Warm
        )
        if protocol.cpu is not None and self.loaded.pinned not in ((), (protocol.cpu,)):
            raise WorkerError("threads", f"expected every thread on CPU {protocol.cpu}, found {self.loaded.pinned}")
        self.check_threads()
        return self.state(base[0] if base else None)

    def state(self, base_rss: int | None = None) -> Load:
        """What is known of this process up to now."""
        assert self.loaded is not None and self.warm is not None
        memory, now = threads.memory(self.pid), threads.usage(self.pid)
        return Load(
            load_seconds=self.loaded.load_seconds,
            first_seconds=self.loaded.first_seconds,
            warmup=self.warm.seconds,
            plateau=self.warm.plateau,
            loops=self.warm.loops,
            peak_rss_bytes=memory[1] if memory else None,
            base_rss_bytes=base_rss,
            threads=len(now.threads) if now else None,
            busy_threads=threads.busy(self._started, now) if now and self._started else None,
            pinned=self.loaded.pinned,
        )

    def visit(self) -> tuple[float, ...]:
        """Seconds of one inference, one per sample.

        Raises:
            WorkerError: as `load`.
        """
        assert self.warm is not None
        protocol = self._protocol
        settle = sorted(self.warm.seconds)[len(self.warm.seconds) // 2] < SETTLE_BELOW
        request = messages.Sample(self.warm.loops, protocol.visit_seconds, protocol.samples_per_visit, settle)
        return self._ask(request, messages.Samples).seconds

    def compute(self) -> dict[str, tuple[float, ...]]:
        """Every output, flat, for the protocol's seeded image."""
        return self._ask(messages.Compute(), messages.Answer).outputs

    def check_threads(self) -> None:
        """Read back from the OS that no more threads compute than were asked for.

        Raises:
            WorkerError: more do.
        """
        now = threads.usage(self.pid)
        if now is None or self._started is None:
            return
        count = threads.busy(self._started, now)
        if count is not None and count > self._protocol.threads:
            raise WorkerError(
                "threads", f"expected {self._protocol.threads} thread at work, found {count} of {len(now.threads)}"
            )

    def leave(self) -> None:
        """Ask the process to end; `close` waits for it."""
        self._process.leave()

    def close(self) -> None:
        """End the process; at once, if it does not leave by itself."""
        self._process.close()

    def _ask(self, request: messages.Request, kind: type[R]) -> R:
        try:
            self._process.send(msgspec.json.encode(request))
        except Death as death:
            raise self._gone(death) from None
        return self._answer(kind)

    def _answer(self, kind: type[R]) -> R:
        try:
            line = self._process.receive()
        except Death as death:
            raise self._gone(death) from None
        reply = msgspec.json.decode(line, type=messages.Reply)
        if isinstance(reply, messages.Failed):
            raise WorkerError("failed", " ".join(reply.message.split()), Exit.of(reply.exit_code))
        assert isinstance(reply, kind), f"expected {kind.__name__}, found {type(reply).__name__}"
        return reply

    def _gone(self, death: Death) -> WorkerError:
        """The error for a process that is gone: the file is at fault, unless the whole machine was short of memory."""
        kills = out_of_memory_kills()
        if death.signal == signal.SIGKILL and kills is not None and self._kills is not None and kills > self._kills:
            return WorkerError("killed", "out of memory: the kernel killed the process")
        return WorkerError(death.status, f"{label(self.case.runtime)} {death.reason}", Exit.ARTIFACT)
