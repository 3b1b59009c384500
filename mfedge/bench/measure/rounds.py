"""The measurement: every case of one size once per round, in a fresh random order, until intervals are narrow enough;
then the next size; then all sizes again in fresh processes.

What happens to one case (it crashes, it takes two threads, memory runs out) is that case's result; the others
go on. What has been measured when the time is up or somebody presses Ctrl-C is the result.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Protocol as Interface

from msgspec import Struct
from msgspec.structs import replace

from mfedge.bench.cases import Case
from mfedge.bench.measure import environment
from mfedge.bench.measure.driver import Worker, WorkerError
from mfedge.bench.measure.worker import LOADER
from mfedge.bench.results import crossover
from mfedge.bench.results import intervals as statistics
from mfedge.bench.results.schema import SCHEMA, CaseResult, Load, Protocol, Result, Status, Visit
from mfedge.bench.stored import MOST_VISITS
from mfedge.errors import Exit
from mfedge.runtimes.base import Metadata
from mfedge.sizes import Size
from mfedge.text import line

LOADING = 4.0  # cost of a size beside its pixels, in inferences of 224×224: how the budget is shared out


class Progress(Struct, frozen=True):
    """What the live display shows; statistics of the size being measured."""

    size: Size
    index: int
    sizes: int
    process: int
    processes: int
    round: int
    doing: str
    seconds_left: float
    cases: tuple[CaseResult, ...]


class Listener(Interface):
    """Who is told while it runs. Called between measurements only."""

    def update(self, progress: Progress) -> None:
        """Something was measured."""

    def note(self, line: str) -> None:
        """Something the user should read, once."""


class Silent:
    """Tells nobody."""

    def update(self, progress: Progress) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""


class Record:
    """A case's result while it grows."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.status: Status = "unmeasured"
        self.message = ""
        self.loads: list[Load] = []
        self.visits: list[Visit] = []
        self.executed: Metadata | None = None
        self.exit_code = Exit.DONE

    def fail(self, error: WorkerError) -> None:
        """Keep what was measured, and why there is no more."""
        self.status, self.message, self.exit_code = error.status, line(error), error.exit_code

    def result(self) -> CaseResult:
        """As it is now."""
        case = self.case
        name = os.path.basename(case.path)
        return CaseResult(
            case.model, case.runtime, case.size, name, case.sha256, case.bytes, self.status, self.message,
            executed=self.executed, batch_norms=case.batch_norms, loads=tuple(self.loads), visits=tuple(self.visits),
        )  # fmt: skip


class Run:
    """One measurement of cases under a protocol."""

    def __init__(
        self,
        cases: Sequence[Case],
        plan: Protocol,
        reference: str | None,
        title: str = "bench",
        listener: Listener | None = None,
        checkpoint: Callable[[Result], None] | None = None,
        loader: str = LOADER,
    ) -> None:
        self.plan = plan
        self.reference = reference
        self._title, self._loader = title, loader
        self._listener: Listener = listener or Silent()
        self._checkpoint = checkpoint
        self._records = {(case.model, case.runtime, case.size): Record(case) for case in cases}
        self._order = random.Random(plan.seed)
        self._between: list[environment.Moment] = []
        self._start = self._deadline = 0.0
        self._costs: dict[Size, float] = {}  # seconds of the last pass
        self._late = False

    def execute(self, refine: bool = False) -> Result:
        """Measure everything the budget allows; a KeyboardInterrupt ends it with what there is.

        Args:
            refine: then bisect for the crossover of every runtime, as long as time is left.
        """
        cpu = self.plan.cpu
        started, self._start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        self._deadline = self._start + self.plan.budget_seconds
        machine, before = environment.capture(cpu), environment.moment(cpu)

        def so_far(ended: str) -> Result:
            cases = tuple(record.result() for record in self._records.values())
            complete = ended != INTERRUPTED and all(case.status != "unmeasured" for case in cases)
            return Result(
                SCHEMA, self._title, started, time.monotonic() - self._start, self.reference, self.plan,
                machine, before, environment.moment(cpu), complete, ended, cases, tuple(self._between),
            )  # fmt: skip

        def measured() -> None:
            self._between.append(environment.moment(cpu))
            if self._checkpoint:
                self._checkpoint(so_far("still running"))

        ended = ""
        try:
            self._passes({size for _, _, size in self._records}, self._deadline, measured)
            if refine:
                self._refine(measured)
            ended = PRECISE if self._left() > 0 and self._finished() else OUT_OF_TIME
        except KeyboardInterrupt:
            ended = INTERRUPTED
        return so_far(ended)

    @property
    def exit_code(self) -> Exit:
        """Of what was executed: that of every failure if nothing could be measured, else that of a failed case."""
        failures = {record.exit_code for record in self._records.values() if record.exit_code != Exit.DONE}
        measured = any(record.status == "ok" for record in self._records.values())
        if not failures:
            return Exit.DONE
        return failures.pop() if len(failures) == 1 and not measured else Exit.REGRESSION

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _passes(self, sizes: Iterable[Size], deadline: float, measured: Callable[[], None]) -> None:
        """Every size in fresh processes, then all of them once more.

        This way the intervals include variation between processes and over time. If an interval is still too wide after
        the requested number of processes, further processes are added while time remains.
        """
        order = sorted(sizes, key=lambda size: (size.pixels, size))
        wanted = self.plan.processes
        for process in count():
            more = wanted > 1 and (process + 1) * self.plan.max_rounds <= MOST_VISITS  # what a result can hold
            todo = [size for size in order if process < wanted or (more and not self._precise(size))]
            end = time.monotonic() + (deadline - time.monotonic()) / max(1, wanted - process)
            for index, size in enumerate(todo):
                now = time.monotonic()
                if now >= deadline or (process >= wanted and now + self._costs[size] > deadline):
                    return
                share = weight(size) / sum(map(weight, todo[index:]))
                self._size(size, process, index, len(todo), now + (end - now) * share)
                self._costs[size] = time.monotonic() - now
                measured()
            if not todo:
                return

    def _at(self, size: Size) -> list[Record]:
        return [record for (_, _, other), record in self._records.items() if other == size]

    def _size(self, size: Size, process: int, index: int, sizes: int, end: float) -> None:
        """All rounds of one process of every case of one size."""
        records = self._at(size)
        alive = [record for record in records if record.status in ("unmeasured", "ok")]
        workers: dict[int, Worker] = {}

        def tell(round_: int, doing: str) -> None:
            results = tuple(record.result() for record in records)
            left = max(0.0, self._left())
            self._listener.update(
                Progress(size, index, sizes, process, self.plan.processes, round_, doing, left, results)
            )

        try:
            for record in alive:
                workers[id(record)] = Worker(record.case, self.plan, self._loader)
            for record in alive:
                tell(0, f"loading {record.case.label}")
                self._load(record, workers)
            with environment.avoiding(self.plan.cpu):
                self._rounds(size, workers, process, end, tell)
            for record in alive:
                if worker := workers.get(id(record)):
                    record.loads[-1] = worker.state(record.loads[-1].base_rss_bytes)
        finally:
            for worker in workers.values():
                worker.leave()
            for worker in workers.values():
                worker.close()

    def _load(self, record: Record, workers: dict[int, Worker]) -> None:
        worker = workers[id(record)]
        try:
            record.loads.append(worker.load())
        except WorkerError as error:
            self._drop(record, workers, error)
        if worker.loaded:
            record.executed = worker.loaded.executed

    def _rounds(
        self, size: Size, workers: dict[int, Worker], process: int, end: float, tell: Callable[[int, str], None]
    ) -> None:
        for index in range(self.plan.max_rounds):
            order = [record for record in self._at(size) if id(record) in workers]
            self._order.shuffle(order)
            for position, record in enumerate(order):
                try:
                    seconds = workers[id(record)].visit()
                    record.visits.append(Visit(process, index, position, seconds))
                    record.status = "ok"
                    workers[id(record)].check_threads()
                except WorkerError as error:
                    self._drop(record, workers, error)
            tell(index + 1, "measuring")
            late, enough = time.monotonic() > end, index + 1 >= self.plan.min_rounds
            if not order or self._left() <= 0 or (late and enough):
                self._late = self._late or bool(order)
                return
            if enough and self._precise(size, process):
                return

    def _drop(self, record: Record, workers: dict[int, Worker], error: WorkerError) -> None:
        """End the case, keep the others."""
        record.fail(error)
        workers.pop(id(record)).close()
        self._listener.note(f"{record.case.label}: {error}")

    def _precise(self, size: Size, process: int | None = None) -> bool:
        """Whether every ratio's interval (or, without a reference, every median's) is as narrow as asked.

        Args:
            size: whose cases.
            process: only what this one measured; None takes all of them.
        """

        def groups(case: CaseResult, reference: CaseResult | None) -> list[list[float]]:
            chosen = {key: seconds for key, seconds in case.rounds.items() if process in (None, key[0])}
            return statistics.log_ratios(chosen, reference.rounds if reference else dict.fromkeys(chosen, 1.0))

        results = [record.result() for record in self._at(size) if record.status == "ok"]
        for case in results:
            reference = next((r for r in results if r.model == self.reference and r.runtime == case.runtime), None)
            if self.reference is not None and (reference is None or reference is case):
                continue
            found = statistics.interval(groups(case, reference), self.plan.level)
            if found is None or found.exp().width > self.plan.within:
                return False
        return True

    def _finished(self) -> bool:
        if self.plan.processes == 1:
            return not self._late
        return all(self._precise(size) for size in {size for _, _, size in self._records})

    def _refine(self, measured: Callable[[], None]) -> None:
        """Bisect between the sizes around each runtime's crossover."""
        if self.reference is None:
            return
        while self._left() > 0:
            wanted: set[Size] = set()
            for model, runtime in {(model, runtime) for model, runtime, _ in self._records if model != self.reference}:
                side = crossover.bisect(self._ratios(model, runtime))
                if side is None:
                    continue
                for name in (model, self.reference):
                    template = next(r.case for (m, rt, _), r in self._records.items() if (m, rt) == (name, runtime))
                    record = Record(replace(template, size=Size(side, side)))
                    if self._records.setdefault((name, runtime, Size(side, side)), record) is record:
                        wanted.add(Size(side, side))
            if not wanted:
                return
            self._passes(wanted, time.monotonic() + self._left() / 4, measured)

    def _ratios(self, model: str, runtime: str) -> dict[float, list[list[float]]]:
        """side → grouped log ratios to the reference."""
        found = {}
        for (name, other, size), record in self._records.items():
            reference = self._records.get((str(self.reference), runtime, size))
            if (name, other) == (model, runtime) and reference and record.status == reference.status == "ok":
                found[size.side] = statistics.log_ratios(record.result().rounds, reference.result().rounds)
        return found


INTERRUPTED = "interrupted; what had been measured is kept"
OUT_OF_TIME = "the time budget was used up before every interval was as narrow as asked"
PRECISE = "every interval is as narrow as asked, or has all its rounds"


def weight(size: Size) -> float:
    """A size's share of the budget."""
    return LOADING + size.pixels / 224**2
