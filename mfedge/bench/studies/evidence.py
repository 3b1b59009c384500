"""How often the gate cries wolf, and how often it sees one: many gates whose right answer is known.

    python -m mfedge.bench.studies.evidence OUT.json [--gates 100] [--detect 12] [--loaded]

The baseline is an artifact of Mobile-Former-214M; a candidate is the same file (an A/A gate), or the same
file with extra passes over its input image, as many as make it 3, 5 or 10 % slower. How much slower it really is,
is measured first, over many fresh processes. `--loaded` keeps every other core busy meanwhile.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics as plain
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from msgspec import Struct
from onnx import TensorProto, helper

from mfedge import files as store
from mfedge.bench import cases, exports, stored
from mfedge.bench.gate.judge import Report, Settings, verdict
from mfedge.bench.gate.run import Gate
from mfedge.bench.measure import environment
from mfedge.bench.results.schema import Protocol
from mfedge.cli import console
from mfedge.errors import Exit, GateError
from mfedge.sizes import Size

SCHEMA = "mfedge.evidence/1"
SIZE = Size(224, 224)
SLOWDOWNS = (0.03, 0.05, 0.10)
CALIBRATION_PASSES = 120
CALIBRATION_PROCESSES = 12


class Trial(Struct, frozen=True):
    """One gate."""

    exit_code: int
    ratio: float | None  # candidate / baseline, as estimated
    smallest_effect: float | None  # the smallest slowdown it would have called a regression
    seconds: float


class Series(Struct, frozen=True):
    """Gates with one candidate."""

    aim: float  # slowdown aimed at; 0 is A/A
    passes: int  # extra passes over the image
    true_ratio: float  # candidate / baseline, measured over many processes beforehand
    loaded: bool  # whether the other cores were kept busy
    trials: tuple[Trial, ...]

    def rate(self, code: Exit) -> float:
        """Share of the trials that ended with this code."""
        return sum(trial.exit_code == code for trial in self.trials) / len(self.trials)


class Evidence(Struct, frozen=True):
    """All series of one run."""

    schema: str
    threshold: float
    runtime: str
    variant: str
    series: tuple[Series, ...]


def slowed(model: Path, passes: int, folder: Path) -> Path:
    """A copy of an ONNX file that first takes max(x, -3e38) of its input `passes` times: same outputs, more time."""
    loaded = onnx.load(model)
    graph = loaded.graph
    name = graph.input[0].name
    floor = helper.make_tensor("extra_floor", TensorProto.FLOAT, [], [-3e38])
    graph.initializer.append(floor)
    for node in graph.node:
        for i, read in enumerate(node.input):
            if read == name and passes:
                node.input[i] = f"extra_{passes - 1}"
    for i in reversed(range(passes)):
        before = name if i == 0 else f"extra_{i - 1}"
        graph.node.insert(0, helper.make_node("Max", [before, "extra_floor"], [f"extra_{i}"], name=f"extra/Max_{i}"))
    path = folder / f"slowed-{passes}.onnx"
    path.write_bytes(loaded.SerializeToString(deterministic=True))
    return path


def true_ratio(baseline: Path, candidate: Path, cpu: int) -> float:
    """Candidate / baseline over CALIBRATION_PROCESSES fresh processes of both.

    Not of two sessions in one process: there the one loaded first is several percent faster.
    """
    settings = Settings(cpu=cpu, seed=1000, looks=1, processes=CALIBRATION_PROCESSES, budget_seconds=600)
    ratio = _gate(baseline, candidate, settings).cases[0].ratio
    return ratio.estimate


def trial(baseline: Path, candidate: Path, seed: int, cpu: int) -> Trial:
    """One gate as `mfedge gate` runs it, in onnxruntime at 224."""
    start = time.monotonic()
    try:
        report = _gate(baseline, candidate, Settings(cpu=cpu, seed=seed))
    except GateError as error:
        return Trial(error.exit_code, None, None, time.monotonic() - start)
    line = report.cases[0] if report.cases else None
    ratio, smallest = (line.ratio.estimate, line.smallest_effect) if line else (None, None)
    return Trial(report.exit_code, ratio, smallest, time.monotonic() - start)


def _gate(baseline: Path, candidate: Path, settings: Settings) -> Report:
    protocol = Protocol(cpu=settings.cpu, warmup_seconds=1.5, samples_per_visit=3, seed=settings.seed)
    return Gate([(_case(baseline, "baseline"), _case(candidate, "candidate"))], settings, protocol=protocol).run(
        {}, "baseline", "candidate"
    )


def _case(path: Path, name: str) -> cases.Case:
    digest, count = cases.checksum(path)
    return cases.Case(name, "onnxruntime", SIZE, str(path), digest, count)


@contextmanager
def load(others: bool, cpu: int) -> Iterator[None]:
    """Keep every core but `cpu` busy, if asked to."""
    busy = [multiprocessing.Process(target=_spin, args=(core,), daemon=True) for core in environment.affinity() - {cpu}]
    for process in busy if others else []:
        process.start()
    try:
        yield
    finally:
        for process in busy if others else []:
            process.terminate()
            process.join()


def _spin(core: int) -> None:
    import os

    os.sched_setaffinity(0, {core})
    os.nice(19)  # the core is busy either way, and other work on it is not held up
    matrix: np.ndarray[Any, Any] = np.ones((512, 512), np.float32)
    while True:
        matrix = matrix @ matrix / 512


def main(arguments: list[str]) -> None:
    """Run the series, storing after each gate."""
    parser = argparse.ArgumentParser(
        prog="python -m mfedge.bench.studies.evidence", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--gates", type=int, default=100, help="A/A gates")
    parser.add_argument("--detect", type=int, default=12, help="gates for each slowdown")
    parser.add_argument("--loaded", action="store_true", help="keep the other cores busy")
    options = parser.parse_args(arguments)
    cpu = environment.default_cpu()
    assert cpu is not None, "needs a system that pins processes"

    model = cases.find(exports.export("mobile-former-214m", "onnxruntime"), "onnxruntime")
    assert model is not None
    with tempfile.TemporaryDirectory() as folder, load(options.loaded, cpu):
        calibration = slowed(model, CALIBRATION_PASSES, Path(folder))
        a_pass = (true_ratio(model, calibration, cpu) - 1) / CALIBRATION_PASSES
        plans = [(0.0, 0, model, 1.0)] if options.gates else []
        for aim in SLOWDOWNS if options.detect else ():
            passes = max(1, round(aim / a_pass))
            candidate = slowed(model, passes, Path(folder))
            plans.append((aim, passes, candidate, true_ratio(model, candidate, cpu)))
        finished: list[Series] = []
        for aim, passes, candidate, ratio in plans:
            trials: list[Trial] = []
            for seed in range(options.detect if passes else options.gates):
                trials.append(trial(model, candidate, seed, cpu))
                series = Series(aim, passes, ratio, options.loaded, tuple(trials))
                evidence = Evidence(SCHEMA, 0.03, "onnxruntime", "mobile-former-214m", (*finished, series))
                store.write(options.output, stored.encode(evidence))
                console.note(describe(series))
            finished.append(series)


def describe(series: Series) -> str:
    """One line: how the gates of a series ended."""
    ends = ", ".join(f"{verdict(code)} {series.rate(code):.0%}" for code in Exit if series.rate(code))
    seconds = plain.median(trial.seconds for trial in series.trials)
    effects = [trial.smallest_effect for trial in series.trials if trial.smallest_effect is not None]
    seen = plain.median(effects) if effects else math.nan
    return (
        f"{len(series.trials)} gates, truly {series.true_ratio - 1:+.1%}{', loaded' if series.loaded else ''}: "
        f"{ends}; {seconds:.0f} s each; smallest visible effect {seen:.1%}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
