"""The gate's measurement: baseline, baseline again and candidate take turns in palindromes, in fresh processes.

A round visits the three sides in a random order and then in its reverse (A B C C B A: ABBA for every pair), so
that a clock that drifts steadily cancels within the round.
"""

from __future__ import annotations

import math
import random
import statistics as plain
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from mfedge.bench.cases import Case
from mfedge.bench.gate import judge as gate
from mfedge.bench.gate.figures import FigureLine
from mfedge.bench.gate.judge import CaseKey, CaseLine, Groups, Report, Settings, Sides
from mfedge.bench.gate.outputs import difference
from mfedge.bench.measure import environment
from mfedge.bench.measure.driver import Worker, WorkerError
from mfedge.bench.measure.worker import LOADER
from mfedge.bench.results import intervals as statistics
from mfedge.bench.results.fairness import computed
from mfedge.bench.results.schema import Protocol, Visit
from mfedge.errors import Exit, GateError

SIDES = ("baseline", "control", "candidate")
T = TypeVar("T")
Pair = tuple[Case, Case]  # baseline, candidate: the same runtime and size


class Gate:
    """One run over pairs of cases."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        settings: Settings,
        note: Callable[[str], None] = lambda _: None,
        loader: str = LOADER,
        protocol: Protocol | None = None,
    ) -> None:
        self._pairs = {(before.runtime, before.size): (before, after) for before, after in pairs}
        self._settings, self._note, self._loader = settings, note, loader
        self._protocol = protocol or Protocol(
            cpu=settings.cpu,
            warmup_seconds=1.5,
            samples_per_visit=3,
            timeout_seconds=settings.timeout_seconds,
            memory_bytes=settings.memory_bytes,
            seed=settings.seed,
        )
        self._order = random.Random(settings.seed)
        self._visits: dict[CaseKey, dict[str, list[Visit]]] = {k: {side: [] for side in SIDES} for k in self._pairs}
        self._parity: dict[str, float] = {}
        self._end = 0.0

    def run(self, figures: dict[str, tuple[FigureLine, ...]], baseline: str, candidate: str) -> Report:
        """Measure until every case is decided, the looks are used up or the budget is.

        Raises:
            GateError: parity (5), different environments of the two sides (4), a side that cannot be measured.
        """
        start = time.monotonic()
        self._end = start + self._settings.budget_seconds
        machine = environment.capture(self._settings.cpu)
        lines: list[CaseLine] = []
        looks = process = 0
        while looks < self._settings.looks and (looks == 0 or self._time_for_a_look(start, looks)):
            for _ in range(self._settings.processes):
                for key, pair in self._pairs.items():
                    self._process(key, pair, process)
                process += 1
                self._note(f"process {process} of at most {self._settings.looks * self._settings.processes}")
            looks += 1
            lines = gate.judge({key: self.log_ratios(key) for key in self._pairs}, self._settings, self._medians())
            if lines and all(line.verdict != "inconclusive" for line in lines):
                break
        code, reasons = gate.conclude(lines, figures)
        return Report(
            gate.SCHEMA, baseline, candidate, int(code), gate.verdict(code), tuple(reasons), self._settings, figures,
            tuple(lines), self._parity, looks, time.monotonic() - start, machine, self._samples(),
        )  # fmt: skip

    def log_ratios(self, key: CaseKey) -> tuple[Groups, Groups]:
        """log(candidate / baseline) and log(control / baseline) of every round, grouped by process."""
        sides = {side: _rounds(visits) for side, visits in self._visits[key].items()}
        return (
            statistics.log_ratios(sides["candidate"], sides["baseline"]),
            statistics.log_ratios(sides["control"], sides["baseline"]),
        )

    def _time_for_a_look(self, start: float, looks: int) -> bool:
        """Whether as long as a look has taken on average is left."""
        now = time.monotonic()
        return now + (now - start) / looks <= self._end

    def _process(self, key: CaseKey, pair: Pair, process: int) -> None:
        """One fresh process of every side, all its rounds."""
        before, after = pair
        workers: dict[str, Worker] = {}
        try:
            for side in SIDES:
                workers[side] = Worker(after if side == "candidate" else before, self._protocol, self._loader)
            for side in self._order.sample(SIDES, len(SIDES)):
                self._guard(side, workers[side].load)
            self._same_environment(workers)
            if process == 0:
                self._same_outputs(key, workers)
            with environment.avoiding(self._settings.cpu):
                for index in range(self._settings.rounds):
                    order = self._order.sample(SIDES, len(SIDES))
                    for position, side in enumerate([*order, *reversed(order)]):
                        worker = workers[side]
                        seconds = self._guard(side, worker.visit)
                        self._visits[key][side].append(Visit(process, index, position, seconds))
                        self._guard(side, worker.check_threads)
        finally:
            for worker in workers.values():
                worker.close()

    def _guard(self, side: str, action: Callable[[], T]) -> T:
        """Run it; what goes wrong with the candidate is the candidate's regression, what with the baseline is not."""
        try:
            return action()
        except WorkerError as error:
            if error.exit_code == Exit.ENVIRONMENT or error.status == "threads":
                raise GateError(Exit.ENVIRONMENT, f"{side}: {error}") from None
            if side == "candidate":
                raise GateError(error.exit_code, f"candidate: {error.status}: {error}") from None
            raise GateError(Exit.USAGE, f"baseline: cannot be measured: {error}") from None

    def _same_environment(self, workers: dict[str, Worker]) -> None:
        """Versions and precisions of both sides as read back."""
        found = {}
        for side in ("baseline", "candidate"):
            loaded = workers[side].loaded
            assert loaded is not None
            executed = loaded.executed
            found[side] = f"{executed.version}, computed in {computed(executed)}, {executed.threads} thread"
        if found["baseline"] != found["candidate"]:
            message = f"expected one environment, found {found['baseline']} and {found['candidate']}"
            raise GateError(Exit.ENVIRONMENT, message)

    def _same_outputs(self, key: CaseKey, workers: dict[str, Worker]) -> None:
        """Both sides answer the same to the same image."""
        before = self._guard("baseline", workers["baseline"].compute)
        after = self._guard("candidate", workers["candidate"].compute)
        label = f"{key[0]} at {key[1]}"
        self._parity[label] = difference(label, before, after, self._settings.tolerance)

    def _medians(self) -> dict[CaseKey, tuple[float, float]]:
        return {
            key: (plain.median(_rounds(sides["baseline"]).values()), plain.median(_rounds(sides["candidate"]).values()))
            for key, sides in self._visits.items()
        }

    def _samples(self) -> tuple[Sides, ...]:
        return tuple(Sides(*key, *(tuple(sides[side]) for side in SIDES)) for key, sides in self._visits.items())


def _rounds(visits: Sequence[Visit]) -> dict[statistics.Round, float]:
    """(process, round) → the geometric mean of its two visits' medians; a round cut short has no value."""
    found: dict[statistics.Round, list[float]] = {}
    for visit in visits:
        found.setdefault((visit.process, visit.round), []).append(plain.median(visit.seconds))
    return {key: math.exp(plain.fmean(map(math.log, pair))) for key, pair in found.items() if len(pair) == 2}
